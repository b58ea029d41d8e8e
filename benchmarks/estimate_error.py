"""Print how far estimates were off where a published latency is known, by leaving out one board after the other.

``python benchmarks/estimate_error.py`` prints a Markdown table of every published figure and its estimate from the
other boards, and one of what other models would have given. It reads what comes along with edgeml and measures nothing.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from edgeml_devices.estimate import XNNPACK, samples_of, thread_words
from edgeml_devices.estimate_model import Core, fit, left_out, roofline_terms
from edgeml_devices.estimate_references import calibration_references

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeml_devices.estimate import CountedReference
    from edgeml_devices.estimate_model import Sample

ONE_WIDTH = Core(fp32=1, int8=1, in_order=False)


def main() -> int:
    """Print the tables."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    published = [one for one in calibration_references() if one.runtime == XNNPACK]
    several = [one for one in published if one.threads is None]
    phones = [one for one in published if one.threads == 1]
    print_figures(several, samples_of(several))
    print_models(several)
    # A term that is nothing: the bandwidth of the phones is not known.
    print_figures(phones, samples_of([replace(one, memcpy_gb_per_s=math.inf) for one in phones]))
    return 0


def print_figures(references: Sequence[CountedReference], samples: Sequence[Sample]) -> None:
    """Every published figure beside what the other boards say of it."""
    ratios = left_out(samples)
    cycles, passes = fit(samples)
    print(f"XNNPACK, {thread_words(references[0].threads)}: {cycles:.2f} cycles, {passes:.1f} passes\n")
    print("| board left out | network | published, ms | estimate, ms | off by |")
    print("|---|---|---|---|---|")
    for one, ratio in zip(references, ratios, strict=True):
        estimated = one.latency_ms * ratio
        print(
            f"| {one.board} | {one.model} {one.precision} | {one.latency_ms:g} | {estimated:.0f} | {ratio - 1:+.0%} |"
        )
    both = left_out(samples, networks=True)
    factor = max(max(ratio, 1 / ratio) for ratio in both)
    print(f"\nmedian {_median(ratios):.0%}, maximum {_largest(ratios):.0%}; board and network left out: ", end="")
    print(f"median {_median(both):.0%}, maximum {_largest(both):.0%}, a factor of {factor:.2f}\n")


def print_models(references: Sequence[CountedReference]) -> None:
    """What left-out boards say of other models."""
    samples = samples_of(references)
    print("| model | median | maximum |")
    print("|---|---|---|")
    for title, terms in MODELS.items():
        ratios = left_out(samples, terms)
        print(f"| {title} | {_median(ratios):.0%} | {_largest(ratios):.0%} |")
    for title, core in OTHER_WIDTHS.items():
        changed = [_with_core(one, core) if one.board.name == "raspberry-pi-2b" else one for one in samples]
        ratios = left_out(changed)
        print(f"| {title} | {_median(ratios):.0%} | {_largest(ratios):.0%} |")
    print()


def _products(sample: Sample) -> tuple[float, ...]:
    return roofline_terms(sample)[:1]


def _others(sample: Sample) -> float:
    counts = sample.counts
    return (counts.load_store + counts.branch + counts.other) / (sample.board.clock_mhz * 1e3)


def _all_instructions(sample: Sample) -> tuple[float, ...]:
    return (sample.counts.total / (sample.board.clock_mhz * 1e3),)


def _all_and_bytes(sample: Sample) -> tuple[float, ...]:
    return (*_all_instructions(sample), *roofline_terms(sample)[1:])


def _three(sample: Sample) -> tuple[float, ...]:
    return (*roofline_terms(sample), _others(sample))


MODELS: dict[str, Callable[[Sample], tuple[float, ...]]] = {
    "products by width, and bytes (the one used)": roofline_terms,
    "the same, and the other instructions": _three,
    "products by width": _products,
    "all instructions": _all_instructions,
    "all instructions, and bytes": _all_and_bytes,
}
OTHER_WIDTHS = {
    "the one used, Cortex-A7 as wide as the others": ONE_WIDTH,
    "the one used, Cortex-A7 with whole products at 1 per cycle": replace(ONE_WIDTH, fp32=0.25),
    "the one used, Cortex-A7 with whole products at 1/4 per cycle": replace(ONE_WIDTH, fp32=0.25, int8=0.25),
}


def _with_core(sample: Sample, core: Core) -> Sample:
    return replace(sample, board=replace(sample.board, core=core))


def _median(ratios: Sequence[float]) -> float:
    return median(abs(ratio - 1) for ratio in ratios)


def _largest(ratios: Sequence[float]) -> float:
    return max(abs(ratio - 1) for ratio in ratios)


if __name__ == "__main__":
    sys.exit(main())
