"""The bundles that ``make emulated`` checks: one of each template, trained fast, with budgets for two boards.

``python benchmarks/emulated/make_bundles.py`` makes all of them anew, ``… make_bundles.py NAME …`` some. Templates that
bring no data are trained on made-up ones (``generated_data.py``). Each is exported, counted on both boards, and given
what was counted and some room as limits; ``--limits`` does only that, with bundles that are there. Set the emulator up
first: ``edgeml devices setup-emulator aarch64``. All five take about twelve minutes on two cores.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bundles import REFERENCES
from commands import edgeml
from generated_data import GENERATED

from edgeml_devices.bench import bench
from edgeml_devices.emulator.target import EmulatorTarget
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.bundle_write import write_bundle
from edgeml_runtime.contract import BudgetName
from edgeml_runtime.contract_parse import parse_contract

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeml_devices.report import BenchReport

HERE = Path(__file__).resolve().parent
DEVICES = ("raspberry-pi-4b", "raspberry-pi-5")
# Another layout of the guest's memory, as every change of the runtime brings, moves a count by up to 0.2 %.
ROOM = 1.01
# Another run of the training gives other weights, which compress otherwise.
BUNDLE_ROOM = 1.05
SETTINGS = {
    # The pattern that the template has names files of the real data set.
    "machine-temperature": ((r"series = \[.*?\]", 'series = ["machine/*"]'),),
}


def main() -> int:
    """Make the bundles."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(REFERENCES))
    parser.add_argument("--limits", action="store_true", help="keep the bundles, and count anew")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(REFERENCES))
    if unknown:
        parser.error(f"expected {', '.join(REFERENCES)}, found {', '.join(unknown)}")
    for name in options.names or REFERENCES:
        path = HERE / f"{name}.edgeml"
        if not options.limits:
            with tempfile.TemporaryDirectory(prefix="edgeml-emulated-") as folder:
                make(name, Path(folder), path)
        set_limits(path)
        print(path)
    return 0


def make(name: str, folder: Path, path: Path) -> None:
    """Train and export."""
    project, given = folder / name, []
    if name in GENERATED:
        data = folder / "data"
        data.mkdir()
        GENERATED[name](data)
        given = ["--data", str(data)]
    edgeml("init", str(project), "--template", name, *given)
    change(project / "edgeml.toml", SETTINGS.get(name, ()))
    edgeml("train", str(project), "--fast")
    path.unlink(missing_ok=True)
    edgeml("export", str(project), "--out", str(path))
    if not path.is_file():
        raise SystemExit(f"{name}: a variant failed, and there is no bundle")


def change(path: Path, changes: Sequence[tuple[str, str]]) -> None:
    """Replace each pattern once in a text file."""
    text = path.read_text(encoding="utf-8")
    for pattern, replacement in changes:
        text, found = re.subn(pattern, lambda _, by=replacement: by, text, count=1, flags=re.DOTALL)
        if not found:
            raise SystemExit(f"{path}: expected {pattern}, found nothing like it")
    path.write_text(text, encoding="utf-8")


def set_limits(path: Path) -> None:
    """Count on every board, and write the limits into the contract of the bundle."""
    budgets = {device: limits_of(bench(path, device=device, target=EmulatorTarget(layers=False))) for device in DEVICES}
    with Bundle.open(path) as found:
        manifest = found.manifest
        members = {member.name: found.read(member.name) for member in manifest.members}
    document = {**manifest.contract, "budgets": {**manifest.contract.get("budgets", {}), **budgets}}
    contract = parse_contract(document, source=str(path))
    write_bundle(path, contract=contract, variants=manifest.variants, members=members)


def limits_of(report: BenchReport) -> dict[str, Any]:
    """What is counted now, and a little, for the versions that were counted."""
    counted = []
    for variant in report.variants:
        if variant.reason is not None or variant.backend_version is None:
            raise SystemExit(f"{report.model} on {report.profile.name}: {variant.id}: {variant.reason}")
        value = variant.figures[BudgetName.INSTRUCTIONS].value
        version = ".".join(variant.backend_version.split(".")[:2])
        limit = math.ceil(value * ROOM / 100) * 100
        counted.append({"limit": limit, "variant": variant.id, "backend_version": version})
    return {"instructions": counted, "bundle_mb": math.ceil(report.size_bytes * BUNDLE_ROOM / 1e4) / 100}


if __name__ == "__main__":
    sys.exit(main())
