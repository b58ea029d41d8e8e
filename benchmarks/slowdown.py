"""Whether ``--against`` finds a slowdown of 10 %, and finds none where there is none.

``python benchmarks/slowdown.py`` makes three models of equal layers, two of them alike and one with a tenth more of
them, and compares the other two with the first one, ``--runs`` times each in shuffled order. It first measures in a
long comparison how much slower the third one really is, so that a finding can be told from what was planted. It prints
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

if TYPE_CHECKING:
    from collections.abc import Sequence

LAYERS = 40
WIDTH = 256


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="how often to compare each pair (%(default)s)")
    parser.add_argument("--time-limit", type=float, default=55.0, help="seconds of one comparison (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeml-slowdown-") as folder:
        first, same, slow = (Path(folder) / f"{name}.onnx" for name in ("first", "same", "slow"))
        for path, layers in ((first, LAYERS), (same, LAYERS), (slow, LAYERS * 11 // 10)):
            path.write_bytes(chain(layers))
        (planted,) = compare_speed(slow, first, threads=1, seconds=12.0, time_limit_s=1e6, tolerance=0.0).ratios
        order = [path for path in (same, slow) for _ in range(options.runs)]
        random.Random(0).shuffle(order)
        found: dict[Path, list[SpeedRatio]] = {same: [], slow: []}
        longest = 0.0
        for path in order:
            begun = time.monotonic()
            found[path].extend(compare_speed(path, first, threads=1, time_limit_s=options.time_limit).ratios)
            longest = max(longest, time.monotonic() - begun)
            last = found[path][-1]
            print(f"{path.stem}: {last.ratio.value:.3f}, {last.verdict.value}", file=sys.stderr, flush=True)
    figures = [
        Figure(what="planted slowdown, long comparison", value=shown(planted), bar="–", reached=None),
        slowdown_figure(found[slow]),
        alarm_figure(found[same]),
        Figure(what="longest comparison", value=f"{longest:.0f} s", bar="–", reached=None),
    ]
    print("| figure | value | bar | |\n|---|---|---|---|")
    print("\n".join(figure.row() for figure in figures))
    return int(any(figure.reached is False for figure in figures))


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


def chain(layers: int) -> bytes:
    """Products of a vector with one matrix, one after the other, behind one of its own to begin and to end with."""
    rng = np.random.default_rng(0)
    constants = {
        "first": rng.normal(0, 1, (4, WIDTH)).astype(np.float32),
        "matrix": rng.normal(0, WIDTH**-0.5, (WIDTH, WIDTH)).astype(np.float32),
        "last": rng.normal(0, 1, (WIDTH, 4)).astype(np.float32),
    }
    nodes = [helper.make_node("MatMul", ["x", "first"], ["h0"])]
    nodes += [helper.make_node("MatMul", [f"h{number}", "matrix"], [f"h{number + 1}"]) for number in range(layers)]
    nodes.append(helper.make_node("MatMul", [f"h{layers}", "last"], ["scores"]))
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
