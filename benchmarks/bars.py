"""Measure the figures of docs/results.md that come from whole projects, by the command a user runs.

``python benchmarks/bars.py --fsdd FOLDER --sign-digits FOLDER`` makes the projects in ``--work`` (default
``.build/bars``), trains them, exports them twice, and prints one Markdown table: what was measured, its value, the bar,
and whether it was reached. Data sets that are not given are left out; the handwritten digits and the breast-cancer
table, which scikit-learn brings, are always measured. It exits 1 when a bar was missed.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import time
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from commands import edgeml
from interleaved import time_in_turns

from edgeml_export import KNOWN_VARIANTS
from edgeml_runtime import Model

if TYPE_CHECKING:
    from interleaved import Timing

EVERY_VARIANT = tuple(KNOWN_VARIANTS)
SMALL_MODEL_PARAMETERS = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured figure beside its bar.

    Attributes:
        what: What was measured.
        value: The value, as printed.
        bar: The bar, as printed.
        reached: Whether the value keeps the bar; None for a figure that is only reported.
    """

    what: str
    value: str
    bar: str
    reached: bool | None

    def row(self) -> str:
        """The figure as a row of a Markdown table."""
        verdict = {True: "reached", False: "**missed**", None: "reported"}[self.reached]
        return f"| {self.what} | {self.value} | {self.bar} | {verdict} |"


def main() -> int:
    """Measure and print."""
    options = parse_arguments()
    work: Path = options.work.resolve()
    figures = digits(work) + table(work)
    if options.fsdd is not None:
        figures += spoken(work, options.fsdd.resolve())
    if options.sign_digits is not None:
        figures += signs(work, options.sign_digits.resolve())
    print("| figure | value | bar | |\n|---|---|---|---|")
    print("\n".join(figure.row() for figure in figures))
    return int(any(figure.reached is False for figure in figures))


def parse_arguments() -> argparse.Namespace:
    """The script's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fsdd", type=Path, help="folder of the Free Spoken Digit Dataset")
    parser.add_argument("--sign-digits", type=Path, help="folder of the Sign Language Digits Dataset")
    parser.add_argument("--work", type=Path, default=Path(".build/bars"), help="where the projects are made")
    return parser.parse_args()


def digits(work: Path) -> list[Figure]:
    """Handwritten digits: accuracy, variants, sizes, parity, repeatable bytes."""
    project = make(work, "bars-digits", "handwritten-digits")
    trained = edgeml("train", str(project))
    accuracy = trained["metric"]["value"]
    figures = [
        Figure(what="handwritten digits, accuracy", value=f"{accuracy:.4f}", bar="≥ 0.97", reached=accuracy >= 0.97)
    ]
    return figures + exported("handwritten digits", project, work)


def table(work: Path) -> list[Figure]:
    """The breast-cancer table: time to a bundle, ROC AUC, and what network, linear model and boosting come to."""
    task, started, before = "breast-cancer table", time.monotonic(), cpu_seconds()
    project = make(work, "bars-table", "sensor-table")
    trained = edgeml("train", str(project))
    edgeml("export", str(project), "--out", str(work / "first"))
    took, computed = time.monotonic() - started, cpu_seconds() - before
    area = trained["ranking"]["roc_auc"]
    figures = [
        Figure(
            what=f"{task}, from `init` to a bundle of four variants",
            value=f"{took:.0f} s, {computed:.0f} s of CPU",
            bar="≤ 120 s",
            reached=took <= 120,
        ),
        Figure(what=f"{task}, ROC AUC", value=area_shown(trained), bar="≥ 0.98", reached=area >= 0.98),
        Figure(what=f"{task}, accuracy: model", value=shown(trained), bar="–", reached=None),
        *baseline_figures(task, trained),
        Figure(
            what=f"{task}, network − linear model, {compared_on(trained['choice']['validation'], 'validation')}",
            value=f"{difference(trained['choice']['validation'])}: {trained['choice']['kept']} kept",
            bar="–",
            reached=None,
        ),
        Figure(
            what=f"{task}, boosting − model, {compared_on(trained['boosting'], 'test')}",
            value=difference(trained["boosting"]),
            bar="–",
            reached=None,
        ),
    ]
    figures += every_precision(task, project, work)
    network = edgeml("train", str(project), "--set", "train.prefer_simpler=false")
    value = f"{shown(network)}, ROC AUC {area_shown(network)}"
    figures.append(Figure(what=f"{task}, the network by itself", value=value, bar="–", reached=None))
    return figures + [
        replace(figure, what=f"{figure.what} (network)") for figure in every_precision(task, project, work)
    ]


def baseline_figures(task: str, trained: dict[str, Any]) -> list[Figure]:
    """The baselines of one training."""
    return [
        Figure(what=f"{task}, accuracy: {entry['name']}", value=spread(entry), bar="–", reached=None)
        for entry in trained["baselines"]
    ]


def compared_on(comparison: dict[str, Any], split: str) -> str:
    """Over which items two models were compared."""
    return f"{comparison['n']} {split} items"


def difference(comparison: dict[str, Any]) -> str:
    """How much better one of two models is, with its interval."""
    interval = comparison["interval"]
    return f"{comparison['advantage']:+.4f} [{interval['low']:+.3f}, {interval['high']:+.3f}]"


def spread(entry: dict[str, Any]) -> str:
    """A value with its interval."""
    return f"{entry['value']:.4f} [{entry['interval']['low']:.3f}, {entry['interval']['high']:.3f}]"


def area_shown(trained: dict[str, Any]) -> str:
    """The area under the ROC curve with its interval."""
    return spread({"value": trained["ranking"]["roc_auc"], "interval": trained["ranking"]["interval"]})


def spoken(work: Path, fsdd: Path) -> list[Figure]:
    """Spoken digits on the authors' split, and on held-out speakers with and without augmentation."""
    project = make(work, "bars-words", "spoken-digits", "--data", str(fsdd))
    authors = edgeml("train", str(project), "--set", "data.split=authors")
    value = authors["metric"]["value"]
    figures = [Figure(what="spoken digits, authors' split", value=f"{value:.4f}", bar="≥ 0.98", reached=value >= 0.98)]
    figures += exported("spoken digits, authors' split", project, work)
    plain = edgeml("train", str(project), "--set", "train.augment=false")
    augmented = edgeml("train", str(project))
    figures.append(
        Figure(
            what=f"spoken digits, {augmented['split']}: with augmentation against without",
            value=f"{shown(augmented)} against {shown(plain)}",
            bar="better with",
            reached=augmented["metric"]["value"] > plain["metric"]["value"],
        )
    )
    figures += exported("spoken digits, held-out speakers", project, work)
    return figures + keyword_figures("spoken digits", project, work)


