"""LiteRT's C library, as far as profiling a compiled model needs it.

``libLiteRt.so`` comes with the package ``ai-edge-litert``. Its functions are those of ``litert/c/*.h`` in
github.com/google-ai-edge/LiteRT; between releases some got other arguments, so callers make sure of the release.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_runtime.errors import BackendFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack

    from numpy.typing import NDArray

__all__ = ["CompiledModel", "Event", "Library"]

_CPU, _WRITE = 1, 1
_EVENT_BYTES = 256
_MARK = 0xA5

Event = tuple[str, int, int, int]
"""Tag, type, microseconds and node index."""


class Library:
    """``libLiteRt.so``: every function gives a status, 0 for success, and its result through a pointer."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function.

        Raises:
            BackendFailedError: Its status is not that of success.
        """
        status = getattr(self._library, name)(*arguments)
        if status:
            raise BackendFailedError(f"{name} of libLiteRt.so answered with status {status}")

    def made(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """What a function gives through its last argument."""
        result = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(result))
        return result

    def count(self, name: str, owner: ctypes.c_void_p) -> int:
        """The number that a function gives through its last argument."""
        result = ctypes.c_size_t()
        self.call(name, owner, ctypes.byref(result))
        return result.value

    def destroy(self, name: str, owner: ctypes.c_void_p) -> None:
        """Release what was made."""
        function = getattr(self._library, name)
        function.restype = None
        function(owner)


class _Option(ctypes.Structure):
    """LiteRtEnvOption with a whole number: its tag, the number's type, the number."""

    _fields_ = (("tag", ctypes.c_int), ("type", ctypes.c_int64), ("value", ctypes.c_int64))


class CompiledModel:
    """A model in LiteRT's compiled-model interface on the CPU, with its profiler."""

    def __init__(self, library: Library, model: bytes, threads: int, owned: ExitStack) -> None:
        self._library = library
        option = _Option(tag=24, type=2, value=_CPU)  # AutoRegisterAccelerators: look for none but the CPU's
        environment = self._own(owned, "Environment", library.made("LiteRtCreateEnvironment", 1, ctypes.byref(option)))
        self._bytes = model
        size = ctypes.c_size_t(len(model))
        loaded = self._own(owned, "Model", library.made("LiteRtCreateModelFromBuffer", environment, model, size))
        options = self._own(owned, "Options", library.made("LiteRtCreateOptions"))
        library.call("LiteRtSetOptionsHardwareAccelerators", options, ctypes.c_int(_CPU))
        self._texts = [
            self._add(options, b"runtime_options_string", b"enable_profiling = true\n"),
            self._add(options, b"xnnpack", b"num_threads = %d\n" % threads),
        ]
        compiled = library.made("LiteRtCreateCompiledModel", environment, loaded, options)
        self._compiled = self._own(owned, "CompiledModel", compiled)
        self._profiler = library.made("LiteRtCompiledModelGetProfiler", compiled)
        self._signature = library.made("LiteRtGetModelSignature", loaded, ctypes.c_size_t(0))
        self._inputs = self._buffers("Input", environment, owned)
        self._outputs = self._buffers("Output", environment, owned)

    def _own(self, owned: ExitStack, kind: str, thing: ctypes.c_void_p) -> ctypes.c_void_p:
        owned.callback(self._library.destroy, f"LiteRtDestroy{kind}", thing)
        return thing

    def _add(self, options: ctypes.c_void_p, name: bytes, text: bytes) -> Any:
        """Add options as TOML; gives what has to live as long as they do."""
        content, keep = ctypes.create_string_buffer(text), ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
        added = self._library.made("LiteRtCreateOpaqueOptions", name, content, keep)
        self._library.call("LiteRtAddOpaqueOptions", options, added)
        return content, keep

    def _buffers(self, kind: str, environment: ctypes.c_void_p, owned: ExitStack) -> Any:
        library, found = self._library, []
        for number in range(library.count(f"LiteRtGetNumSignature{kind}s", self._signature)):
            index = ctypes.c_size_t(number)
            tensor = library.made(f"LiteRtGetSignature{kind}TensorByIndex", self._signature, index)
            kept = ctypes.create_string_buffer(256)  # a LiteRtRankedTensorType takes 72
            library.call("LiteRtGetRankedTensorType", tensor, kept)
            name = f"LiteRtGetCompiledModel{kind}BufferRequirements"
            needed = library.made(name, self._compiled, ctypes.c_size_t(0), index)
            made = library.made("LiteRtCreateManagedTensorBufferFromRequirements", environment, kept, needed)
            found.append(self._own(owned, "TensorBuffer", made))
        return (ctypes.c_void_p * len(found))(*found)

    def feed(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        """Write the inputs; one whose name the file's signature lacks stays zero."""
        for number, buffer in enumerate(self._inputs):
            index, thing = ctypes.c_size_t(number), ctypes.c_void_p(buffer)
            name = ctypes.string_at(self._library.made("LiteRtGetSignatureInputName", self._signature, index))
            array = feeds.get(name.decode("utf-8", "replace"))
            address, size = ctypes.c_void_p(), ctypes.c_size_t()
            self._library.call("LiteRtGetTensorBufferPackedSize", thing, ctypes.byref(size))
            self._library.call("LiteRtLockTensorBuffer", thing, ctypes.byref(address), ctypes.c_int(_WRITE))
            content = bytes(size.value) if array is None else np.ascontiguousarray(array).tobytes()
            ctypes.memmove(address, content, min(len(content), size.value))
            self._library.call("LiteRtUnlockTensorBuffer", thing)

    def start_profiling(self) -> None:
        """Forget earlier events, and tell those of the runs that follow."""
        self._library.call("LiteRtStartProfiler", self._profiler)

    def stop_profiling(self) -> None:
        """Tell no more; what was told stays."""
        self._library.call("LiteRtStopProfiler", self._profiler)

    def run(self) -> None:
        """Run once."""
        counts = [ctypes.c_size_t(len(buffers)) for buffers in (self._inputs, self._outputs)]
        first = ctypes.c_size_t(0)
        self._library.call(
            "LiteRtRunCompiledModel", self._compiled, first, counts[0], self._inputs, counts[1], self._outputs
        )

    def events(self) -> list[Event]:
        """Tag, type, microseconds and node index of each event since the profiler was started.

        How much memory figures lie in the middle of an event differs between builds, so its size is read off from how
        far an untouched array was written.
        """
        count = ctypes.c_int()
        self._library.call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        if count.value < 1:
            return []
        raw = np.full(count.value * _EVENT_BYTES, _MARK, np.uint8)
        self._library.call("LiteRtGetProfilerEvents", self._profiler, count, ctypes.c_void_p(raw.ctypes.data))
        size = (int(np.flatnonzero(raw != _MARK)[-1]) // count.value // 8 + 1) * 8
        words = raw[: size * count.value].view(np.int64).reshape(count.value, size // 8)
        tags = {int(tag): ctypes.string_at(int(tag)).decode("utf-8", "replace") for tag in set(words[:, 0])}
        # tag, type, begin, microseconds, memory before and after, node index, more, source
        return [(tags[int(row[0])], int(row[1]) & 0xFFFFFFFF, int(row[3]), int(row[-3])) for row in words]
