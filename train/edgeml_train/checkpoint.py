"""Checkpoints of a training that may be interrupted at any moment."""

from __future__ import annotations

import io
import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from edgeml_runtime.errors import ProjectError

try:
    import fcntl
except ImportError:  # not on Windows, where two trainings of one project are not kept apart
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["AtomicCheckpointIO", "ResumeFolder", "readable"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, replaced whole and read without unpickling objects."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any = None,
    ) -> None:
        """Write beside the old checkpoint, flush it to the disk, then replace the old one."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".partial")
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with partial.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = "cpu",
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Read tensors and plain values only, whatever the caller asks for."""
        checkpoint: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
        return checkpoint


def readable(path: Path) -> bool:
    """Whether a checkpoint can be read; one that cannot is as good as none.

    Args:
        path: The file.

    Returns:
        False when it is missing or torn.
    """
    try:
        AtomicCheckpointIO().load_checkpoint(path)
    except Exception:  # noqa: BLE001 - torch raises many kinds for a torn file
        return False
    return True


class ResumeFolder:
    """Where an unfinished training keeps its checkpoint and the id of its run.

    Args:
        root: Folder for all unfinished trainings of the project.
        key: Digest of everything that shapes the result; a training resumes only one with the same key.
    """

    def __init__(self, root: Path, key: str) -> None:
        self.path = root / key[:16]

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of the last whole epoch."""
        return self.path / "last.ckpt"

    def run_id(self) -> str | None:
        """The run that was interrupted, or None when there is none."""
        try:
            state = json.loads((self.path / "state.json").read_text("utf-8"))
        except (OSError, ValueError):
            return None
        run_id = state.get("run_id") if isinstance(state, dict) else None
        return run_id if isinstance(run_id, str) else None

    def begin(self, run_id: str) -> None:
        """Note which run is going on."""
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "state.json").write_text(json.dumps({"run_id": run_id}), "utf-8")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process from the same training; the lock ends with the process, however that ends.

        Raises:
            ProjectError: When another process is at it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as file:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    raise ProjectError(
                        f"{self.path}: the same training is going on in another process. Wait for it, or end it first."
                    ) from error
            yield

    def clear(self) -> None:
        """Forget it: finished, or not to be resumed."""
        shutil.rmtree(self.path, ignore_errors=True)
