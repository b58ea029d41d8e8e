"""What counting instructions under emulation is worth: how far counts spread, and whether one per cent more is found.

Set the emulator up first: ``edgeml devices setup-emulator aarch64`` (and ``armv7``). Each part prints rows of Markdown
and exits 1 when a bar is missed:

``python benchmarks/instructions.py spread --bundle FILE`` counts each variant in ten benches one after the other.
``python benchmarks/instructions.py layout FILE …`` counts each variant with ten sizes of the guest's environment, which
move its stack and its heap as another bundle or another release of edgeml does.
``python benchmarks/instructions.py planted`` counts bundles of networks of equal layers, two alike and one with one per
cent more of them, and compares each count with an earlier one as ``--baseline`` does.
``python benchmarks/instructions.py ratios FILE …`` counts int8 against fp32 on a Cortex-A53, a Cortex-A76 and one with
int8 matrix products, tests golden vectors there and on 32-bit Arm, and tells how long each bench takes.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from bars import Figure
from slowdown import bundle

from edgeml_devices import Verdict
from edgeml_devices.baseline import compare_with
from edgeml_devices.bench import bench
from edgeml_devices.emulator.bench import open_bay
from edgeml_devices.emulator.classes import CLASS_TITLES
from edgeml_devices.emulator.counting import read_records
from edgeml_devices.emulator.guest_run import GuestJob, run_guest
from edgeml_devices.emulator.sysroot import FIXED
from edgeml_devices.emulator.target import EmulatorTarget
from edgeml_devices.emulator.variant import pick_site
from edgeml_devices.model_file import read_model
from edgeml_devices.past import bench_facts
from edgeml_devices.profile_files import load_profile
from edgeml_runtime.contract import BudgetName

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeml_devices.emulator.found import GoldenRun
    from edgeml_devices.emulator.variant import Bay
    from edgeml_devices.model_file import VariantFile
    from edgeml_devices.past import BenchFacts
    from edgeml_devices.report import BenchReport, VariantReport

DEVICE = "raspberry-pi-5"
# One layer more is one per cent more: what every call costs besides is worth about four of them.
LAYERS, WIDTH = 96, 128
SPREAD_BAR = 0.002
# Bytes of a variable of the guest's environment.
ENVIRONMENTS = tuple(range(0, 4096, 455))
RATIO_BAR = 0.6
SECONDS_BAR = 90.0
# i8mm: no core of QEMU 7.2 has it but its own one, whose vectors of other lengths no kernel is to find.
PLACES = (
    ("Cortex-A53", "raspberry-pi-3b-plus", None),
    ("Cortex-A76", DEVICE, None),
    ("with i8mm", DEVICE, "max,sve=off,sme=off"),
    ("Cortex-A7, 32 bits", "raspberry-pi-2b", None),
)


def main() -> int:
    """Count and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    repeated = parts.add_parser("spread", help="ten benches of one bundle")
    repeated.add_argument("--bundle", type=Path, required=True)
    repeated.add_argument("--runs", type=int, default=10)
    layout = parts.add_parser("layout", help="ten layouts of the guest's memory")
    layout.add_argument("bundles", type=Path, nargs="+")
    planted = parts.add_parser("planted", help="one per cent more instructions")
    planted.add_argument("--runs", type=int, default=20)
    ratios = parts.add_parser("ratios", help="int8 against fp32 on several CPUs")
    ratios.add_argument("bundles", type=Path, nargs="+")
    options = parser.parse_args()
    if options.part == "ratios":
        figures = list(ratio_figures(options.bundles))
    elif options.part == "layout":
        figures = [figure for path in options.bundles for figure in layout_figures(path)]
    elif options.part == "planted":
        figures = list(planted_figures(options.runs))
    else:
        figures = list(spread_figures(options.bundle, options.runs))
    print("\n| figure | value | bar | |\n|---|---|---|---|")
    print("\n".join(figure.row() for figure in figures))
    return int(any(figure.reached is False for figure in figures))


