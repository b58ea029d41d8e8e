"""Whether ``--against`` finds a slowdown of 10 %, and finds none where there is none.

``python benchmarks/slowdown.py`` makes three bundles of networks of equal layers, two of them alike and one with more,
and compares the other two with the first one, ``--runs`` times each in shuffled order. How many more layers make the
full path, from the raw input to the label, a tenth slower is found by a long comparison beforehand, and what was really
planted is measured by another one, so that a finding can be told from it. Every comparison is told on stderr. It prints
rows of Markdown and exits 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from bars import Figure
from onnx import TensorProto, helper, numpy_helper

from edgeml_devices import Verdict
from edgeml_devices.against import SpeedRatio, compare_speed
from edgeml_runtime.backends import load_backend
from edgeml_runtime.bundle_write import write_bundle
from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.golden import GoldenCase, GoldenSet, golden_members
from edgeml_runtime.histograms import feature_values, histogram, histograms_member
from edgeml_runtime.manifest import ModelFormat, Variant

if TYPE_CHECKING:
    from collections.abc import Sequence

LAYERS = 100
WIDTH = 256
PLANTED = 0.10
LONG_S = 12.0
VARIANT = "onnx-fp32"
CONTRACT = {
    "model": {"name": "chain", "version": "1.0.0"},
    "inputs": [{"name": "x", "dtype": "float32", "shape": [4], "range": [-1.0, 1.0], "unit": "V", "source": "made up"}],
    "outputs": [{"name": "scores", "role": "scores", "shape": [4], "labels": ["a", "b", "c", "d"]}],
    "target": {"name": "letter", "kind": "classification"},
    "metric": {"primary": "accuracy", "floor": 0.0},
}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="how often to compare each pair (%(default)s)")
    parser.add_argument("--time-limit", type=float, default=55.0, help="seconds of one comparison (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeml-slowdown-") as folder:
        first, same, slow = (Path(folder) / f"{name}.edgeml" for name in ("first", "same", "slow"))
        for path in (first, same):
            bundle(path, LAYERS)
        planted = plant(slow, first)
        order = [path for path in (same, slow) for _ in range(options.runs)]
        random.Random(0).shuffle(order)
        found: dict[Path, list[SpeedRatio]] = {same: [], slow: []}
        longest = 0.0
        for number, path in enumerate(order, start=1):
            begun = time.monotonic()
            found[path].extend(compare_speed(path, first, threads=1, time_limit_s=options.time_limit).ratios)
            longest = max(longest, time.monotonic() - begun)
            tell(f"{number} of {len(order)}, {path.stem}: {shown(found[path][-1])} {found[path][-1].verdict.value}")
    figures = [
        Figure(what="planted slowdown of the full path, long comparison", value=shown(planted), bar="–", reached=None),
        slowdown_figure(found[slow]),
        alarm_figure(found[same]),
        Figure(what="longest comparison", value=f"{longest:.0f} s", bar="–", reached=None),
    ]
    print("| figure | value | bar | |\n|---|---|---|---|")
    print("\n".join(figure.row() for figure in figures))
    return int(any(figure.reached is False for figure in figures))


def tell(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def plant(slow: Path, first: Path) -> SpeedRatio:
    """Write a bundle whose full path takes a tenth longer than the first one's; what it really takes."""
    extra = round(PLANTED * LAYERS)
    bundle(slow, LAYERS + extra)
    tried = compare_long(slow, first)
    extra = round(extra * PLANTED / max(tried.ratio.value - 1, PLANTED / 2))
    bundle(slow, LAYERS + extra)
    planted = compare_long(slow, first)
    tell(f"planted: {extra} layers more than {LAYERS}: {shown(planted)}")
    return planted


def compare_long(path: Path, other: Path) -> SpeedRatio:
    """A comparison in as many processes as ``LONG_S`` seconds of timing and twice as many take."""
    (ratio,) = compare_speed(path, other, threads=1, seconds=LONG_S, time_limit_s=4 * LONG_S, tolerance=0.0).ratios
    return ratio


