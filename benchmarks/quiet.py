"""Whether the bench's verdicts hold still: one bundle benched again and again, half of the times under load.

``python benchmarks/quiet.py --bundle FILE`` benches one variant of any bundle on this machine, first once to learn its
figures, then ``--runs`` times with limits around them. In half of the runs, in shuffled order, every core is kept busy
by a process of this script's own, which ends by itself. It prints rows of Markdown and exits 1 when a budget both
passed and failed. Further rows do not depend on the limits: they tell whether any limit exists that one run would have
passed and another failed, because the one's interval lies wholly below the other's. And every run is compared with each
earlier one as ``edgeml bench --baseline`` does: how far two runs of one file differ beyond their intervals is what its
allowances have to cover. Each run is told on stderr.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bars import Figure

from edgeml_devices import BenchReport, Verdict, bench
from edgeml_devices.baseline import compare_with
from edgeml_devices.conditions import disturbance
from edgeml_devices.past import bench_facts
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.bundle_write import write_bundle
from edgeml_runtime.contract import BudgetName
from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.zip_reader import MANIFEST_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Each limit as a share of the figure: clearly exceeded, at the figure itself, and kept on a quiet machine.
LIMITS = {
    BudgetName.LATENCY_MS_P50: 0.90,
    BudgetName.LATENCY_MS_P95: 1.00,
    BudgetName.LATENCY_MS_P99: 3.00,
    BudgetName.THROUGHPUT_PER_S: 0.80,
    BudgetName.COLD_START_MS: 1.00,
    BudgetName.PEAK_RSS_MB: 1.00,
}
LOWER_LIMITS = {BudgetName.THROUGHPUT_PER_S}
MEMORY = {BudgetName.PEAK_RSS_MB}
SPIN = "import sys, time\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end: pass"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One bench.

    Attributes:
        loaded: Whether every core was kept busy.
        report: What it found.
        took_s: Its seconds.
    """

    loaded: bool
    report: BenchReport
    took_s: float


def main() -> int:
    """Measure and print."""
    options = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="edgeml-quiet-") as folder:
        bundle = options.bundle.resolve()
        pilot = bench(bundle, variants=options.variant and [options.variant], time_limit_s=options.time_limit)
        variant = options.variant or pilot.auto_variant
        budgeted = with_budgets(bundle, Path(folder) / bundle.name, pilot, variant)
        order = [number % 2 == 1 for number in range(options.runs)]
        random.Random(0).shuffle(order)
        runs = []
        for number, loaded in enumerate(order, start=1):
            print(f"{number} of {len(order)}, ", end="", file=sys.stderr, flush=True)
            runs.append(one_run(budgeted, variant, options.time_limit, loaded=loaded))
    figures = [*verdict_figures(runs), *limit_figures(runs, variant), *baseline_figures(runs), *other_figures(runs)]
    print("| figure | value | bar | |\n|---|---|---|---|")
    print("\n".join(figure.row() for figure in figures))
    return int(any(figure.reached is False for figure in figures))


