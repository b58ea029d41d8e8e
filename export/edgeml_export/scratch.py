"""A temporary folder for the libraries that want files."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgeml_runtime.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["scratch_folder"]


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder, removed at the end whatever happens.

    Yields:
        Its path.

    Raises:
        StorageError: When it cannot be made, or the block cannot write into it.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="edgeml-") as folder:
            yield Path(folder)
    except OSError as error:
        raise StorageError(
            f"export: {tempfile.gettempdir()}: temporary files cannot be written: {error.strerror or error}; make "
            "room, or name another folder in the environment variable TMPDIR"
        ) from error
