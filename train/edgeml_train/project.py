"""A project on disk: edgeml.toml and task.py, opened and checked."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgeml_runtime.errors import EdgemlError, ProjectError
from edgeml_train.fast import FastRun, fast_run
from edgeml_train.overrides import apply_overrides
from edgeml_train.project_file import read_project_file
from edgeml_train.settings import TrainSettings
from edgeml_train.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import ModuleType

    from edgeml_runtime.contract import Contract

__all__ = ["Project"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """An opened project.

    Attributes:
        folder: Absolute path of the folder.
        contract: The contract.
        data: The ``[data]`` table, overrides applied.
        settings: The ``[train]`` table, overrides applied.
        overrides: ``KEY=VALUE`` strings: those of ``fast`` first, then as given.
        task: The user's task.
        task_sha256: Digest of task.py and of the project's own files that it imports.
        fast: What a fast run sets; None for any other.
    """

    folder: Path
    contract: Contract
    data: Mapping[str, Any]
    settings: TrainSettings
    overrides: tuple[str, ...]
    task: Task
    task_sha256: str
    fast: FastRun | None = None

    @classmethod
    def open(cls, folder: str | Path, overrides: Sequence[str] = (), *, fast: bool = False) -> Project:
        """Read and check edgeml.toml, then import task.py.

        Args:
            folder: The project's folder.
            overrides: ``data.KEY=VALUE`` or ``train.KEY=VALUE``; the value as TOML, or a bare word.
            fast: Whether the ``[fast]`` table is applied, before the overrides.

        Returns:
            The project; nothing on disk has changed.

        Raises:
            ProjectError: When a file is missing or broken, or task.py raises or holds no task.
            ContractError: With all faults of edgeml.toml.
            InputError: When an override cannot be read.
        """
        folder = Path(folder).resolve()
        toml = folder / "edgeml.toml"
        if not toml.is_file():
            raise ProjectError(
                f"{folder}: expected a project with a file edgeml.toml, found none. "
                "Make one with `edgeml init FOLDER --template NAME`, or name another folder."
            )
        file = read_project_file(folder)
        chosen = fast_run(file.fast, file.train, source=str(toml)) if fast else None
        overrides = (*(chosen.overrides if chosen else ()), *overrides)
        data, train = apply_overrides(file.data, file.train, overrides)
        settings = TrainSettings.parse(train, source=str(toml))
        task_class, sha256 = _load_task(folder / "task.py")
        task = guarded(folder, "__init__", lambda: task_class(file.contract, data, folder))
        return cls(
            folder=folder,
            contract=file.contract,
            data=data,
            settings=settings,
            overrides=overrides,
            task=task,
            task_sha256=sha256,
            fast=chosen,
        )

    def with_settings(self, data: Mapping[str, Any], settings: TrainSettings) -> Project:
        """The same project with the settings of an earlier run.

        Args:
            data: The ``[data]`` table of that run.
            settings: Its training settings.

        Returns:
            A project whose task has those settings.
        """
        task = guarded(self.folder, "__init__", lambda: type(self.task)(self.contract, data, self.folder))
        return replace(self, data=data, settings=settings, overrides=(), task=task)

    def call(self, what: str, function: Callable[[], T], *, mixed: bool = False) -> T:
        """Run the task's code, and name file and line when it raises; see :func:`guarded`."""
        return guarded(self.folder, what, function, mixed=mixed)

    @property
    def state_folder(self) -> Path:
        """Where edgeml keeps its own files: tracking database, runs, checkpoints."""
        return self.folder / ".edgeml"


def guarded(folder: Path, what: str, function: Callable[[], T], *, mixed: bool = False) -> T:
    """Run the user's code and translate what it raises, naming file and line.

    Args:
        folder: The project's folder.
        what: What is being run, for the message.
        function: Runs it.
        mixed: Whether much of what runs is not the user's, so that only errors out of the user's files are theirs.

    Returns:
        What the function returns.

    Raises:
        ProjectError: When it raises anything but an edgeml error.
    """
    try:
        return function()
    except EdgemlError:
        raise
    except (Exception, SystemExit) as error:
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_below(frame.filename, folder)]
        # SystemExit from elsewhere is a signal.
        if not own and (mixed or isinstance(error, SystemExit)):
            raise
        if isinstance(error, SyntaxError) and error.filename:
            place = f"{error.filename}:{error.lineno}"
        else:
            place = f"{own[-1].filename}:{own[-1].lineno}" if own else str(folder / "task.py")
        raise ProjectError(
            f"{place}: {what} raised {type(error).__name__}: {error}. Correct task.py, then run the command again."
        ) from error


def _is_below(file: str, folder: Path) -> bool:
    """Whether a file belongs to the project; a virtual environment inside the folder does not."""
    path = Path(file)
    return path.is_relative_to(folder) and "site-packages" not in path.parts


def _load_task(path: Path) -> tuple[type[Task], str]:
    if not path.is_file():
        raise ProjectError(f"{path.parent}: expected a file task.py beside edgeml.toml, found none.")
    module, neighbours = _import_file(path)
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Task) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        names = ", ".join(value.__name__ for value in found) or "none"
        raise ProjectError(
            f"{path}: expected exactly one class derived from edgeml_train.Task, found {names}. "
            "Write `class MyTask(Task): ...` with splits, features and network."
        )
    missing = sorted(found[0].__abstractmethods__)
    if missing:
        raise ProjectError(f"{path}: class {found[0].__name__} lacks {', '.join(missing)}. Define what is missing.")
    return found[0], _code_sha256(path, neighbours)


def _code_sha256(task: Path, neighbours: Sequence[Path]) -> str:
    """Digest of task.py and of the files of the project that it imports; of task.py alone where there are none."""
    digest = hashlib.sha256(task.read_bytes())
    for file in neighbours:
        digest.update(f"\n{file.relative_to(task.parent).as_posix()}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _import_file(path: Path) -> tuple[ModuleType, list[Path]]:
    """Import task.py under a name of its own, so that two projects in one process do not meet.

    Returns:
        The module, and the files of the project that it imports, sorted.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    name = f"edgeml_task_{digest[:12]}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ProjectError(f"{path}: expected a Python file, found something that cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    loader = spec.loader
    with _importing_from(path.parent) as neighbours:
        sys.modules[name] = module
        try:
            guarded(path.parent, "importing it", lambda: loader.exec_module(module))
        except BaseException:
            del sys.modules[name]
            raise
    return module, sorted(neighbours)


@contextmanager
def _importing_from(folder: Path) -> Iterator[list[Path]]:
    """Let task.py import its neighbours, leave no bytecode behind, and forget the neighbours afterwards.

    Forgetting keeps another project's module of the same name from being mistaken for this one's.

    Yields:
        A list that holds the files of the neighbours afterwards.
    """
    neighbours: list[Path] = []
    before, bytecode = set(sys.modules), sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    try:
        yield neighbours
    finally:
        sys.dont_write_bytecode = bytecode
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            origin = getattr(sys.modules[name], "__file__", None)
            if origin and _is_below(origin, folder) and not name.startswith("edgeml_task_"):
                neighbours.append(Path(origin))
                del sys.modules[name]
