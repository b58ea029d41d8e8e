"""Running a foreign file twice: as it ships, and as plainly as its backend can.

Both happen in the process of :mod:`edgeml_export.foreign.child`.
"""

from __future__ import annotations

import re
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_export.foreign.file import ForeignKind
from edgeml_runtime.backends import FORMAT_BACKENDS, load_backend
from edgeml_runtime.errors import BackendFailedError, ProjectError
from edgeml_runtime.manifest import InputEncoding, ModelFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edgeml_export.foreign.facts import ForeignTensor
    from edgeml_runtime.backends import Backend

    Array = NDArray[Any]
    Run = Callable[[list[Array]], list[Array]]
    Report = Callable[[int, int], None]
    Encodings = Sequence[InputEncoding | None]

__all__ = ["over_items", "reference_run", "shipped", "together"]

_REPORT_S = 0.5
_COMPANY = 4
# What LiteRT says of an operator that it does not have, or not in the version that a file asks for.
_MISSING = re.compile(
    r"unresolved custom op: (?P<custom>\S+?)\.?(?: |$)|builtin opcode '(?P<builtin>\w+)' version '(?P<version>\d+)'"
)


def shipped(
    kind: ForeignKind,
    content: bytes,
    inputs: Sequence[ForeignTensor],
    outputs: Sequence[ForeignTensor],
    encodings: Encodings,
) -> Backend:
    """Load a file into the backend that devices use, with every optimization and one thread.

    Args:
        kind: What it is.
        content: The file.
        inputs: Its tensors, in the contract's order.
        outputs: Likewise.
        encodings: How it encodes each input, or None.

    Returns:
        The loaded file.

    Raises:
        ProjectError: The backend cannot load it.
    """
    try:
        return load_backend(FORMAT_BACKENDS[ModelFormat(kind.value)]).create(
            content,
            input_names=[tensor.name for tensor in inputs],
            output_names=[tensor.name for tensor in outputs],
            threads=1,
            encodings=encodings,
        )
    except BackendFailedError as error:
        said = " ".join(str(error).split())
        if found := _MISSING.search(said):
            operator = found["custom"] or f"{found['builtin']} in version {found['version']}"
            raise ProjectError(
                f"the backend lacks the operator {operator}: convert the model without it ({said:.300})"
            ) from error
        raise ProjectError(f"{said:.500}; correct the model where it was made") from error


def together(backend: Backend, feeds: Sequence[Array]) -> list[Array] | None:
    """Run the first few items at once, as a device does with a file that leaves its batch dimension open.

    Args:
        backend: The loaded file.
        feeds: Per input [n, *shape].

    Returns:
        Per output [items, *shape]; None where the file takes one item at a time.

    Raises:
        ProjectError: It leaves the batch dimension open, and fails on a batch.
    """
    if any(tensor.shape[:1] != (None,) for tensor in (*backend.inputs, *backend.outputs)):
        return None
    try:
        return [np.array(result) for result in backend.run([feed[:_COMPANY] for feed in feeds])]
    except BackendFailedError as error:
        raise ProjectError(
            f"it leaves its batch dimension open and fails on a batch of {_COMPANY} items ({error!s:.300}); fix the "
            "dimension with python -m onnxruntime.tools.make_dynamic_shape_fixed"
        ) from error


def reference_run(
    kind: ForeignKind,
    content: bytes,
    inputs: Sequence[ForeignTensor],
    outputs: Sequence[ForeignTensor],
    encodings: Encodings,
) -> tuple[Run, str]:
    """Load a file so that nothing of the graph is fused or replaced.

    Args:
        kind: What it is.
        content: The file.
        inputs: Its tensors, in the contract's order.
        outputs: Likewise.
        encodings: How it encodes each input, or None.

    Returns:
        What runs it once, and the configuration in words.

    Raises:
        ProjectError: The backend cannot load it so.
    """
    try:
        if kind is ForeignKind.ONNX:
            return _onnx_reference(content, inputs, outputs)
        return _litert_reference(content, inputs, outputs, encodings)
    except ProjectError:
        raise
    except Exception as error:  # inference libraries raise whatever they like
        raise ProjectError(f"the reference configuration cannot load the file: {error}") from error


def over_items(run: Run, feeds: Sequence[Array], items: Sequence[int], report: Report) -> list[Array]:
    """Run items one by one.

    Args:
        run: What runs once.
        feeds: Per input [n, *shape].
        items: Which of the n.
        report: Told how many are done, about twice a second.

    Returns:
        Per output [len(items), *shape].

    Raises:
        ProjectError: The backend fails, or an output has no batch dimension of one.
    """
    rows: list[list[Array]] = []
    last = monotonic()
    for done, item in enumerate(items, start=1):
        try:
            results = run([feed[item : item + 1] for feed in feeds])
        except Exception as error:
            raise ProjectError(f"it fails on item {item}: {error}") from error
        if any(result.ndim == 0 or len(result) != 1 for result in results):
            raise ProjectError(
                f"expected outputs with a batch dimension of one, found {[list(result.shape) for result in results]}"
            )
        # Backends may hand out views of their own buffers, valid until the next run only.
        rows.append([np.array(result[0]) for result in results])
        if done == len(items) or monotonic() - last > _REPORT_S:
            report(done, len(items))
            last = monotonic()
    return [np.stack(column) for column in zip(*rows, strict=True)]


def _onnx_reference(
    content: bytes, inputs: Sequence[ForeignTensor], outputs: Sequence[ForeignTensor]
) -> tuple[Run, str]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names, wanted = [tensor.name for tensor in inputs], [tensor.name for tensor in outputs]

    def run(feeds: list[Array]) -> list[Array]:
        return [np.asarray(result) for result in session.run(wanted, dict(zip(names, feeds, strict=True)))]

    return run, "ONNX Runtime without graph optimizations"


def _litert_reference(
    content: bytes, inputs: Sequence[ForeignTensor], outputs: Sequence[ForeignTensor], encodings: Encodings
) -> tuple[Run, str]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content, num_threads=1, experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()

    def run(feeds: list[Array]) -> list[Array]:
        for tensor, feed, encoding in zip(inputs, feeds, encodings, strict=True):
            stored = (feed ^ 0x80).view(np.int8) if encoding is InputEncoding.OFFSET_BINARY else feed
            interpreter.set_tensor(tensor.index, stored)
        interpreter.invoke()
        return [interpreter.get_tensor(tensor.index) for tensor in outputs]

    return run, "LiteRT's reference kernels without delegates"
