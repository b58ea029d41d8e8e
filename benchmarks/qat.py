"""Measure what quantization-aware training wins back, on the hand signs of the template ``sign-digits``.

``python benchmarks/qat.py --sign-digits FOLDER`` trains MobileNetV1-0.25 in ``--work`` (default ``.build/qat``) and
prints one Markdown table. First post-training int8 of the network as it was trained, with a scale per output channel
and with one per tensor. Then the same network with outliers planted into its depthwise weights: one input channel in
sixteen is made 64 times smaller by the normalisation before, and its depthwise weights 64 times larger, which changes
nothing of what the float network computes (between them stands a ReLU). With one scale per tensor that is the hard
case: post-training int8, and ``edgeml train --qat`` from there, both measured by the bytes of both formats. It exits 1
when a bar was missed.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from bars import Figure, edgeml, make
from safetensors.torch import load_file, save_file

from edgeml_train import Project

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

FORMATS = ("onnx-int8", "tflite-int8")
OUTLIER = 64.0
ONE_IN = 16


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sign-digits", type=Path, required=True, help="folder of the Sign Language Digits Dataset")
    parser.add_argument("--work", type=Path, default=Path(".build/qat"), help="where the projects are made")
    parser.add_argument("--once", action="store_true", help="do not train a second time to compare")
    options = parser.parse_args()
    work: Path = options.work.resolve()
    project = make(work, "qat-signs", "sign-digits", "--data", str(options.sign_digits.resolve()))
    trained = edgeml("train", str(project))
    figures = [*as_trained(project, work), *hard_case(project, work, trained["run_id"], twice=not options.once)]
    print("| figure | value | bar | |\n|---|---|---|---|")
    print("\n".join(figure.row() for figure in figures))
    return int(any(figure.reached is False for figure in figures))


def as_trained(project: Path, work: Path) -> Iterable[Figure]:
    """Post-training int8 of the network as it is, with a scale per channel and with one per tensor."""
    for weights in ("per_channel", "per_tensor"):
        other = variation(project, work / f"qat-signs-{weights}", weights)
        report = edgeml("export", str(other), "--variants", ",".join(FORMATS), "--out", str(work / "first"))
        for variant in report["variants"]:
            yield Figure(
                what=f"as trained, {weights}, post-training {variant['id']}",
                value=told(variant["metric"], variant["paired_loss"]),
                bar="–",
                reached=None,
            )


def hard_case(project: Path, work: Path, run_id: str, *, twice: bool) -> list[Figure]:
    """The network with outliers: what post-training int8 loses, what training wins back, and whether bytes repeat."""
    hard = variation(project, work / "qat-signs-hard", "per_tensor")
    changed = plant(hard, run_id)
    case = f"{changed} depthwise channels × {OUTLIER:g}, per_tensor"
    report = edgeml("train", str(hard), "--qat")
    figures = [
        Figure(
            what=f"{case}, {row['stage'].replace('_', ' ')}, {row['model']}",
            value=told(row["metric"], row["loss"]),
            bar="–",
            reached=None,
        )
        for row in report["rows"]
    ]
    for variant in FORMATS:
        share = report["won_back"][variant]
        figures.append(
            Figure(
                what=f"won back of the post-training loss, {variant}",
                value="nothing was lost" if share is None else f"{share:.0%}",
                bar="≥ 50 %",
                reached=share is not None and share >= 0.5,
            )
        )
    rows = report["rows"][-len(FORMATS) :]
    near = {row["model"]: (row["simulation_rms"], row["float_rms"]) for row in rows}
    for model, (simulated, in_float) in near.items():
        figures.append(
            Figure(
                what=f"{model}, distance from what training simulated; from the float model",
                value=f"{simulated:.4f}; {in_float:.4f} of std",
                bar="nearer to what was simulated",
                reached=simulated < in_float,
            )
        )
    return figures + repeatable(hard, work, report, twice=twice)


def repeatable(project: Path, work: Path, report: dict[str, Any], *, twice: bool) -> list[Figure]:
    """Whether a second export, and the export of a second training, give the same bytes."""
    names = [*FORMATS, "onnx-fp32", "tflite-fp32"]
    bundles = [exported(project, work / name, report["run_id"], names) for name in ("first", "second")]
    figures = [same("exported twice", bundles)]
    if twice:
        again = edgeml("train", str(project), "--qat", "--run", report["parent_run_id"])
        bundles[1] = exported(project, work / "second", again["run_id"], names)
        figures.append(same("trained twice, exported", bundles))
    return figures


def exported(project: Path, out: Path, run_id: str, variants: list[str]) -> bytes:
    """The bundle of a run."""
    report = edgeml("export", str(project), "--run", run_id, "--variants", ",".join(variants), "--out", str(out))
    return Path(report["bundle"]).read_bytes()


def same(what: str, bundles: list[bytes]) -> Figure:
    """Whether two bundles are the same bytes."""
    equal = bundles[0] == bundles[1]
    return Figure(what=what, value="identical" if equal else "differ", bar="identical bytes", reached=equal)


def variation(project: Path, folder: Path, weights: str) -> Path:
    """A copy of a project with its runs, whose contract asks for other scales of weights and lets every loss pass."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(project, folder)
    toml = folder / "edgeml.toml"
    text = re.sub(r"(?m)^max_(metric|slice)_drop = .*\n", "", toml.read_text("utf-8"))
    rules = f'weights = "{weights}"\nmax_metric_drop = 1.0\nmax_slice_drop = 1.0\n'
    toml.write_text(text.replace("[export]\n", f"[export]\n{rules}"), "utf-8")
    return folder


def plant(project: Path, run_id: str) -> int:
    """Plant outliers into the stored weights of a run; returns into how many channels."""
    path = project / ".edgeml" / "artifacts" / run_id / "artifacts" / "weights.safetensors"
    weights = load_file(path)
    network = Project.open(project).task.network()
    generator = torch.Generator().manual_seed(0)
    count = 0
    layers = list(network)
    for place, layer in enumerate(layers):
        if isinstance(layer, torch.nn.Conv2d) and layer.groups > 1:
            channels = torch.randperm(layer.out_channels, generator=generator)[: layer.out_channels // ONE_IN or 1]
            scale(weights, f"network.{place - 2}.weight", channels, 1 / OUTLIER)
            scale(weights, f"network.{place - 2}.bias", channels, 1 / OUTLIER)
            scale(weights, f"network.{place}.weight", channels, OUTLIER)
            count += len(channels)
    save_file(weights, path)
    return count


def scale(weights: dict[str, Tensor], name: str, channels: Tensor, factor: float) -> None:
    """Multiply some channels of one tensor; a power of two rounds nothing."""
    weights[name][channels] *= factor


def told(metric: dict[str, Any], loss: dict[str, Any] | None) -> str:
    """A metric, and what it lost over the same items."""
    value = f"{metric['value']:.4f}"
    if loss is None:
        return f"{value} ({round(metric['value'] * metric['n'])} of {metric['n']})"
    return f"{value}, {loss['lost']} lost, {loss['gained']} gained of {loss['n']}"


if __name__ == "__main__":
    sys.exit(main())
