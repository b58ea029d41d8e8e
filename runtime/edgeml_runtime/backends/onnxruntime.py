"""The backend ``onnxruntime``: ONNX files in ONNX Runtime, on the CPU."""

from __future__ import annotations

import math
import os
from _thread import allocate_lock
from typing import TYPE_CHECKING

import numpy as np

from edgeml_runtime.backends.base import TensorInfo, closed_run, failed_run, pick_tensors
from edgeml_runtime.errors import BackendError, BackendFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from edgeml_runtime.manifest import InputEncoding

    Run = Callable[[Sequence[NDArray[Any]]], list[NDArray[Any]]]

__all__ = ["OnnxRuntimeBackend", "keep_onnxruntime_quiet"]

_DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64"} | {
    f"tensor({name})": name
    for name in ("float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
}

# A run on bound memory saves 2 µs but copies the inputs, which costs as much from 64 kB on (onnxruntime 1.32 on x86-64,
# benchmarks/test_binding.py).
_BOUND_BYTES = 32 << 10

_LOG_ERRORS = 3


class OnnxRuntimeBackend:
    """A session of ONNX Runtime on the CPU, with every graph optimization."""

    __slots__ = ("inputs", "outputs", "run", "version")

    name = "onnxruntime"
    package = "onnxruntime"

    def __init__(
        self, run: Run, *, inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...], version: str
    ) -> None:
        self.run = run
        self.inputs = inputs
        self.outputs = outputs
        self.version = version

    @classmethod
    def installed_version(cls) -> str:
        """See :meth:`edgeml_runtime.backends.base.Backend.installed_version`."""
        return str(_onnxruntime().__version__)

    @classmethod
    def installed_package(cls) -> str:
        """See :meth:`edgeml_runtime.backends.base.Backend.installed_package`."""
        return cls.package

    @classmethod
    def declared(cls, model: bytes) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
        """See :meth:`edgeml_runtime.backends.base.Backend.declared`."""
        version = cls.installed_version()
        try:
            session = _open_session(model, 1)
        except Exception as error:  # ONNX Runtime raises types of its own that derive from Exception alone
            raise BackendFailedError(f"onnxruntime {version} cannot load the model: {error}") from error
        return tuple(map(_describe, session.get_inputs())), tuple(map(_describe, session.get_outputs()))

    @classmethod
    def create(
        cls,
        model: bytes,
        *,
        input_names: Sequence[str],
        output_names: Sequence[str],
        threads: int | None,
        encodings: Sequence[InputEncoding | None] = (),
    ) -> OnnxRuntimeBackend:
        """See :meth:`edgeml_runtime.backends.base.Backend.create`."""
        if encoded := [encoding.value for encoding in encodings if encoding is not None]:
            raise BackendFailedError(f"onnxruntime takes no encoded inputs, found {encoded[0]}; export it again")
        version = cls.installed_version()
        try:
            session = _open_session(model, threads or 1)
            inputs = pick_tensors(input_names, [_describe(item) for item in session.get_inputs()], "input")
            outputs = pick_tensors(output_names, [_describe(item) for item in session.get_outputs()], "output")
            prepare = _bound_run if _is_small(inputs) else _plain_run
            run = prepare(session, inputs, outputs, f"onnxruntime {version}")
        except BackendError:
            raise
        except Exception as error:
            raise BackendFailedError(f"onnxruntime {version} cannot load the model: {error}") from error
        return cls(run, inputs=inputs, outputs=outputs, version=version)

    def close(self) -> None:
        """See :meth:`edgeml_runtime.backends.base.Backend.close`."""
        self.run = closed_run


def keep_onnxruntime_quiet() -> None:
    """Keep ONNX Runtime from reporting to its maker, from before it is imported; who sets the variable decides.

    From release 1.29 on, its wheels make a device id in the home folder when they are imported, and report over the
    network which models are loaded (Privacy.md in the wheel). The variable has to be set before that.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def _onnxruntime() -> Any:
    keep_onnxruntime_quiet()
    import onnxruntime

    return onnxruntime


def _open_session(model: bytes, threads: int) -> Any:
    onnxruntime = _onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _describe(declared: Any) -> TensorInfo:
    return TensorInfo(
        name=declared.name,
        dtype=_DTYPES.get(declared.type, declared.type),
        shape=tuple(size if isinstance(size, int) else None for size in declared.shape),
    )


def _is_small(tensors: Sequence[TensorInfo]) -> bool:
    """Whether every tensor has a fixed size and a numpy dtype, and copying all of them is worth it."""
    size_bytes = 0
    for tensor in tensors:
        if None in tensor.shape or tensor.dtype not in _DTYPES.values():
            return False
        size_bytes += math.prod(size or 0 for size in tensor.shape) * np.dtype(tensor.dtype).itemsize
    return size_bytes <= _BOUND_BYTES


def _plain_run(session: Any, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], library: str) -> Run:
    """One ``session.run``, which several threads may do at once.

    Where a graph passes an input through, ONNX Runtime up to 1.23 at least hands out the caller's own memory: copied.
    """
    input_names = [tensor.name for tensor in inputs]
    output_names = [tensor.name for tensor in outputs]
    run_session = session.run
    if not set(input_names).isdisjoint(output_names):

        def run_session(names: list[str], feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
            return [array.copy() for array in session.run(names, feeds)]

    def run(feeds: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        try:
            return run_session(output_names, dict(zip(input_names, feeds, strict=True)))  # type: ignore[no-any-return]
        except Exception as error:
            raise failed_run(library, error) from error

    return run


def _bound_run(session: Any, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], library: str) -> Run:
    """A run on input memory that was bound once. One thread at a time uses it; the others meanwhile do a plain run.

    ONNX Runtime allocates the outputs: into bound memory it writes nothing where a graph passes an input through.
    """
    plain_run = _plain_run(session, inputs, outputs, library)
    sources = [np.zeros([size or 0 for size in tensor.shape], tensor.dtype) for tensor in inputs]
    binding = session.io_binding()
    for tensor, array in zip(inputs, sources, strict=True):
        binding.bind_input(tensor.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    for tensor in outputs:
        binding.bind_output(tensor.name)
    targets = [(array, array.shape, array.dtype) for array in sources]
    run_binding, copy_outputs = session.run_with_iobinding, binding.copy_outputs_to_cpu
    lock = allocate_lock()
    acquire, release = lock.acquire, lock.release

    def run(feeds: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        if not acquire(False):
            return plain_run(feeds)
        try:
            for (array, shape, dtype), feed in zip(targets, feeds, strict=True):
                if feed.shape != shape or feed.dtype is not dtype:
                    return plain_run(feeds)  # which raises where the model takes no such array
                array[...] = feed
            run_binding(binding)
            return copy_outputs()  # type: ignore[no-any-return]
        except BackendError:
            raise
        except Exception as error:
            raise failed_run(library, error) from error
        finally:
            release()

    return run
