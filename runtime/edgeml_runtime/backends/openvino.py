"""The backend ``openvino``: ONNX files in OpenVINO, on the CPU.

TFLite files are left to ``litert``: OpenVINO reads them from a path only, not the bytes that were checked, and knows
their tensors by other names than the file's signature states.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock
from typing import TYPE_CHECKING

import numpy as np

from edgeml_runtime.backends.base import TensorInfo, closed_run, failed_run, pick_tensors
from edgeml_runtime.errors import BackendError, BackendFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from edgeml_runtime.manifest import InputEncoding

    Run = Callable[[Sequence[NDArray[Any]]], list[NDArray[Any]]]
    _Sink = Callable[[NDArray[Any]], None]

__all__ = ["OpenVinoBackend"]

_DTYPES = {
    "boolean": "bool",
    "f16": "float16",
    "f32": "float32",
    "f64": "float64",
    "i8": "int8",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
    "u8": "uint8",
    "u16": "uint16",
    "u32": "uint32",
    "u64": "uint64",
}

# The CPU plugin computes 64-bit integers in 32 bits: 2**40 comes out as 0, without an error (OpenVINO 2026.4).
_NARROWED = frozenset({"int64", "uint32", "uint64"})

_CONVERTER = "openvino.tools.ovc"


class OpenVinoBackend:
    """A model compiled for the CPU in float32. Threads take turns: a request holds the tensors of one run."""

    __slots__ = ("inputs", "outputs", "run", "version")

    name = "openvino"
    package = "openvino"

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
        return str(_library().__version__).partition("-")[0]

    @classmethod
    def installed_package(cls) -> str:
        """See :meth:`edgeml_runtime.backends.base.Backend.installed_package`."""
        return cls.package

    @classmethod
    def declared(cls, model: bytes) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
        """See :meth:`edgeml_runtime.backends.base.Backend.declared`."""
        version = cls.installed_version()
        try:
            network = _library().Core().read_model(model, b"")
            return tuple(map(_describe, network.inputs)), tuple(map(_describe, network.outputs))
        except Exception as error:  # OpenVINO raises RuntimeError, TypeError and others
            raise _unloadable(version, error) from error

    @classmethod
    def create(
        cls,
        model: bytes,
        *,
        input_names: Sequence[str],
        output_names: Sequence[str],
        threads: int | None,
        encodings: Sequence[InputEncoding | None] = (),
    ) -> OpenVinoBackend:
        """See :meth:`edgeml_runtime.backends.base.Backend.create`."""
        if encoded := [encoding.value for encoding in encodings if encoding is not None]:
            raise BackendFailedError(f"openvino takes no encoded inputs, found {encoded[0]}; export it again")
        version = cls.installed_version()
        try:
            compiled = _compile(model, threads or 1)
            declared_inputs = [_describe(port, input_names) for port in compiled.inputs]
            declared_outputs = [_describe(port, output_names) for port in compiled.outputs]
            inputs = pick_tensors(input_names, declared_inputs, "input")
            outputs = pick_tensors(output_names, declared_outputs, "output")
            _check_integers((*inputs, *outputs))
            request = compiled.create_infer_request()
            sinks = [_sink(request, declared_inputs.index(tensor), tensor) for tensor in inputs]
            results = [declared_outputs.index(tensor) for tensor in outputs]
            run = _locked_run(request, sinks, results, f"openvino {version}")
        except BackendError:
            raise
        except Exception as error:
            raise _unloadable(version, error) from error
        return cls(run, inputs=inputs, outputs=outputs, version=version)

    def close(self) -> None:
        """See :meth:`edgeml_runtime.backends.base.Backend.close`."""
        self.run = closed_run


def _library() -> Any:
    """Import OpenVINO without its model converter.

    On import the converter reports to its maker over the network and leaves files in the home folder; it also takes
    10 MB and two thirds of the import. OpenVINO goes without where it is not there.
    """
    if "openvino" in sys.modules or _CONVERTER in sys.modules:
        import openvino

        return openvino
    sys.modules[_CONVERTER] = None  # type: ignore[assignment] # the import system's word for a module not to be found
    try:
        import openvino
    finally:
        del sys.modules[_CONVERTER]
    return openvino


def _compile(model: bytes, threads: int) -> Any:
    core = _library().Core()
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        # bfloat16 is the default where the CPU has it, and quantized activations where weights are compressed.
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        # Every process pins to the same first core: two of them took three times as long for a run.
        "ENABLE_CPU_PINNING": False,
    }
    return core.compile_model(core.read_model(model, b""), "CPU", options)


def _unloadable(version: str, error: Exception) -> BackendFailedError:
    lines = [line for line in str(error).splitlines() if line and not line.startswith("Exception from ")]
    return BackendFailedError(f"openvino {version} cannot load the model: {' '.join(lines) or error}")


def _describe(port: Any, wanted: Container[str] = ()) -> TensorInfo:
    """A port under the wanted one of its names, else under any."""
    names = sorted(port.get_names())
    kind = port.get_element_type().get_type_name()
    return TensorInfo(
        name=next((name for name in names if name in wanted), names[0] if names else ""),
        dtype=_DTYPES.get(kind, kind),
        shape=tuple(size.get_length() if size.is_static else None for size in port.get_partial_shape()),
    )


def _check_integers(tensors: Sequence[TensorInfo]) -> None:
    for tensor in tensors:
        if tensor.dtype in _NARROWED:
            raise BackendFailedError(
                f"openvino computes {tensor.dtype} in int32, where large values change without an error, found "
                f"{tensor!r}; use onnxruntime"
            )


def _sink(request: Any, index: int, tensor: TensorInfo) -> _Sink:
    """What puts a feed into one input; assigning to numpy views would stretch and convert what does not fit."""
    shape, dtype = tensor.shape, np.dtype(tensor.dtype)
    if None in shape:
        new_tensor, set_input = _library().Tensor, request.set_input_tensor

        def feed_open(feed: NDArray[Any]) -> None:
            sizes = zip(feed.shape, shape, strict=True)
            if feed.dtype != dtype or any(wanted not in (None, size) for size, wanted in sizes):
                raise _misfit(tensor, feed)
            set_input(index, new_tensor(np.ascontiguousarray(feed), shared_memory=False))

        return feed_open
    memory = request.get_input_tensor(index).data

    def feed_fixed(feed: NDArray[Any]) -> None:
        if feed.shape != shape or feed.dtype != dtype:
            raise _misfit(tensor, feed)
        memory[...] = feed

    return feed_fixed


def _misfit(tensor: TensorInfo, feed: NDArray[Any]) -> ValueError:
    return ValueError(f"expected {tensor!r}, found {feed.dtype}{list(feed.shape)}")


def _locked_run(request: Any, sinks: Sequence[_Sink], results: Sequence[int], library: str) -> Run:
    """One run on the request; it hands out copies of its outputs."""
    infer = request.infer
    lock = allocate_lock()

    def run(feeds: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        try:
            with lock:
                for sink, feed in zip(sinks, feeds, strict=True):
                    sink(feed)
                found = list(infer(decode_strings=False).values())
            return [found[index] for index in results]
        except Exception as error:
            raise failed_run(library, error) from error

    return run