def tell(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def count(path: Path, device: str = DEVICE, cpu: str | None = None, *, layers: bool = False) -> BenchReport:
    """One bench under emulation."""
    report = bench(path, device=device, target=EmulatorTarget(cpu=cpu, layers=layers))
    for variant in report.variants:
        if variant.emulated is not None and not variant.emulated.passed:
            tell(f"{path.name} on {device}: {variant.id}: {variant.reason}")
    return report


def instructions(variant: VariantReport) -> float | None:
    """Instructions of one inference, or None where nothing was counted."""
    figure = variant.figures.get(BudgetName.INSTRUCTIONS)
    return None if figure is None else figure.value


def spread_figures(path: Path, runs: int) -> Iterator[Figure]:
    """How far apart the counts of several benches lie, by variant."""
    found: dict[str, list[float]] = defaultdict(list)
    for number in range(1, runs + 1):
        for variant in count(path).variants:
            found[variant.id].append(instructions(variant) or 0.0)
        tell(f"{number} of {runs}")
    for variant, counts in found.items():
        yield spread(f"{variant}, {runs} benches one after the other", counts)


def layout_figures(path: Path) -> Iterator[Figure]:
    """How far apart the counts of a bundle lie with several layouts of the guest's memory, by variant."""
    variants = read_model(str(path)).variants
    bay = open_bay(EmulatorTarget(layers=False), load_profile(DEVICE), str(path), None)
    found: dict[str, list[float]] = defaultdict(list)
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        for number, size_bytes in enumerate(ENVIRONMENTS, 1):
            with patch.dict(FIXED, {"EDGEML_PADDING": "x" * size_bytes}):
                for variant, total in zip(variants, pool.map(partial(count_only, bay), variants), strict=True):
                    found[variant.id].append(total)
            tell(f"{path.stem}: {number} of {len(ENVIRONMENTS)}")
    for variant_id, totals in found.items():
        yield spread(f"{path.stem}, {variant_id}, {len(ENVIRONMENTS)} layouts", totals)


def count_only(bay: Bay, variant: VariantFile) -> float:
    """Instructions of one inference, without the guest that only tests golden vectors."""
    site = pick_site(bay.sysroot, variant.backend, bay.profile.runtimes, countable=True)
    assert site is not None
    request = {"path": bay.path, "variant": variant.id, "backend": None, "count": True, "layers": False}
    job = GuestJob(
        sysroot=bay.sysroot,
        site=site,
        emulator=bay.sysroot.counting,
        identity=bay.identity,
        request=request,
        plugin=bay.plugin,
    )
    return float(read_records(run_guest(job)[1]).median.total)


def spread(what: str, counts: list[float]) -> Figure:
    """The fewest, the most, and how far apart they lie."""
    share = (max(counts) - min(counts)) / sorted(counts)[len(counts) // 2]
    return Figure(
        what=what,
        value=f"{min(counts):,.0f} – {max(counts):,.0f}: {share:.4%}",
        bar=f"≤ {SPREAD_BAR:.1%}",
        reached=share <= SPREAD_BAR,
    )


def planted_figures(runs: int) -> Iterator[Figure]:
    """Whether one per cent more is found beside an earlier count, and nothing where there is nothing."""
    with tempfile.TemporaryDirectory(prefix="edgeml-instructions-") as folder:
        first, more = Path(folder) / "first.edgeml", Path(folder) / "more.edgeml"
        bundle(first, LAYERS, WIDTH)
        bundle(more, LAYERS + 1, WIDTH)
        then = facts(count(first))
        order = [path for path in (first, more) for _ in range(runs)]
        random.Random(0).shuffle(order)
        verdicts: dict[Path, list[Verdict]] = {first: [], more: []}
        shares: dict[Path, list[float]] = {first: [], more: []}
        for number, path in enumerate(order, 1):
            (found,) = [f for f in compare_with(then, facts(count(path))).figures if f.name is BudgetName.INSTRUCTIONS]
            assert found.ratio is not None
            verdicts[path].append(found.verdict)
            shares[path].append(found.ratio[0] - 1)
            tell(f"{number} of {len(order)}, {path.stem}: {found.ratio[0]:.5f} {found.verdict.value}")
    hits, alarms = verdicts[more].count(Verdict.FAIL), runs - verdicts[first].count(Verdict.PASS)
    yield Figure(
        what=f"{LAYERS + 1} layers instead of {LAYERS} found",
        value=f"{hits} of {runs}; {min(shares[more]):+.3%} – {max(shares[more]):+.3%} instructions",
        bar=f"{runs} of {runs}",
        reached=hits == runs,
    )
    yield Figure(
        what="false alarms or undecided, the same bundle",
        value=f"{alarms} of {runs}; {min(shares[first]):+.4%} – {max(shares[first]):+.4%}",
        bar=f"0 of {runs}",
        reached=alarms == 0,
    )


def facts(report: BenchReport) -> BenchFacts:
    """A bench as ``--baseline`` reads it."""
    return bench_facts(report.to_dict(), measured_at=report.measured_at)


def ratio_figures(paths: list[Path]) -> Iterator[Figure]:
    """int8 against fp32 on several CPUs; prints the classes before."""
    print(f"| bundle, CPU, variant | in all, thousands | {' | '.join(CLASS_TITLES.values())} | ÷ fp32 |")
    print(f"|---|{'---|' * (len(CLASS_TITLES) + 2)}")
    for path in paths:
        for title, device, cpu in PLACES:
            begun = time.monotonic()
            report = count(path, device, cpu, layers=True)
            took_s = time.monotonic() - begun
            tell(f"{path.stem} {title}: {took_s:.0f} s")
            ratios = dict(rows(f"{path.stem.removesuffix('-1.0.0')}, {title}", report))
            cases = sum(run.cases for run in golden_runs(report) if run.passed)
            failed = [run for run in golden_runs(report) if not run.passed]
            yield Figure(
                what=f"{path.stem}, {title}: golden vectors within tolerance",
                value=f"{cases} cases passed, {len(failed)} variants and versions failed",
                bar="all",
                reached=not failed,
            )
            if cpu is None and device == DEVICE:
                best = min(ratios, key=lambda name: ratios[name])
                yield Figure(
                    what=f"{path.stem}, {title}: int8 ÷ fp32, the better backend",
                    value=f"{ratios[best]:.2f} ({best})",
                    bar=f"≤ {RATIO_BAR}",
                    reached=ratios[best] <= RATIO_BAR,
                )
            if cpu is None:
                yield Figure(
                    what=f"{path.stem}, {title}: time of the bench",
                    value=f"{took_s:.0f} s",
                    bar=f"≤ {SECONDS_BAR:.0f} s",
                    reached=took_s <= SECONDS_BAR,
                )


def golden_runs(report: BenchReport) -> list[GoldenRun]:
    """Every run of golden vectors of a bench."""
    found = (variant.emulated for variant in report.variants if variant.emulated is not None)
    return [run for one in found for run in (one.newest, one.counting) if run is not None]


def rows(title: str, report: BenchReport) -> Iterator[tuple[str, float]]:
    """Print the classes of each variant; gives int8 against fp32 by file format."""
    totals = {variant.id: instructions(variant) for variant in report.variants}
    for variant in report.variants:
        total, found = totals[variant.id], variant.emulated
        if total is None or found is None or found.counts is None:
            continue
        kind = variant.id.partition("-")[0]
        whole = totals.get(f"{kind}-fp32")
        ratio = None if whole is None or not variant.id.endswith("int8") else total / whole
        if ratio is not None:
            yield kind, ratio
        cells = [f"{total / 1e3:,.0f}", *(f"{value / 1e3:,.0f}" if value else "–" for value in found.counts.values())]
        print(f"| {title}, {variant.id} | {' | '.join(cells)} | {'–' if ratio is None else f'{ratio:.2f}'} |")


if __name__ == "__main__":
    sys.exit(main())
