"""Whether one model is slower than another on this machine: the ratio of their times, measured in turns.

Times of two runs of a bench differ by whatever the machine did in the meantime; the ratio of two models that take turns
every 50 ms does not. Each process gives one ratio per variant, and the interval is that of the median over processes.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_devices.intervals import MIN_PROCESSES, Figure, order_statistic_interval
from edgeml_devices.model_file import read_model, select
from edgeml_devices.report import Verdict
from edgeml_runtime.errors import InputError, TargetError
from edgeml_runtime.measure.bare import bare_format
from edgeml_runtime.measure.cli import DEFAULT_SECONDS
from edgeml_runtime.measure.loop import quantile
from edgeml_runtime.measure.report import samples_from_dict
from edgeml_runtime.progress import ProgressEvent, silent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeml_runtime.measure.loop import Samples
    from edgeml_runtime.progress import Progress

    Pair = tuple[Samples, Samples]

__all__ = [
    "TOLERANCE",
    "SpeedComparison",
    "SpeedRatio",
    "common_variants",
    "compare_speed",
    "judge_ratio",
    "ratio_figure",
]

TOLERANCE = 0.05
"""A slowdown up to this share is put up with: half of the 10 % that is to be found, so that both sides are as clear."""

_START_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedRatio:
    """How one variant compares.

    Attributes:
        variant: Its id; for bare models the first file's name.
        ratio: Time of the model ÷ time of the other one, with its interval; above 1 the model is slower.
        processes: How many processes measured it.
        verdict: ``pass`` where the whole interval lies within the tolerance, ``fail`` where it lies beyond.
    """

    variant: str
    ratio: Figure
    processes: int
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values; ``null`` for an end that does not exist."""
        ratio = self.ratio
        return {
            "variant": self.variant,
            "ratio": ratio.value,
            "low": ratio.low if math.isfinite(ratio.low) else None,
            "high": ratio.high if math.isfinite(ratio.high) else None,
            "processes": self.processes,
            "verdict": self.verdict.value,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedComparison:
    """Two models compared.

    Attributes:
        other: The file that the model was compared with.
        tolerance: The slowdown that is put up with, as a share.
        ratios: One per variant that both have.
        left_out: Variants of the model that the other one lacks.
    """

    other: str
    tolerance: float
    ratios: tuple[SpeedRatio, ...]
    left_out: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """1 where a variant is slower, 4 where that cannot be told, else 0."""
        verdicts = {ratio.verdict for ratio in self.ratios}
        if Verdict.FAIL in verdicts:
            return 1
        return 4 if verdicts - {Verdict.PASS} or not verdicts else 0

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "other": self.other,
            "tolerance": self.tolerance,
            "ratios": [ratio.to_dict() for ratio in self.ratios],
            "left_out": list(self.left_out),
        }


def ratio_figure(processes: Sequence[Pair], share: float = 0.5) -> Figure:
    """The ratio of two latencies with its interval.

    In each process it is the median over rounds of the ratio of the rounds' percentiles: both rounds of a pair lie next
    to each other in time. The interval is that of the median over processes, by order statistics.

    Args:
        processes: The samples of both models, of one process after the other, at least one.
        share: Which percentile of a round, such as 0.95; the median by default.

    Returns:
        The first one's time over the second one's.
    """
    each = np.array([_ratio(first, second, share) for first, second in processes])
    low, high = order_statistic_interval(each, 0.5)
    return Figure(value=float(np.median(each)), low=low, high=high, n=len(each))


def _ratio(first: Samples, second: Samples, share: float) -> float:
    rounds = zip(first.rounds_ns, second.rounds_ns, strict=False)
    return float(np.median([quantile(one, share) / max(quantile(two, share), 1) for one, two in rounds]))


def judge_ratio(ratio: Figure, tolerance: float) -> Verdict:
    """Whether a model is slower than put up with.

    Args:
        ratio: Its time over the other one's.
        tolerance: The slowdown that is put up with, as a share.
    """
    if ratio.high <= 1 + tolerance:
        return Verdict.PASS
    return Verdict.FAIL if ratio.low > 1 + tolerance else Verdict.INCONCLUSIVE


