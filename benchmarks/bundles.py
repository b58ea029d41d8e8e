"""The bundles that the suites measure: one of each template, trained fast, and one of each network of the zoo.

``python benchmarks/bundles.py NAME …`` makes those that are not there yet, in ``--work`` (default ``.build/bench``);
the suites do so by themselves. They stay there, and are made again after ``rm -r .build/bench``. Templates that bring
no data take it from the folder that ``EDGEML_FSDD``, ``EDGEML_SIGN_DIGITS`` or ``EDGEML_NAB`` names, or that lies
beside the checkout; the suites skip those without.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from commands import edgeml

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".build" / "bench"
DATA = ROOT.parent / "shared" / "data"
VARIANTS = ("onnx-fp32", "onnx-int8", "tflite-fp32", "tflite-int8")
ITEMS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A template as a reference.

    Attributes:
        variable: The variable of the environment that names the folder with its data; None where it brings them.
        folder: The folder's name beside the checkout.
    """

    variable: str | None = None
    folder: str = ""

    @property
    def data(self) -> Path | None:
        """The folder with its data, or None where the template brings them."""
        return None if self.variable is None else Path(os.environ.get(self.variable, DATA / self.folder)).resolve()


REFERENCES = {
    "handwritten-digits": Reference(),
    "sensor-table": Reference(),
    "machine-temperature": Reference(variable="EDGEML_NAB", folder="nab"),
    "spoken-digits": Reference(variable="EDGEML_FSDD", folder="fsdd"),
    "sign-digits": Reference(variable="EDGEML_SIGN_DIGITS", folder="sign-digits"),
}
ZOO_NAMES = ("ds-cnn", "resnet8", "mobilenetv1", "autoencoder", "mobilenetv2")


def main() -> int:
    """Make what is missing."""
    names = [*REFERENCES, *ZOO_NAMES]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--work", type=Path, default=WORK, help="where bundles are kept (%(default)s)")
    options = parser.parse_args()
    for name in options.names:
        path = bundle_path(name, options.work)
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            make_reference(name, path) if name in REFERENCES else make_zoo(name, path)
        print(path)
    return 0


def bundle_path(name: str, work: Path = WORK) -> Path:
    """Where the bundle of that name lies once it was made."""
    return work / name / f"{name}-1.0.0.edgeml"


def make_reference(name: str, path: Path) -> None:
    """Train a template fast, and export it."""
    project = path.parent / name
    shutil.rmtree(project, ignore_errors=True)
    data = REFERENCES[name].data
    edgeml("init", str(project), "--template", name, *(() if data is None else ("--data", str(data))))
    edgeml("train", str(project), "--fast")
    edgeml("export", str(project), "--out", str(path))
    if not path.is_file():
        raise SystemExit(f"{name}: a variant failed, and there is no bundle")


def make_zoo(name: str, path: Path) -> None:
    """Export a network of the zoo."""
    import torch
    from zoo import ZOO

    from edgeml_export import export_bundle

    torch.set_num_threads(1)
    entry = next(entry for entry in ZOO if entry.name == name)
    calibration, test = (entry.items(ITEMS, seed=seed) for seed in (1, 2))
    report = export_bundle(entry.build(), contract=entry.contract, calibration=calibration, test=test, out=path)
    if not report.ok:
        raise SystemExit("\n".join(f"{variant.id}: {variant.reason}" for variant in report.variants if variant.reason))


if __name__ == "__main__":
    sys.exit(main())