def parse_arguments() -> argparse.Namespace:
    """The script's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", type=Path, required=True, help="any bundle")
    parser.add_argument("--variant", help="the variant to bench; the one that is picked here by default")
    parser.add_argument("--runs", type=int, default=20, help="how often to bench it (%(default)s)")
    parser.add_argument("--time-limit", type=float, default=55.0, help="seconds of one bench (%(default)s)")
    return parser.parse_args()


def with_budgets(bundle: Path, target: Path, pilot: BenchReport, variant: str) -> Path:
    """A copy of a bundle with limits around the figures of a first bench."""
    (measured,) = (item for item in pilot.variants if item.id == variant)
    limits = {name.value: measured.figures[name].value * share for name, share in LIMITS.items()}
    with Bundle.open(bundle) as source:
        contract = dict(source.manifest.contract)
        contract["budgets"] = {
            "host": {name: {"limit": limit, "variant": variant} for name, limit in limits.items()},
        }
        names = [member.name for member in source.manifest.members if member.name != MANIFEST_NAME]
        write_bundle(
            target,
            contract=parse_contract(contract, source=str(bundle)),
            variants=source.manifest.variants,
            members={name: source.read(name) for name in names},
        )
    return target


@contextmanager
def every_core_busy(seconds: float) -> Iterator[None]:
    """A spinning process per core, each of which ends by itself after ``seconds``."""
    spinning = [
        subprocess.Popen([sys.executable, "-c", SPIN, str(seconds)], stdin=subprocess.DEVNULL)
        for _ in os.sched_getaffinity(0)
    ]
    try:
        time.sleep(0.5)
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def one_run(bundle: Path, variant: str, time_limit_s: float, *, loaded: bool) -> Run:
    """Bench once."""
    begun = time.monotonic()
    if loaded:
        with every_core_busy(2 * time_limit_s + 60):
            report = bench(bundle, variants=[variant], time_limit_s=time_limit_s)
    else:
        report = bench(bundle, variants=[variant], time_limit_s=time_limit_s)
    run = Run(loaded=loaded, report=report, took_s=time.monotonic() - begun)
    verdicts = " ".join(result.verdict.value for result in report.budgets)
    print(f"{'loaded' if loaded else 'quiet'}, {run.took_s:.0f} s: {verdicts}", file=sys.stderr, flush=True)
    return run


def verdict_figures(runs: Sequence[Run]) -> list[Figure]:
    """Per budget, what the verdicts were; the bar is that none both passed and failed."""
    figures = []
    for index, budget in enumerate(runs[0].report.budgets):
        parts = []
        for loaded in (False, True):
            found = [run.report.budgets[index].verdict for run in runs if run.loaded is loaded]
            counts = (f"{found.count(verdict)} {verdict.value}" for verdict in Verdict if verdict in found)
            parts.append(f"{'loaded' if loaded else 'quiet'}: {', '.join(counts)}")
        verdicts = {run.report.budgets[index].verdict for run in runs}
        share = LIMITS[budget.name]
        figures.append(
            Figure(
                what=f"{budget.name.value}, limit {share:.2f} × the figure, {len(runs)} runs",
                value="; ".join(parts),
                bar="never both pass and fail",
                reached=not {Verdict.PASS, Verdict.FAIL} <= verdicts,
            )
        )
    return figures


def limit_figures(runs: Sequence[Run], variant: str) -> list[Figure]:
    """Per budget, whether a limit exists that one run would have passed and another failed."""
    figures = []
    for name in LIMITS:
        sign = -1 if name in LOWER_LIMITS else 1
        fails, passes = [], []
        for run in runs:
            (measured,) = (item for item in run.report.variants if item.id == variant)
            figure = measured.figures[name]
            low, high = sorted((sign * figure.low, sign * figure.high))
            passes.append(high)
            if name in MEMORY or disturbance(run.report.conditions) is None:
                fails.append(low)
        highest, lowest = max(fails, default=float("-inf")), min(passes)
        gap = (highest - lowest) / abs(lowest)
        value = f"limits within {gap:.1%}" if highest > lowest else "none"
        figures.append(
            Figure(
                what=f"{name.value}, limits that some run passes and another fails", value=value, bar="–", reached=None
            )
        )
    return figures


def baseline_figures(runs: Sequence[Run]) -> list[Figure]:
    """Per figure, the verdicts of every run beside each earlier one, and how far they differ beyond their intervals."""
    facts = [bench_facts(run.report.to_dict(), measured_at=run.report.measured_at) for run in runs]
    pairs = list(itertools.combinations(facts, 2))
    found = [figure for then, now in pairs for figure in compare_with(then, now).figures]
    calm = [(then, now) for then, now in pairs if not disturbance(then.conditions) and not disturbance(now.conditions)]
    figures = []
    for name in LIMITS:
        verdicts = [figure.verdict for figure in found if figure.name is name]
        if not verdicts:
            continue
        counts = ", ".join(f"{verdicts.count(verdict)} {verdict.value}" for verdict in Verdict if verdict in verdicts)
        both_ways = [pair for then, now in calm for pair in ((then, now), (now, then))]
        ratios = [one.ratio for pair in both_ways for one in compare_with(*pair).figures if one.name is name]
        apart = max((low - 1 for _, low, _ in filter(None, ratios)), default=0.0)
        figures.append(
            Figure(
                what=f"{name.value} beside each earlier run; how far undisturbed runs differ beyond their intervals",
                value=f"{counts}; {apart:.1%} in {len(calm)} pairs" if calm else f"{counts}; none undisturbed",
                bar="never fail",
                reached=Verdict.FAIL not in verdicts,
            )
        )
    return figures


def other_figures(runs: Sequence[Run]) -> list[Figure]:
    """How long a bench took, and how many of the loaded runs and of the quiet ones were seen to be disturbed."""
    figures = []
    for loaded in (False, True):
        chosen = [run for run in runs if run.loaded is loaded]
        if not chosen:
            continue
        disturbed = sum(disturbance(run.report.conditions) is not None for run in chosen)
        longest = max(run.took_s for run in chosen)
        figures.append(
            Figure(
                what=f"{'loaded' if loaded else 'quiet'} runs seen as disturbed; longest bench",
                value=f"{disturbed} of {len(chosen)}; {longest:.0f} s",
                bar="–",
                reached=None,
            )
        )
    return figures


if __name__ == "__main__":
    sys.exit(main())
