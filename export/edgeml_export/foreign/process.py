"""Loading foreign files in a process of its own, so that a crash in native code is an error and not the end.

A model file is data, but the libraries that read it are native code that trusts much of it: a TFLite file with one
wrong offset ends the process that loads it.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_export.foreign.facts import ForeignFacts
from edgeml_export.scratch import scratch_folder
from edgeml_runtime.errors import DefectError, ProjectError
from edgeml_runtime.progress import ProgressEvent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from edgeml_export.foreign.file import ForeignFile, ForeignLimits
    from edgeml_export.foreign.mapping import TensorMapping
    from edgeml_runtime.contract import Contract
    from edgeml_runtime.progress import Progress

__all__ = ["ForeignProcess", "ForeignRuns"]

# The package without its __init__, which would import PyTorch for two seconds.
_BOOTSTRAP = """
import json, sys, types
sys.path[:] = json.loads(sys.argv[1])
for name, folder in (("edgeml_export", sys.argv[2]), ("edgeml_export.foreign", sys.argv[2] + "/foreign")):
    package = types.ModuleType(name)
    package.__path__ = [folder]
    sys.modules[name] = package
from edgeml_export.foreign.child import main
main(sys.argv[3], sys.argv[4])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRuns:
    """What a file gave.

    Attributes:
        reference: Contract output name → what the reference configuration gave for ``compared`` items.
        outputs: Contract output name → what the shipped configuration gave for all items, [n, *shape].
        together: What the first few gave when they ran at once; empty where the file takes one item at a time.
        compared: Which items the reference configuration ran.
        configuration: The reference configuration in words.
        version: Release of the backend.
    """

    reference: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]]
    together: Mapping[str, NDArray[Any]]
    compared: NDArray[np.intp]
    configuration: str
    version: str


class ForeignProcess:
    """A process that inspects and runs one file; use it as a context manager.

    Args:
        limits: What it may take.
    """

    def __init__(self, limits: ForeignLimits) -> None:
        self._limits = limits
        self._stack = contextlib.ExitStack()
        self._lines: queue.Queue[str | None] = queue.Queue()

    def __enter__(self) -> ForeignProcess:
        """Start it."""
        self._folder = self._stack.enter_context(scratch_folder())
        self._messages = self._stack.enter_context((self._folder / "messages").open("w+b"))
        package = str(Path(__file__).parents[1])
        arguments = [json.dumps(sys.path), package, str(self._folder), json.dumps(asdict(self._limits))]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOTSTRAP, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            start_new_session=True,
        )
        self._pumping = threading.Thread(target=self._pump, daemon=True)
        self._pumping.start()
        self._stack.callback(self._end)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, whatever it is doing."""
        self._stack.close()

    def inspect(self, file: ForeignFile) -> ForeignFacts:
        """Let it read a file.

        Args:
            file: The file.

        Returns:
            What it is.

        Raises:
            ProjectError: The file cannot be wrapped, or ends the process.
        """
        (self._folder / "model").write_bytes(file.content)
        return ForeignFacts.from_dict(self._ask({"do": "inspect", "kind": file.kind.value}, None))

    def run(
        self,
        file: ForeignFile,
        facts: ForeignFacts,
        mapping: TensorMapping,
        contract: Contract,
        items: Mapping[str, NDArray[Any]],
        compared: Sequence[int],
        progress: Progress,
    ) -> ForeignRuns:
        """Let it run items.

        Args:
            file: The file as it ships.
            facts: What it is.
            mapping: Which tensors to feed and to read.
            contract: Gives the order of the tensors.
            items: Contract input name → [n, *shape] in the contract's dtype.
            compared: Which of them the reference configuration runs too.
            progress: Told how many are done.

        Returns:
            What came out.

        Raises:
            ProjectError: It cannot be loaded or run, keeps state, or ends the process.
        """
        inputs, outputs = [spec.name for spec in contract.inputs], [spec.name for spec in contract.outputs]
        (self._folder / "model").write_bytes(file.content)
        for index, name in enumerate(inputs):
            np.save(self._folder / f"in-{index}.npy", items[name])
        tensors = replace(
            facts,
            inputs=tuple(mapping.inputs[name] for name in inputs),
            outputs=tuple(mapping.outputs[name] for name in outputs),
        )
        encodings = [mapping.encodings.get(name) for name in inputs]
        request = {
            "do": "run",
            "kind": file.kind.value,
            "variant": f"{file.kind.value}-{facts.precision.value}",
            "tensors": tensors.to_dict(),
            "encodings": [None if encoding is None else encoding.value for encoding in encodings],
            "reference": [int(item) for item in compared],
        }
        answer = self._ask(request, progress)
        return ForeignRuns(
            reference=self._arrays("reference", outputs),
            outputs=self._arrays("out", outputs),
            together=self._arrays("together", outputs) if answer["together"] else {},
            compared=np.asarray(compared, np.intp),
            configuration=answer["reference"],
            version=answer["version"],
        )

    def _arrays(self, kind: str, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        return {name: np.load(self._folder / f"{kind}-{index}.npy") for index, name in enumerate(names)}

    def _ask(self, request: Mapping[str, Any], progress: Progress | None) -> dict[str, Any]:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        while True:
            try:
                line = self._lines.get(timeout=self._limits.max_silence_s)
            except queue.Empty:
                self._end()
                raise ProjectError(
                    f"no sign of life for {self._limits.max_silence_s:g} s from the process that was to "
                    f"{request['do']} the file; it was killed"
                ) from None
            if line is None:
                raise self._ended(str(request["do"]))
            said = json.loads(line)
            if "answer" in said:
                return dict(said["answer"])
            if "error" in said:
                raise ProjectError(said["error"])
            if progress is not None:
                progress(
                    ProgressEvent(step=f"{said['step']} {request['variant']}", done=said["done"], total=said["total"])
                )

    def _pump(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.decode())
        self._lines.put(None)

    def _ended(self, task: str) -> ProjectError | DefectError:
        code = self._process.wait()
        self._messages.seek(0)
        said = [line for line in self._messages.read().decode("utf-8", "replace").splitlines() if line.strip()]
        if code >= 0:
            return DefectError(f"the process that was to {task} a file ended with status {code}: {' '.join(said[-1:])}")
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        memory = ", which is also how a system out of memory ends a process" if -code == signal.SIGKILL else ""
        return ProjectError(
            f"the inference library crashed ({name}{memory}) when it was asked to {task} the file in a process of its "
            "own: the file is damaged or hostile; fetch or convert it again"
        )

    def _end(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._pumping.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
