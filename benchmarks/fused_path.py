"""Measure what the way from raw pixels costs over the bare network, on the bytes that are shipped.

``python benchmarks/fused_path.py`` exports MobileNetV1-0.25 and ResNet-8 of the zoo twice: from raw uint8 pixels, and
without preprocessing. It times the first through edgeml_runtime's backends, pixels in and scores out, and the second by
plain calls of the same library, with what its network takes: float32, or the quantized integers for int8 files.
ONNX networks take [1, 3, height, width] and TFLite networks [1, height, width, 3], the layout that suits the format.
One thread; both sides in turns, in shuffled order; the ratio is that of the low deciles, and the median over pairs of
freshly loaded models, because where memory happens to lie makes a percent. It exits 1 when a bar was missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from interleaved import Timing, time_in_turns
from torch import Tensor, nn
from zoo import ZOO, ZooEntry

from edgeml_evaluate import LabelledData
from edgeml_export import export_bundle
from edgeml_export.tflite_file import operator_name, read_tflite, write_tflite
from edgeml_runtime import Bundle
from edgeml_runtime.manifest import ModelFormat
from edgeml_runtime.open_session import open_backend
from edgeml_runtime.tensors import DType, InputSpec
from edgeml_train.fused import FusedModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgeml_runtime.contract import Contract
    from edgeml_runtime.manifest import Variant

    Array = NDArray[Any]
    Call = Callable[[], list[Array]]

NETWORKS = ("mobilenetv1", "resnet8")
PRECISIONS = ("fp32", "int8")
BAR = 1.03
ITEMS = 64
CENTRE, SPREAD = 128, 64
# The two exports calibrate apart, and rounding may fall to the other side.
CLOSE = {"fp32": 1e-4, "int8": 0.1}


class ChannelsFirst(nn.Module):
    """[b, height, width, channels] → [b, channels, height, width]."""

    def forward(self, values: Tensor) -> Tensor:
        """Permute."""
        return values.permute(0, 3, 1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One variant of one network.

    Attributes:
        network: Its name in the zoo.
        variant: Id of the variant.
        timings: Fused against bare, for each pair of freshly loaded models.
    """

    network: str
    variant: str
    timings: tuple[Timing, ...]

    @property
    def ratio(self) -> float:
        """Fused ÷ bare."""
        return median(timing.ratio for timing in self.timings)

    def row(self) -> str:
        """The figure as a row of a Markdown table."""
        ratios = [timing.ratio for timing in self.timings]
        fused, bare = (median(getattr(timing, name) for timing in self.timings) for name in ("first_us", "second_us"))
        verdict = "reached" if self.ratio <= BAR else "**missed**"
        spread = f"{min(ratios):.3f} – {max(ratios):.3f}"
        return (
            f"| {self.network}, {self.variant} | {fused:.1f} µs | {bare:.1f} µs | {self.ratio:.3f} | {spread} "
            f"| ≤ {BAR} | {verdict} |"
        )


def main() -> int:
    """Measure and print."""
    options = parse_arguments()
    torch.set_num_threads(1)
    figures = [
        figure
        for entry in ZOO
        if entry.name in options.network
        for figure in measure(entry, pairs=options.pairs, rounds=options.rounds)
    ]
    print("| from raw pixels | fused | bare | fused ÷ bare | pairs | bar | |\n|---|---|---|---|---|---|---|")
    print("\n".join(figure.row() for figure in figures))
    return int(any(figure.ratio > BAR for figure in figures))


def parse_arguments() -> argparse.Namespace:
    """The script's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", action="append", choices=NETWORKS, help="only this one; repeatable")
    parser.add_argument("--pairs", type=int, default=7, help="how often both sides are loaded afresh")
    parser.add_argument("--rounds", type=int, default=200, help="turns of each side in a pair")
    options = parser.parse_args()
    options.network = options.network or NETWORKS
    return options


def measure(entry: ZooEntry, *, pairs: int, rounds: int) -> list[Figure]:
    """Every variant of one network, fused against bare."""
    image: Array = entry.items(1, 3).inputs["image"]
    with tempfile.TemporaryDirectory() as folder:
        fused = export_fused(entry, Path(folder) / "fused.edgeml")
        bare = {form: export_bare(entry, form, Path(folder) / f"{form.value}.edgeml") for form in formats()}
        figures = []
        for form in formats():
            for precision in PRECISIONS:
                variant = f"{form.value}-{precision}"
                timings = []
                for _ in range(pairs):
                    ours, theirs = fused_call(fused, variant, image), bare_call(bare[form], variant, image)
                    check_agreement(f"{entry.name}, {variant}", precision, ours(), theirs())
                    timings.append(time_in_turns(ours, theirs, rounds=rounds))
                figures.append(Figure(network=entry.name, variant=variant, timings=tuple(timings)))
    return figures


def formats() -> tuple[ModelFormat, ...]:
    """The formats that are measured."""
    return ModelFormat.ONNX, ModelFormat.TFLITE


def export_fused(entry: ZooEntry, out: Path) -> Path:
    """The network from raw pixels, in every variant."""
    variants = tuple(f"{form.value}-{precision}" for form in formats() for precision in PRECISIONS)
    contract = replace(entry.contract, export=replace(entry.contract.export, variants=variants, required=variants))
    return exported(entry.build(), contract, entry.items(ITEMS, 1), entry.items(ITEMS, 2), out)


def export_bare(entry: ZooEntry, form: ModelFormat, out: Path) -> Path:
    """The same network fed the normalised values, in the layout that suits the format."""
    variants = tuple(f"{form.value}-{precision}" for precision in PRECISIONS)
    shape = tuple(bare_values(entry.items(1, 1).inputs["image"], form).shape[1:])
    values = InputSpec(
        name="values", dtype=DType.FLOAT32, shape=shape, range=(-2.0, 2.0), unit="normalised", source="image"
    )
    rules = replace(entry.contract.export, variants=variants, required=variants)
    contract = replace(entry.contract, inputs=(values,), export=rules)
    layout = nn.Identity() if form is ModelFormat.ONNX else ChannelsFirst()
    calibration, test = (bare_items(entry, form, seed) for seed in (1, 2))
    return exported(FusedModel(contract, layout, entry.bare()).eval(), contract, calibration, test, out)


def bare_items(entry: ZooEntry, form: ModelFormat, seed: int) -> LabelledData:
    """Items of the zoo as the bare network takes them."""
    items = entry.items(ITEMS, seed)
    return LabelledData(inputs={"values": bare_values(items.inputs["image"], form)}, targets=items.targets)


def exported(fused: FusedModel, contract: Contract, calibration: LabelledData, test: LabelledData, out: Path) -> Path:
    """Export, and refuse to go on without every variant."""
    report = export_bundle(fused, contract=contract, calibration=calibration, test=test, out=out)
    if not report.ok:
        raise SystemExit("\n".join(f"{variant.id}: {variant.reason}" for variant in report.variants if variant.reason))
    return out


def bare_values(images: Array, form: ModelFormat) -> Array:
    """uint8 [n, height, width, 3] → what the bare network takes, float32."""
    values = (images.astype(np.float32) - CENTRE) / SPREAD
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if form is ModelFormat.ONNX else values)


def fused_call(path: Path, variant_id: str, image: Array) -> Call:
    """Pixels in, outputs out, through the runtime's backend."""
    with Bundle.open(path) as bundle:
        backend = open_backend(bundle, variant_of(bundle, variant_id), threads=1)
    return lambda: backend.run([image])


