"""Times by operator from LiteRT's profiler.

The interpreter's Python interface has none. The package's C library ``libLiteRt.so`` has one for compiled models
(``litert/c/litert_profiler.h`` and its neighbours, github.com/google-ai-edge/LiteRT), in which XNNPACK reports its own
operators. What the operators of the file became of it is not told: those with weights are matched in their order.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from contextlib import ExitStack
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_devices.profilers.found import Operator, Profile
from edgeml_devices.profilers.litert_library import CompiledModel, Library
from edgeml_devices.profilers.turns import Turn, midmean, take_turns, warm_up
from edgeml_runtime.backends.litert import interpreter_class
from edgeml_runtime.errors import BackendError, BackendFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from edgeml_devices.profilers.litert_library import Event

    Node = dict[str, Any]

__all__ = ["TESTED", "match_kernels", "profile_litert"]

TESTED = "2.3"
"""Between releases functions got other arguments: no other release is called."""

MOST_EVENTS = 20_000
_NODE, _KERNEL = 1 << 1, 1 << 3  # EventType of tflite/core/api/profiler.h
_FAMILIES = {
    "BATCH_MATMUL": ("Batch Matrix Multiply", "Dynamic Fully Connected", "Fully Connected"),
    "CONV_2D": ("Convolution", "Fully Connected"),
    "DEPTHWISE_CONV_2D": ("Convolution",),
    "FULLY_CONNECTED": ("Fully Connected", "Dynamic Fully Connected"),
    "TRANSPOSE_CONV": ("Deconvolution",),
}
_WEIGHTED = tuple({family for families in _FAMILIES.values() for family in families})


def match_kernels(kernels: Sequence[str], nodes: Sequence[Node]) -> dict[int, Node]:
    """Which node of the file each weighted kernel of XNNPACK stands for.

    XNNPACK keeps the order of the nodes, fuses activations and paddings into them and adds conversions.

    Args:
        kernels: Names in the order of execution.
        nodes: ``type`` and more, in the order of the file; those that XNNPACK took.

    Returns:
        Position among the kernels → node; empty where the kinds do not correspond one by one.
    """
    places = [place for place, kernel in enumerate(kernels) if kernel.startswith(_WEIGHTED)]
    weighted = [node for node in nodes if node["type"] in _FAMILIES]
    if len(places) != len(weighted):
        return {}
    pairs = dict(zip(places, weighted, strict=True))
    fits = all(kernels[place].startswith(_FAMILIES[node["type"]]) for place, node in pairs.items())
    return pairs if fits else {}


def _graph(model: bytes) -> list[Node]:
    """The nodes of the file as the interpreter reads them, before any delegate."""
    interpreter = interpreter_class()
    resolver = import_module(interpreter.__module__).OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    plain = interpreter(model_content=model, experimental_op_resolver_type=resolver)
    tensors = {
        row["index"]: (np.dtype(row["dtype"]).name, tuple(map(int, row["shape"]))) for row in plain.get_tensor_details()
    }

    def known(indices: Sequence[int]) -> tuple[Any, ...]:
        return tuple(tensors[int(index)] for index in indices if int(index) in tensors)

    return [
        {"type": row["op_name"], "inputs": known(row["inputs"]), "outputs": known(row["outputs"])}
        for row in plain._get_ops_details()
    ]


def _of_operators(events: Sequence[Event], nodes: Sequence[Node]) -> list[Event]:
    """Those of kernels and of the file's own nodes; nodes behind them stand for what a delegate took as a whole."""
    return [one for one in events if one[1] == _KERNEL or (one[1] == _NODE and one[3] < len(nodes))]


def _operators(runs: Sequence[Sequence[Event]], nodes: Sequence[Node]) -> tuple[tuple[Operator, ...], bool]:
    """The operators, and whether those with weights could be matched."""
    ran_here = {event[3] for event in runs[0] if event[1] == _NODE}
    own = [place for place, event in enumerate(runs[0]) if event[1] == _KERNEL]
    taken = [node for index, node in enumerate(nodes) if index not in ran_here]
    matched = match_kernels([runs[0][place][0] for place in own], taken)
    at: dict[int, Node] = {own[place]: node for place, node in matched.items()}
    times: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        for place, event in enumerate(run):
            times[place].append(event[2])
    found = []
    for place, (tag, kind, _, index) in enumerate(runs[0]):
        unknown: Node = {"type": None, "inputs": None, "outputs": None}
        node = nodes[index] if kind == _NODE else at.get(place, unknown)
        kernel = tag if kind == _KERNEL else None
        name = f"{'xnnpack' if kernel else 'node'} {index}"
        time_us = midmean(times[place])
        found.append(Operator(name=name, kernel=kernel, time_us=time_us, calls=1, **node))
    weighted = any(node["type"] in _FAMILIES for node in taken)
    return tuple(found), bool(matched) or not weighted


def _library() -> Library:
    package = find_spec("ai_edge_litert")
    release = version("ai-edge-litert") if package is not None else None
    if release is None or release.split(".")[:2] != TESTED.split("."):
        found = "ai-edge-litert is not installed" if release is None else f"found ai-edge-litert {release}"
        raise BackendError(f"no times by operator: LiteRT's profiler is used in ai-edge-litert {TESTED}, and {found}")
    assert package is not None
    path = os.path.join(os.path.dirname(str(package.origin)), "libLiteRt.so")
    if sys.maxsize < 1 << 32 or not os.path.exists(path):
        raise BackendError(f"no times by operator: this build of ai-edge-litert {release} has no libLiteRt.so")
    return Library(path)


def profile_litert(
    model: bytes, feeds: Mapping[str, NDArray[Any]], *, threads: int, plain: Callable[[], object], seconds: float
) -> Profile:
    """Profile a TFLite file.

    Args:
        model: The file.
        feeds: Its inputs by the names of its signature, in its own element types.
        threads: Threads for one run.
        plain: A run of the backend without a profiler, on the same inputs.
        seconds: About how long to measure.

    Returns:
        The profile.

    Raises:
        BackendError: The installed package has no profiler that can be called.
        BackendFailedError: It answered with an error.
    """
    library, nodes = _library(), _graph(model)
    runs: list[list[Event]] = []
    with ExitStack() as owned:
        compiled = CompiledModel(library, model, threads, owned)
        compiled.feed(feeds)
        warm_up(plain, compiled.run)

        def keep() -> None:
            compiled.stop_profiling()
            runs.append(_of_operators(compiled.events(), nodes))

        profiled = Turn(run=compiled.run, before=compiled.start_profiling, after=keep)
        turns = take_turns(Turn(run=plain), profiled, seconds=seconds, most_runs=MOST_EVENTS // max(1, len(nodes)))
    runs = runs[-turns.runs :]
    if not runs[0] or {len(run) for run in runs} != {len(runs[0])}:
        raise BackendFailedError("LiteRT's profiler told no operators, or not the same ones in every run")
    operators, matched = _operators(runs, nodes)
    notes = ["LiteRT's profiler belongs to its compiled models; the runtime uses its interpreter, on the same kernels"]
    if not matched:
        notes.append("XNNPACK's operators do not correspond to those of the file: their arithmetic is not known")
    return Profile(
        profiler=f"ai-edge-litert {version('ai-edge-litert')}, profiler of compiled models",
        resolution_us=1.0,
        runs=len(runs),
        plain_ms=turns.plain_ms,
        profiled_ms=turns.profiled_ms,
        operators=operators,
        notes=tuple(notes),
    )
