"""The stamp of a complete part: which lock it was made from, and every file with size and checksum."""

from __future__ import annotations

import json
import os
from enum import Enum
from typing import TYPE_CHECKING, Any

from edgeml_devices.emulator.fetch import file_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["PartState", "part_bytes", "part_state", "write_stamp"]

STAMP_FILE = "stamp.json"


class PartState(Enum):
    """What there is of a part."""

    ABSENT = "absent"
    OUTDATED = "outdated"
    DAMAGED = "damaged"
    COMPLETE = "complete"


def write_stamp(part: Path, digest: str) -> None:
    """Declare a folder complete; everything in it is on the disk before its stamp is.

    Args:
        part: The folder.
        digest: Digest of the lock it was made from.
    """
    files: dict[str, list[int | str]] = {}
    for path in _files(part):
        name = path.relative_to(part).as_posix()
        if path.is_symlink():
            files[name] = [path.lstat().st_size, f"-> {path.readlink()}"]
        else:
            files[name] = [path.stat().st_size, file_sha256(path)]
    os.sync()
    with (part / STAMP_FILE).open("w", encoding="utf-8") as stream:
        json.dump({"lock": digest, "files": files}, stream)
        stream.flush()
        os.fsync(stream.fileno())


def part_state(part: Path, digest: str, *, thorough: bool = False) -> PartState:
    """Whether a part can be used.

    Args:
        part: Its folder.
        digest: Digest of the lock it should have been made from.
        thorough: Compare checksums as well, and not only which files there are and how large.

    Returns:
        The state.
    """
    try:
        data: dict[str, Any] = json.loads((part / STAMP_FILE).read_bytes())
        made_from, files = data["lock"], data["files"]
        if made_from != digest:
            return PartState.OUTDATED
        whole = all(_is_as_stamped(part / name, size, proof, thorough) for name, (size, proof) in files.items())
    except FileNotFoundError:
        return PartState.DAMAGED if part.exists() else PartState.ABSENT
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # no stamp of ours
        return PartState.DAMAGED
    return PartState.COMPLETE if whole else PartState.DAMAGED


def part_bytes(part: Path) -> int:
    """Size of a part's files."""
    return sum(path.lstat().st_size for path in _files(part))


def _files(part: Path) -> Iterator[Path]:
    return (path for path in sorted(part.rglob("*")) if path.is_symlink() or path.is_file())


def _is_as_stamped(path: Path, size_bytes: int, proof: str, thorough: bool) -> bool:
    try:
        if path.lstat().st_size != size_bytes:
            return False
        if not thorough:
            return True
        return (f"-> {path.readlink()}" if path.is_symlink() else file_sha256(path)) == proof
    except OSError:
        return False