def _measure(request: Mapping[str, Any], variants: Sequence[str]) -> dict[str, Pair]:
    """What one process finds; it ends by itself or is killed."""
    names = f"{request['paths'][0]} and {request['paths'][1]}"
    message = json.dumps({**request, "variants": list(variants)})
    limit_s = _START_LIMIT_S + 8 * len(variants) * (request["seconds"] + 1)
    command = [sys.executable, "-P", "-m", "edgeml_devices.pair_worker", message]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit_s, check=False
        )
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise TargetError(f"{names}: the measuring process did not end within {limit_s:.0f} s and was killed") from None
    except ValueError:
        detail = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise TargetError(f"{names}: the measuring process ended with status {done.returncode}: {detail[0]}") from None
    if "error" in answer:
        raise InputError(f"{names}: cannot be compared: {answer['error']}")
    pairs = answer["pairs"].items()
    return {variant: (samples_from_dict(first), samples_from_dict(second)) for variant, (first, second) in pairs}


def common_variants(
    path: str, other: str, variants: Sequence[str] | None = None, backend: str | None = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which variants can be compared.

    Args:
        path: A bundle, or a bare model.
        other: What to compare it with.
        variants: Variant ids, or None for all that the backend runs.
        backend: What is to run both, or None for the backends that their manifests name.

    Returns:
        Ids of the variants that both files have, and of those that the other one lacks.

    Raises:
        InputError: They have none in common, or only one is a bundle.
        BundleError: A bundle must not be used.
    """
    wanted = tuple(variant.id for variant in select(read_model(path), variants, backend))
    held = {variant.id for variant in read_model(other).variants}
    if (bare_format(path) is None) != (bare_format(other) is None):
        raise InputError(f"expected two bundles or two bare models to compare; found {path} and {other}")
    if bare_format(path) is not None:
        return wanted, ()
    common = tuple(variant for variant in wanted if variant in held)
    if not common:
        raise InputError(
            f"{other}: expected one of {', '.join(wanted)} to compare with; found {', '.join(sorted(held))}"
        )
    return common, tuple(variant for variant in wanted if variant not in held)


def compare_speed(
    path: str | os.PathLike[str],
    other: str | os.PathLike[str],
    *,
    variants: Sequence[str] | None = None,
    threads: int | None = None,
    backend: str | None = None,
    seconds: float = DEFAULT_SECONDS,
    time_limit_s: float = 55.0,
    tolerance: float = TOLERANCE,
    progress: Progress = silent,
) -> SpeedComparison:
    """Compare the latency of two models on this machine, variant by variant, in turns.

    Args:
        path: A bundle, or a bare model.
        other: What to compare it with: a bundle, or a bare model.
        variants: Variant ids, or None for all that both have.
        threads: Threads for the backends, or None for the runtime's default.
        backend: What is to run both, or None for the backends that their manifests name.
        seconds: How long to time each variant of each of them at least, warm-up apart.
        time_limit_s: While a variant is undecided, it is measured on until then.
        tolerance: The slowdown that is put up with, as a share.
        progress: Told before every process.

    Returns:
        The comparison.

    Raises:
        InputError: The files have no variant in common, or one cannot be loaded.
        BundleError: A bundle must not be used.
        TargetError: The measuring process crashed or hung.
    """
    first, second = os.fspath(path), os.fspath(other)
    common, left_out = common_variants(first, second, variants, backend)
    found: dict[str, list[Pair]] = {variant: [] for variant in common}
    wanted, look, begun, number = common, MIN_PROCESSES, time.monotonic(), 0
    while wanted:
        progress(ProgressEvent(step="compare", done=number, total=look, message=f"process {number + 1}"))
        request = {"paths": [first, second], "threads": threads, "backend": backend, "seed": number}
        for variant, pair in _measure(request | {"seconds": seconds / MIN_PROCESSES}, wanted).items():
            found[variant].append(pair)
        number += 1
        if number == look:
            verdicts = {variant: judge_ratio(ratio_figure(found[variant]), tolerance) for variant in wanted}
            wanted = tuple(variant for variant in wanted if verdicts[variant] is Verdict.INCONCLUSIVE)
            look *= 2
        elapsed = time.monotonic() - begun
        if elapsed * (number + 1) / number > time_limit_s:
            break
    return SpeedComparison(
        other=second,
        tolerance=tolerance,
        ratios=tuple(_rated(variant, pairs, tolerance) for variant, pairs in found.items()),
        left_out=left_out,
    )


def _rated(variant: str, pairs: Sequence[Pair], tolerance: float) -> SpeedRatio:
    ratio = ratio_figure(pairs)
    return SpeedRatio(variant=variant, ratio=ratio, processes=len(pairs), verdict=judge_ratio(ratio, tolerance))
