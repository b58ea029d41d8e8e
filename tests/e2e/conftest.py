"""One small project taken the whole way by the real command, shared by the end-to-end tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

EDGEML = Path(sys.executable).with_name("edgeml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        loaded: dict[str, Any] = json.loads(self.stdout)
        return loaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """The installed ``edgeml`` command, run as a process of its own."""

    path: Path

    def __call__(self, *arguments: str, cwd: Path, timeout_s: float = 300.0, prefix: tuple[str, ...] = ()) -> Outcome:
        """Run it to its end, behind another command where ``prefix`` names one."""
        line = [*prefix, str(self.path), *arguments]
        done = subprocess.run(
            line, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, env=environment(), check=False
        )
        return Outcome(code=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def interrupted(self, *arguments: str, cwd: Path, after: str, timeout_s: float = 300.0) -> Outcome:
        """Run it and send SIGINT once ``after`` has stood on stderr, as Ctrl-C does."""
        with subprocess.Popen(
            [str(self.path), *arguments],
            cwd=cwd,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            watchdog = threading.Timer(timeout_s, process.kill)
            watchdog.start()
            assert process.stderr is not None
            assert process.stdout is not None
            seen = []
            for line in process.stderr:
                seen.append(line)
                if after in line:
                    process.send_signal(signal.SIGINT)
                    break
            stderr = "".join(seen) + process.stderr.read()
            stdout = process.stdout.read()
            process.wait()
            watchdog.cancel()
        return Outcome(code=process.returncode, stdout=stdout, stderr=stderr)


def environment() -> dict[str, str]:
    """This process's environment without the settings of another tracking server."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    return {**kept, "COLUMNS": "100"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What the whole way left behind."""

    folder: Path
    project: Path
    train: Outcome
    export: Outcome

    @property
    def bundle(self) -> Path:
        """The exported bundle."""
        return Path(self.export.json()["bundle"])


@pytest.fixture(scope="session")
def edgeml() -> Command:
    """The command under test."""
    return Command(path=EDGEML)


@pytest.fixture(scope="session")
def way(tmp_path_factory: pytest.TempPathFactory, edgeml: Command) -> Way:
    """``init`` → ``train`` → ``export`` of handwritten digits, with few epochs."""
    folder = tmp_path_factory.mktemp("way")
    made = edgeml("init", "digits", "--template", "handwritten-digits", cwd=folder)
    assert made.code == 0, made.stderr
    train = edgeml("train", "digits", "--set", "train.epochs=6", "--json", cwd=folder)
    assert train.code == 0, train.stderr
    export = edgeml("export", "digits", "--json", cwd=folder)
    assert export.code == 0, export.stderr
    return Way(folder=folder, project=folder / "digits", train=train, export=export)


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], dict[str, tuple[int, int]]]:
    """Every file below a folder with size and time of change, to see that nothing changed."""

    def listed(folder: Path) -> dict[str, tuple[int, int]]:
        return {
            str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return listed
