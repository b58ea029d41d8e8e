"""The backend ``litert``: TFLite files in the LiteRT interpreter, with its default delegate XNNPACK.

The interpreter comes from ``ai_edge_litert``, else from its predecessors ``tflite_runtime`` or ``tensorflow``. Their
release numbers are compared as they stand: a file that needs ``ai_edge_litert`` 1.3 is also given to ``tflite_runtime``
2.14, which refuses at load what it does not know.
"""

from __future__ import annotations

import sys
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
    _Details = list[tuple[str, dict[str, Any]]]
    _Write = Callable[[int, NDArray[Any]], object]
    _Picked = tuple[tuple[TensorInfo, ...], list[int]]

__all__ = ["LiteRTBackend", "interpreter_class"]

_MODULES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow.lite.python.interpreter")


def interpreter_class() -> Any:
    """Import the interpreter.

    Returns:
        The class ``Interpreter`` of the first package there is.

    Raises:
        ImportError: None of the packages is installed, or the first one there is does not load.
    """
    from importlib import import_module
    from importlib.util import find_spec

    for module in _MODULES:
        if find_spec(module.partition(".")[0]) is not None:
            return import_module(module).Interpreter
    raise ModuleNotFoundError("no module named ai_edge_litert, tflite_runtime or tensorflow")


class LiteRTBackend:
    """An interpreter of LiteRT. Runs of several threads take turns: an interpreter holds the tensors of one run."""

    __slots__ = ("inputs", "outputs", "run", "version")

    name = "litert"
    package = "ai-edge-litert"

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
        return str(sys.modules[_module()].__version__)

    @classmethod
    def installed_package(cls) -> str:
        """See :meth:`edgeml_runtime.backends.base.Backend.installed_package`."""
        return _module().replace("_", "-")

    @classmethod
    def declared(cls, model: bytes) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
        """See :meth:`edgeml_runtime.backends.base.Backend.declared`."""
        version = cls.installed_version()
        try:
            interpreter = interpreter_class()(model_content=model)
            inputs = tuple(_describe(detail["name"], detail) for detail in interpreter.get_input_details())
            outputs = tuple(_describe(detail["name"], detail) for detail in interpreter.get_output_details())
        except Exception as error:  # the interpreter raises ValueError, RuntimeError, SystemError and others
            raise BackendFailedError(f"litert {version} cannot load the model: {error}") from error
        return inputs, outputs

    @classmethod
    def create(
        cls,
        model: bytes,
        *,
        input_names: Sequence[str],
        output_names: Sequence[str],
        threads: int | None,
        encodings: Sequence[InputEncoding | None] = (),
    ) -> LiteRTBackend:
        """See :meth:`edgeml_runtime.backends.base.Backend.create`."""
        version = cls.installed_version()
        try:
            interpreter = interpreter_class()(model_content=model, num_threads=threads or 1)
            interpreter.allocate_tensors()
            signature_inputs, signature_outputs = _signature_details(interpreter)
            inputs, sources = _pick(input_names, signature_inputs, interpreter.get_input_details(), "input")
            outputs, results = _pick(output_names, signature_outputs, interpreter.get_output_details(), "output")
            encodings = encodings or [None] * len(inputs)
            writes = [_write(interpreter, *each) for each in zip(inputs, encodings, strict=True)]
        except BackendError:
            raise
        except Exception as error:
            raise BackendFailedError(f"litert {version} cannot load the model: {error}") from error
        run = _locked_run(interpreter, list(zip(writes, sources, strict=True)), results, f"litert {version}")
        return cls(run, inputs=inputs, outputs=outputs, version=version)

    def close(self) -> None:
        """See :meth:`edgeml_runtime.backends.base.Backend.close`."""
        self.run = closed_run


def _module() -> str:
    return str(interpreter_class().__module__).partition(".")[0]


def _signature_details(interpreter: Any) -> tuple[_Details, _Details]:
    """Inputs and outputs by the names of the file's one signature, as ``litert_torch`` writes it; empty without one."""
    signatures = interpreter.get_signature_list()
    if len(signatures) != 1:
        return [], []
    runner = interpreter.get_signature_runner(next(iter(signatures)))
    return list(runner.get_input_details().items()), list(runner.get_output_details().items())


def _pick(names: Sequence[str], by_signature: _Details, details: Sequence[dict[str, Any]], kind: str) -> _Picked:
    """Find tensors by the signature's names, else by their own."""
    by_name = [(detail["name"], detail) for detail in details]
    chosen = by_signature if {name for name, _ in by_signature}.intersection(names) else by_name
    indices = {name: detail["index"] for name, detail in chosen}
    tensors = pick_tensors(names, [_describe(name, detail) for name, detail in chosen], kind)
    return tensors, [indices[name] for name in names]


def _describe(name: str, detail: dict[str, Any]) -> TensorInfo:
    return TensorInfo(name=name, dtype=np.dtype(detail["dtype"]).name, shape=tuple(detail["shape"].tolist()))


def _write(interpreter: Any, tensor: TensorInfo, encoding: InputEncoding | None) -> _Write:
    """What puts a feed into the tensor of an index, as ``set_tensor`` does."""
    if encoding is None:
        return interpreter.set_tensor  # type: ignore[no-any-return]
    if tensor.dtype != "int8":
        raise BackendFailedError(f"{encoding.value} needs an int8 input, found {tensor!r}; export it again")
    set_tensor, shape, uint8, xor = interpreter.set_tensor, tensor.shape, np.dtype(np.uint8), np.bitwise_xor
    # Written here and copied from here: faster than asking the interpreter for a view of its tensor at every run.
    encoded = np.empty([size or 1 for size in shape], np.int8)
    pixels, top_bit = encoded.view(uint8), np.array(0x80, uint8)  # a scalar takes a quarter longer

    def write_offset_binary(index: int, feed: NDArray[Any]) -> None:
        if feed.shape != shape or feed.dtype != uint8:
            raise ValueError(f"expected uint8{list(shape)}, found {feed.dtype}{list(feed.shape)}")
        xor(feed, top_bit, pixels)
        set_tensor(index, encoded)

    return write_offset_binary


def _locked_run(
    interpreter: Any, writes: Sequence[tuple[_Write, int]], output_indices: Sequence[int], library: str
) -> Run:
    invoke, get_tensor = interpreter.invoke, interpreter.get_tensor
    write_only, only = writes[0]
    lock = allocate_lock()

    def run_one(feeds: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        try:
            (feed,) = feeds
            with lock:
                write_only(only, feed)
                invoke()
                return [get_tensor(index) for index in output_indices]
        except Exception as error:
            raise failed_run(library, error) from error

    def run_several(feeds: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        try:
            with lock:
                for (write, index), feed in zip(writes, feeds, strict=True):
                    write(index, feed)
                invoke()
                return [get_tensor(index) for index in output_indices]
        except Exception as error:
            raise failed_run(library, error) from error

    return run_one if len(writes) == 1 else run_several
