"""Unpacking a Debian package with the standard library: deb(5), an ``ar`` archive with a ``tar`` archive in it."""

from __future__ import annotations

import io
import lzma
import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from edgeml_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["unpack_deb"]

AR_MAGIC = b"!<arch>\n"
AR_HEADER_BYTES = 60
AR_SIZE = slice(48, 58)
MAX_MEMBERS = 50_000
MAX_UNPACKED_BYTES = 1 << 30
# What no program in the sysroot reads.
DROPPED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/share/bug")


def unpack_deb(package: Path, into: Path, *, keep: tuple[str, ...] = ()) -> None:
    """Unpack files, folders and links of a package; owners, devices and scripts are left out.

    Absolute links are made relative, so that they stay inside.

    Args:
        package: The ``.deb``.
        into: The root to unpack into.
        keep: Paths to unpack, each with what lies below; empty: everything but documentation.

    Raises:
        InputError: Not such a package, a path or a link that leads out of the root, or more than the limits allow.
        OSError: The disk.
    """
    into.mkdir(parents=True, exist_ok=True)
    root = into.resolve()
    budget_bytes = MAX_UNPACKED_BYTES
    try:
        with package.open("rb") as stream, tarfile.open(fileobj=_data(stream, package), mode="r|*") as archive:
            for number, member in enumerate(archive):
                budget_bytes -= member.size
                if number >= MAX_MEMBERS or budget_bytes < 0:
                    raise _refusal(package, "more members or bytes than a package of the lock can have", member.name)
                name = _inside(member.name, package)
                if name.parts and _wanted(name, keep):
                    _place(archive, member, root, name, package)
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise InputError(
            f"{package}: expected a Debian package with data.tar.xz, found a broken one ({error})"
        ) from error


def _data(stream: BinaryIO, package: Path) -> BinaryIO:
    """The member ``data.tar.*`` of the ``ar`` archive."""
    if stream.read(len(AR_MAGIC)) != AR_MAGIC:
        raise InputError(f"{package}: expected a Debian package (deb(5)), found a file that is no ar archive")
    for name, size in _ar_members(stream, package):
        if name.startswith("data.tar"):
            return io.BytesIO(stream.read(size))
    raise InputError(f"{package}: expected a member data.tar.xz, found none")


def _ar_members(stream: BinaryIO, package: Path) -> Iterator[tuple[str, int]]:
    while header := stream.read(AR_HEADER_BYTES):
        try:
            name, size = header[:16].decode("ascii").strip().rstrip("/"), int(header[AR_SIZE])
        except ValueError as error:
            raise InputError(f"{package}: expected the header of an ar member, found {header!r}") from error
        if size < 0:
            raise InputError(f"{package}: expected the size of an ar member, found {size}")
        here = stream.tell()
        yield name, size
        stream.seek(here + size + size % 2)


def _inside(name: str, package: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise _refusal(package, "a path that leads out of the package", name)
    return path


def _wanted(name: PurePosixPath, keep: tuple[str, ...]) -> bool:
    if keep:
        return any(name.is_relative_to(path) for path in keep)
    return not any(name.is_relative_to(path) for path in DROPPED)


def _place(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path, name: PurePosixPath, package: Path) -> None:
    path = root / name
    if not path.parent.resolve().is_relative_to(root):
        raise _refusal(package, "a path through a link that leads out of the package", member.name)
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.is_file():
        path.unlink()
    if member.issym():
        path.symlink_to(_relative_target(member.linkname, name, package))
    elif member.islnk():
        source = root / _inside(member.linkname, package)
        if source.is_symlink() or not source.resolve().is_relative_to(root) or not source.is_file():
            raise _refusal(package, "a hard link to something that is not in the package", member.name)
        shutil.copy2(source, path)
    elif member.isreg():
        content = archive.extractfile(member)
        assert content is not None
        with content, path.open("xb") as stream:
            shutil.copyfileobj(content, stream)
        path.chmod(0o755 if member.mode & 0o100 else 0o644)


def _relative_target(target: str, name: PurePosixPath, package: Path) -> str:
    """Target of a link as a path relative to the link's folder, which stays inside the root."""
    joined = PurePosixPath(target.lstrip("/")) if target.startswith("/") else name.parent / target
    normal = os.path.normpath(joined)
    if normal.startswith("..") or not target:
        raise _refusal(package, f"a link to {target!r}, which leads out of the package", str(name))
    return os.path.relpath(normal, name.parent)


def _refusal(package: Path, what: str, name: str) -> InputError:
    return InputError(f"{package}: refused to unpack {what}: {name!r}")