def slowdown_figure(ratios: Sequence[SpeedRatio]) -> Figure:
    """How often the slowdown was found."""
    hits = count(ratios, Verdict.FAIL)
    return Figure(
        what="planted slowdown of 10 % found",
        value=f"{hits} of {len(ratios)}, {count(ratios, Verdict.INCONCLUSIVE)} inconclusive; ratios {spread(ratios)}",
        bar="19 of 20",
        reached=hits >= 0.95 * len(ratios),
    )


def alarm_figure(ratios: Sequence[SpeedRatio]) -> Figure:
    """How often one was found where there is none."""
    alarms = count(ratios, Verdict.FAIL)
    return Figure(
        what="false alarms, the same model",
        value=f"{alarms} of {len(ratios)}, {count(ratios, Verdict.INCONCLUSIVE)} inconclusive; ratios {spread(ratios)}",
        bar="0 of 20",
        reached=alarms == 0,
    )


def count(ratios: Sequence[SpeedRatio], verdict: Verdict) -> int:
    """How many have that verdict."""
    return sum(ratio.verdict is verdict for ratio in ratios)


def spread(ratios: Sequence[SpeedRatio]) -> str:
    """The smallest and the largest ratio."""
    values = [ratio.ratio.value for ratio in ratios]
    return f"{min(values):.3f} – {max(values):.3f}"


def shown(ratio: SpeedRatio) -> str:
    """A ratio with its interval."""
    return f"{ratio.ratio.value:.3f} ({ratio.ratio.low:.3f} – {ratio.ratio.high:.3f})"


def bundle(path: Path, layers: int, width: int = WIDTH) -> None:
    """Write a bundle with such a network as its only variant."""
    model = chain(layers, width)
    contract = parse_contract(CONTRACT, source="chain")
    items = np.random.default_rng(1).uniform(-1, 1, (8, 4)).astype(np.float32)
    backend = load_backend("onnxruntime").create(model, input_names=["x"], output_names=["scores"], threads=1)
    expected = [backend.run([item[None]])[0][0] for item in items]
    cases = tuple(
        GoldenCase(name=f"case-{number}", inputs={"x": item}, expected={VARIANT: {"scores": scores}})
        for number, (item, scores) in enumerate(zip(items, expected, strict=True))
    )
    golden = GoldenSet(cases=cases, tolerances={VARIANT: {"scores": 1e-4}})
    variant = Variant(
        id=VARIANT,
        file=f"variants/{VARIANT}.onnx",
        format=ModelFormat.ONNX,
        precision="fp32",
        backend="onnxruntime",
        min_backend_version="1.17",
        requires_isa=(),
        inputs={"x": "x"},
        outputs={"scores": "scores"},
        weight_bytes=0,
        metrics={},
        parity={},
    )
    features = (histogram(feature, feature_values(feature, items)) for feature in contract.telemetry)
    members = {
        "card.md": b"# chain\n",
        "reference/histograms.json": histograms_member(features),
        variant.file: model,
        **golden_members(golden, {}),
    }
    write_bundle(path, contract=contract, variants=[variant], members=members)


def chain(layers: int, width: int = WIDTH) -> bytes:
    """Products of a vector with one matrix, one after the other, between two others, and a softmax."""
    rng = np.random.default_rng(0)
    constants = {
        "first": rng.normal(0, 1, (4, width)).astype(np.float32),
        "matrix": rng.normal(0, width**-0.5, (width, width)).astype(np.float32),
        "last": rng.normal(0, 1, (width, 4)).astype(np.float32),
    }
    nodes = [helper.make_node("MatMul", ["x", "first"], ["h0"])]
    nodes += [helper.make_node("MatMul", [f"h{number}", "matrix"], [f"h{number + 1}"]) for number in range(layers)]
    nodes.append(helper.make_node("MatMul", [f"h{layers}", "last"], ["logits"]))
    nodes.append(helper.make_node("Softmax", ["logits"], ["scores"]))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


if __name__ == "__main__":
    sys.exit(main())