def signs(work: Path, photographs: Path) -> list[Figure]:
    """Hand signs of students the model has not seen, and the time from nothing to a bundle."""
    started, before = time.monotonic(), cpu_seconds()
    project = make(work, "bars-signs", "sign-digits", "--data", str(photographs))
    trained = edgeml("train", str(project))
    edgeml("export", str(project), "--out", str(work / "first"))
    took, computed = time.monotonic() - started, cpu_seconds() - before
    value = trained["metric"]["value"]
    figures = [
        Figure(
            what="sign digits, from `init` to a bundle of four variants",
            value=f"{took:.0f} s, {computed:.0f} s of CPU",
            bar="≤ 360 s",
            reached=took <= 360,
        ),
        Figure(what=f"sign digits, {trained['split']}", value=shown(trained), bar="≥ 0.92", reached=value >= 0.92),
    ]
    return figures + exported("sign digits", project, work)


def cpu_seconds() -> float:
    """User and system time of the commands that have ended, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def keyword_figures(task: str, project: Path, work: Path) -> list[Figure]:
    """Size and speed of the keyword model from the raw waveform, and the time that its export takes."""
    started = time.monotonic()
    report = edgeml("export", str(project), "--out", str(work / "first"))
    took = time.monotonic() - started
    figures = [
        Figure(
            what=f"{task}, export of {len(report['variants'])} variants, scored and proven",
            value=f"{took:.0f} s",
            bar="≤ 90 s",
            reached=took <= 90,
        )
    ]
    variants = {variant["id"]: variant for variant in report["variants"]}
    for form in ("onnx", "tflite"):
        size = variants[f"{form}-int8"]["bytes"] / 1e3
        figures.append(
            Figure(what=f"{task}, {form}-int8, file", value=f"{size:.0f} kB", bar="≤ 150 kB", reached=size <= 150)
        )
        if not variants[f"{form}-int8"]["shipped"]:
            continue
        timing = speed(Path(report["bundle"]), f"{form}-int8", f"{form}-fp32")
        figures.append(
            Figure(
                what=f"{task}, {form}, int8 ÷ fp32, raw waveform to result",
                value=f"{timing.ratio:.2f} ({timing.first_us:.0f} ÷ {timing.second_us:.0f} µs)",
                bar="≤ 1",
                reached=timing.ratio <= 1,
            )
        )
    return figures


def speed(bundle: Path, first: str, second: str) -> Timing:
    """Predictions of two variants of a bundle with one input, in turns."""
    with Model.load(bundle, variant=first) as one, Model.load(bundle, variant=second) as other:
        spec = one.manifest.inputs[0]
        low, high = (int(end) for end in spec.range)
        item = np.random.default_rng(0).integers(low, high + 1, spec.shape).astype(spec.dtype.value)
        return time_in_turns(lambda: one.predict(item), lambda: other.predict(item))


def exported(task: str, project: Path, work: Path) -> list[Figure]:
    """Figures of one run's variants, and whether a second export gives the same bytes."""
    first = edgeml("export", str(project), "--out", str(work / "first"))
    second = edgeml("export", str(project), "--out", str(work / "second"))
    same = Path(first["bundle"]).read_bytes() == Path(second["bundle"]).read_bytes()
    variants = {variant["id"]: variant for variant in first["variants"]}
    figures = [
        Figure(
            what=f"{task}, two exports", value="identical" if same else "differ", bar="identical bytes", reached=same
        )
    ]
    for form in ("onnx", "tflite"):
        figures += format_figures(f"{task}, {form}", variants[f"{form}-fp32"], variants[f"{form}-int8"])
    return figures + every_precision(task, project, work)


