"""Times by operator from ONNX Runtime's session profiler.

It writes a trace in Chrome's format with one event per node and run. While weights are packed for a kernel they are
missing among a node's inputs, so shapes come from one more run, untimed, of a session that packs none.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import defaultdict
from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgeml_devices.profilers.found import Operator, Profile
from edgeml_devices.profilers.turns import Turn, midmean, take_turns, warm_up
from edgeml_runtime.backends import load_backend
from edgeml_runtime.errors import BackendFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Key = tuple[str, str]
    Run = list[dict[str, Any]]

__all__ = ["node_runs", "operators_of", "profile_onnxruntime"]

MOST_EVENTS = 12_000
"""An event takes 0.8 kB of the trace; ONNX Runtime itself stops after a million of them."""

_SUFFIX = "_kernel_time"
_CONTAINERS = frozenset({"If", "Loop", "Scan"})
_DTYPES = {"float": "float32", "double": "float64"}


def node_runs(events: Sequence[Mapping[str, Any]]) -> list[Run]:
    """The node events of each run.

    A node that only runs a graph of its own is left out: the time is that of the nodes within.

    Args:
        events: The trace.

    Returns:
        One list per run, in order.
    """
    runs: list[Run] = []
    current: Run = []
    for event in events:
        if event["cat"] == "Node":
            if event["name"].endswith(_SUFFIX) and event["args"]["op_name"] not in _CONTAINERS:
                current.append(dict(event))
        elif event["name"] == "model_run":
            runs.append(current)
            current = []
    return runs


def _key(event: Mapping[str, Any]) -> Key:
    return event["name"].removesuffix(_SUFFIX), event["args"].get("node_index", "")


def _tensors(listed: Sequence[Mapping[str, Sequence[int]]]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((_DTYPES.get(dtype, dtype), tuple(shape)) for each in listed for dtype, shape in each.items())


def operators_of(runs: Sequence[Run], unpacked: Run) -> tuple[Operator, ...]:
    """Each node once, in the order of execution, with the sum of its calls in every run.

    Args:
        runs: What was timed, from :func:`node_runs`.
        unpacked: One run of a session that packs no weights, which tells the shapes.
    """
    shapes = {_key(event): event["args"] for event in unpacked}
    times: dict[Key, list[float]] = defaultdict(lambda: [0.0] * len(runs))
    calls: dict[Key, int] = defaultdict(int)
    kinds: dict[Key, str] = {}
    for number, run in enumerate(runs):
        for event in run:
            key = _key(event)
            times[key][number] += event["dur"]
            calls[key] += 1
            kinds[key] = event["args"]["op_name"]
    return tuple(
        Operator(
            name=key[0],
            type=kind,
            kernel=None,
            time_us=midmean(times[key]),
            calls=max(1, round(calls[key] / len(runs))),
            inputs=_tensors(shapes[key]["input_type_shape"]) if key in shapes else None,
            outputs=_tensors(shapes[key]["output_type_shape"]) if key in shapes else None,
        )
        for key, kind in kinds.items()
    )


def _open(onnxruntime: Any, model: bytes, threads: int, folder: str, *, pack: bool) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.enable_profiling = True
    options.profile_file_prefix = os.path.join(folder, "packed" if pack else "shapes")
    if not pack:
        options.add_session_config_entry("session.disable_prepacking", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _trace(session: Any) -> list[Run]:
    with open(session.end_profiling(), encoding="utf-8") as file:
        return node_runs(json.load(file))


def profile_onnxruntime(
    model: bytes, feeds: Mapping[str, NDArray[Any]], *, threads: int, plain: Callable[[], object], seconds: float
) -> Profile:
    """Profile an ONNX file.

    Args:
        model: The file.
        feeds: Its inputs by name.
        threads: Threads for one run.
        plain: A run of the backend without a profiler, on the same inputs.
        seconds: About how long to measure.

    Returns:
        The profile.

    Raises:
        BackendFailedError: ONNX Runtime raised, or its trace is empty.
    """
    onnxruntime = import_module(load_backend("onnxruntime").package)
    library, arrays = f"onnxruntime {onnxruntime.__version__}", dict(feeds)
    try:
        with tempfile.TemporaryDirectory(prefix="edgeml-profile-") as folder:
            session = _open(onnxruntime, model, threads, folder, pack=False)
            session.run(None, arrays)
            (first,) = _trace(session)
            session = _open(onnxruntime, model, threads, folder, pack=True)
            warm_up(plain)
            for _ in range(3):
                session.run(None, arrays)
            most = max(1, MOST_EVENTS // max(1, len(first)))
            profiled = Turn(run=lambda: session.run(None, arrays))
            turns = take_turns(Turn(run=plain), profiled, seconds=seconds, most_runs=most)
            runs = _trace(session)[-turns.runs :]
    except Exception as error:  # ONNX Runtime raises types of its own that derive from Exception alone
        raise BackendFailedError(f"{library} failed while it profiled the model: {error}") from error
    if not runs or not any(runs):
        raise BackendFailedError(f"{library} wrote no operators into its trace")
    return Profile(
        profiler=f"{library}, session profiler",
        resolution_us=1.0,
        runs=len(runs),
        plain_ms=turns.plain_ms,
        profiled_ms=turns.profiled_ms,
        operators=operators_of(runs, first),
    )
