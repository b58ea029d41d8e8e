"""How long ``edgeml bench`` takes with its default settings, from the command to its end.

``python benchmarks/bench_time.py --bundle FILE`` times the command on a bundle of four variants three ways: with the
bundle's own budgets; cold, with no Python file compiled; and with a limit at the very figure of every variant, which
stays inconclusive, so that the bench uses all the time it may. ``--loaded`` repeats the last one with every core kept
busy. The limit at the figure comes from a first bench that is not timed. Progress on stderr is counted. It prints rows
of Markdown and exits 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bars import Figure
from commands import EDGEML
from quiet import every_core_busy

from edgeml_devices import BenchReport, bench
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.bundle_write import write_bundle
from edgeml_runtime.contract import BudgetName
from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.zip_reader import MANIFEST_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

BAR_S = 60.0
# One for each variant, so that all four are measured on: a contract has one limit for each quantity.
QUANTITIES = (
    BudgetName.LATENCY_MS_P50,
    BudgetName.LATENCY_MS_P95,
    BudgetName.LATENCY_MS_P99,
    BudgetName.THROUGHPUT_PER_S,
)
VARIANTS = len(QUANTITIES)
LOAD_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One command.

    Attributes:
        took_s: Wall time from its start to its end.
        progress: Lines of progress it wrote.
        report: What it printed.
    """

    took_s: float
    progress: int
    report: dict[str, Any]

    def shown(self) -> str:
        """Its time, processes and verdicts."""
        verdicts = Counter(budget["verdict"] for budget in self.report["budgets"])
        counts = ", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items()))
        return f"{self.took_s:.1f} s, {len(self.report['conditions'])} batches, {self.progress} steps told; {counts}"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", type=Path, required=True, help=f"any bundle of {VARIANTS} variants")
    parser.add_argument("--loaded", action="store_true", help="also with every core kept busy")
    options = parser.parse_args()
    bundle: Path = options.bundle.resolve()
    figures = []
    with tempfile.TemporaryDirectory(prefix="edgeml-bench-time-") as folder:
        tight = with_tight_budgets(bundle, Path(folder) / bundle.name, bench(bundle))
        cold = {"PYTHONPYCACHEPREFIX": str(Path(folder) / "bytecode")}
        figures.append(figure("its own budgets, all decided", timed(bundle)))
        figures.append(figure("the same, no Python file compiled", timed(bundle, cold)))
        figures.append(figure("a limit at every variant's own figure", timed(tight)))
        if options.loaded:
            figures.append(figure("the same, every core kept busy", timed(tight, loaded=True)))
    print("| `edgeml bench`, four variants | value | bar | |\n|---|---|---|---|")
    print("\n".join(row.row() for row in figures))
    return int(any(row.reached is False for row in figures))


def figure(what: str, run: Run) -> Figure:
    """A run beside the bar."""
    reached = run.took_s <= BAR_S and run.progress > 0
    return Figure(what=what, value=run.shown(), bar=f"≤ {BAR_S:.0f} s, with progress", reached=reached)


def with_tight_budgets(bundle: Path, target: Path, pilot: BenchReport) -> Path:
    """A copy with a limit at a figure of every variant, as a first bench found it."""
    if len(pilot.variants) != VARIANTS:
        raise SystemExit(f"{bundle} holds {len(pilot.variants)} variants, expected {VARIANTS}")
    limits = {
        name.value: {"limit": variant.figures[name].value, "variant": variant.id}
        for name, variant in zip(QUANTITIES, pilot.variants, strict=True)
    }
    with Bundle.open(bundle) as source:
        contract = dict(source.manifest.contract)
        contract["budgets"] = {"host": limits}
        names = [member.name for member in source.manifest.members if member.name != MANIFEST_NAME]
        write_bundle(
            target,
            contract=parse_contract(contract, source=str(bundle)),
            variants=source.manifest.variants,
            members={name: source.read(name) for name in names},
        )
    return target


def timed(bundle: Path, environment: Mapping[str, str] | None = None, *, loaded: bool = False) -> Run:
    """Run the command to its end."""
    with every_core_busy(LOAD_S) if loaded else nullcontext():
        begun = time.monotonic()
        done = subprocess.run(
            [str(EDGEML), "bench", str(bundle), "--json"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **(environment or {})},
        )
        took_s = time.monotonic() - begun
    if done.returncode not in (0, 1, 4):
        raise SystemExit(f"edgeml bench ended with {done.returncode}: {done.stderr}")
    run = Run(took_s=took_s, progress=done.stderr.count("measure "), report=json.loads(done.stdout))
    print(run.shown(), file=sys.stderr, flush=True)
    return run


if __name__ == "__main__":
    sys.exit(main())