def every_precision(task: str, project: Path, work: Path) -> list[Figure]:
    """Loss of every variant there is, the answers without VNNI, and whether each comes out the same twice."""
    reports = [
        edgeml("export", str(project), "--variants", ",".join(EVERY_VARIANT), "--out", str(work / name))
        for name in ("first", "second")
    ]
    contents = [members(Path(report["bundle"])) for report in reports]
    return [proven(task, variant, contents) for variant in reports[0]["variants"]]


def proven(task: str, variant: dict[str, Any], contents: list[dict[str, bytes]]) -> Figure:
    """One variant: what it loses, whether two exports gave the same file, and how far it is off without VNNI."""
    paired, identity = variant["paired_loss"], variant["id"]
    allowed = max(0.005 * paired["n"], 2)
    missed = [part["name"] for part in variant["slice_losses"] if not part["within"]]
    kept = paired["items"] <= allowed and not missed
    said = [f"{paired['items']:+d} of {paired['n']} items"]
    if missed:
        said.append(f"too much on {', '.join(missed)}")
    file = f"variants/{identity}.{identity.partition('-')[0]}"
    if not variant["shipped"]:
        said.append("not shipped")
    elif contents[0][file] != contents[1][file]:
        said.append("two exports differ")
        kept = False
    if (check := variant["without_vnni"]) is not None:
        found = f"off by {check['max_abs']:.2g} of {check['tolerance']:.2g}" if check["checked"] else "not checked"
        said.append(f"without VNNI {found}")
        kept = kept and check["max_abs"] <= check["tolerance"]
    return Figure(
        what=f"{task}, {identity}, lost",
        value="; ".join(said),
        bar=f"≤ {allowed:g} items and the slices' promise, or not shipped; identical twice",
        reached=kept or not variant["shipped"],
    )


def members(bundle: Path) -> dict[str, bytes]:
    """Every file of a bundle."""
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def format_figures(what: str, fp32: dict[str, Any], int8: dict[str, Any]) -> list[Figure]:
    """Parity, paired loss and sizes of one format."""
    parity = fp32["parity"]["max_abs_of_std"]
    paired = int8["paired_loss"]
    allowed = max(0.005 * paired["n"], 2)
    weights = int8["weight_bytes_without_front_end"] / fp32["weight_bytes_without_front_end"]
    file = int8["bytes_without_front_end"] / fp32["bytes_without_front_end"]
    small = fp32["weight_bytes_without_front_end"] / 4 < SMALL_MODEL_PARAMETERS
    bar = 0.60 if small else 0.40
    lost = f"{paired['items']:+d} items of {paired['n']}, to {int8['metric']['value']:.4f}"
    return [
        Figure(what=f"{what}, fp32 parity", value=f"{parity:.1e} of std", bar="≤ 1e-4", reached=parity <= 1e-4),
        Figure(what=f"{what}, int8 loss", value=lost, bar=f"≤ {allowed:g} items", reached=paired["items"] <= allowed),
        Figure(what=f"{what}, int8/fp32 weights", value=f"{weights:.4f}", bar="≤ 0.27", reached=weights <= 0.27),
        Figure(what=f"{what}, int8/fp32 file", value=f"{file:.3f}", bar=f"≤ {bar:.2f}", reached=file <= bar),
    ]


def shown(report: dict[str, Any]) -> str:
    """A trained model's metric with its interval."""
    return spread(report["metric"])


def make(work: Path, name: str, template: str, *arguments: str) -> Path:
    """A new project; one left from an earlier measurement is removed first."""
    project = work / name
    shutil.rmtree(project, ignore_errors=True)
    for folder in (work / "first", work / "second"):
        folder.mkdir(parents=True, exist_ok=True)
    edgeml("init", str(project), "--template", template, *arguments)
    return project


if __name__ == "__main__":
    sys.exit(main())