def bare_call(path: Path, variant_id: str, image: Array) -> Call:
    """The call that an application would write for the bare network."""
    with Bundle.open(path) as bundle:
        variant = variant_of(bundle, variant_id)
        content = bundle.read(variant.file)
        names = [variant.outputs[spec.name] for spec in bundle.manifest.outputs]
    source = variant.inputs["values"]
    values = bare_values(image, variant.format)
    if variant.format is ModelFormat.ONNX:
        if variant.precision == "int8":
            content, values = onnx_of_integers(content), integers(values, np.dtype(np.uint8))
        return onnxruntime_call(content, source, names, values)
    if variant.precision == "int8":
        content, values = tflite_of_integers(content), integers(values, np.dtype(np.int8))
    return litert_call(content, names, values)


def variant_of(bundle: Bundle, variant_id: str) -> Variant:
    """A variant by its id."""
    return next(variant for variant in bundle.manifest.variants if variant.id == variant_id)


def integers(values: Array, dtype: np.dtype[Any]) -> Array:
    """Normalised values as the integers of a scale of 1/64, with zero in the middle of the type's range."""
    return (values * SPREAD + (CENTRE if dtype == np.uint8 else 0)).astype(dtype)


def onnx_of_integers(content: bytes) -> bytes:
    """The model without the QuantizeLinear of its input: it takes uint8."""
    model = onnx.load_from_string(content)
    declared = model.graph.input[0]
    quantize = next(node for node in model.graph.node if declared.name in node.input)
    if quantize.op_type != "QuantizeLinear":
        raise SystemExit(f"expected QuantizeLinear behind the bare network's input, found {quantize.op_type}")
    for node in model.graph.node:
        node.input[:] = [declared.name if name == quantize.output[0] else name for name in node.input]
    model.graph.node.remove(quantize)
    declared.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    onnx.checker.check_model(model, full_check=True)
    changed: bytes = model.SerializeToString()
    return changed


def tflite_of_integers(content: bytes) -> bytes:
    """The model without the QUANTIZE of its input: it takes int8."""
    model = read_tflite(content)
    graph = model.subgraphs[0]
    quantize = next(operator for operator in graph.operators if graph.inputs[0] in list(operator.inputs))
    if operator_name(model, quantize) != "QUANTIZE":
        raise SystemExit(f"expected QUANTIZE behind the bare network's input, found {operator_name(model, quantize)}")
    model.signatureDefs[0].inputs[0].tensorIndex = int(quantize.outputs[0])
    graph.inputs = [int(quantize.outputs[0])]
    graph.operators.remove(quantize)
    return write_tflite(model)


def onnxruntime_call(content: bytes, source: str, names: list[str], values: Array) -> Call:
    """A plain call of ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    feeds = {source: values}
    return lambda: session.run(names, feeds)


def litert_call(content: bytes, names: list[str], values: Array) -> Call:
    """A plain call of LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    results = interpreter.get_signature_runner().get_output_details()
    source = interpreter.get_input_details()[0]["index"]
    indices = [results[name]["index"] for name in names]

    def call() -> list[Array]:
        interpreter.set_tensor(source, values)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in indices]

    return call


def check_agreement(what: str, precision: str, fused: list[Array], bare: list[Array]) -> None:
    """Refuse to time two models that compute different things."""
    for ours, theirs in zip(fused, bare, strict=True):
        difference = float(np.abs(ours - theirs).max())
        if difference > CLOSE[precision] * max(1.0, float(np.abs(theirs).max())):
            raise SystemExit(f"{what}: fused and bare differ by {difference:.3g}")


if __name__ == "__main__":
    sys.exit(main())
