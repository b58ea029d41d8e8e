"""Writing a bundle: the same content always gives the same bytes, and a file appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeml_runtime.bundle import Bundle, Limits
from edgeml_runtime.canonical import canonical_json, sha256_hex
from edgeml_runtime.contract_parse import contract_to_dict
from edgeml_runtime.errors import BundleLimitError, InputError, StorageError
from edgeml_runtime.manifest import Manifest, Member
from edgeml_runtime.manifest_json import manifest_to_dict, parse_manifest
from edgeml_runtime.zip_reader import MANIFEST_NAME, Entry, central_header, end_record, local_header, name_fault

if TYPE_CHECKING:
    from edgeml_runtime.contract import Contract
    from edgeml_runtime.manifest import Variant

__all__ = ["write_bundle"]

_NO_ROOM = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})


def write_bundle(
    path: str | os.PathLike[str],
    *,
    contract: Contract,
    variants: Sequence[Variant],
    members: Mapping[str, bytes],
    limits: Limits | None = None,
) -> Manifest:
    """Write a bundle, replacing one that is there.

    The file is written beside its destination, flushed to the disk, read back and verified, and moved into place.
    Whatever goes wrong before, an interrupt included, leaves the destination as it was and no other file behind.

    Args:
        path: Where to write, usually ``NAME-VERSION.edgeml``; its folder exists.
        contract: The contract to embed.
        variants: In the order in which ``variant="auto"`` shall try them, at least one.
        members: Content of every file but ``manifest.json``, by its path inside the bundle.
        limits: What readers will accept; the defaults of :class:`~edgeml_runtime.bundle.Limits` when left out.

    Returns:
        The manifest that was written.

    Raises:
        InputError: A member's name is not allowed, or a variant holds what JSON cannot express.
        BundleFormatError: Variants, members and contract contradict each other.
        BundleLimitError: The bundle would be larger than ``limits`` allow.
        BundleIntegrityError: The disk did not give back what was written.
        StorageError: The disk is full, or the folder is missing or not writable.
    """
    limits = limits or Limits()
    contents = {name: members[name] for name in sorted(members)}
    _check_names(contents)
    contract_data = contract_to_dict(contract)
    draft = Manifest(
        name=contract.name,
        version=contract.version,
        contract=contract_data,
        contract_sha256=sha256_hex(_to_json(contract_data, "contract")),
        inputs=contract.inputs,
        outputs=contract.outputs,
        variants=tuple(variants),
        members=tuple(
            Member(name=name, size_bytes=len(data), sha256=sha256_hex(data)) for name, data in contents.items()
        ),
    )
    manifest_data = _to_json(manifest_to_dict(draft), "manifest")
    manifest = parse_manifest(manifest_data, where=f"{os.fspath(path)}: manifest.json")
    pieces = _pack({MANIFEST_NAME: manifest_data, **contents})
    _check_limits(pieces, len(manifest_data), contents, limits)
    _write_atomically(os.fspath(path), pieces, limits)
    return manifest


def _check_names(names: Mapping[str, bytes]) -> None:
    seen: dict[str, str] = {MANIFEST_NAME: MANIFEST_NAME}
    for name in names:
        if fault := name_fault(name.encode("utf-8", "surrogatepass")):
            raise InputError(f"the member name {name!r} {fault}; docs/bundle.md says which names are allowed")
        if name.lower() in seen:
            raise InputError(f"the member name {name!r} is taken by {seen[name.lower()]!r}: case does not count")
        seen[name.lower()] = name


def _to_json(value: object, what: str) -> bytes:
    try:
        return canonical_json(_plain(value, what))
    except ValueError as error:
        raise InputError(f"{what}: holds NaN, an infinity or text that is not well-formed Unicode: {error}") from error


def _plain(value: object, where: str) -> Any:
    """Copy a value as the exact types JSON has, refusing what it has none for."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InputError(f"{where}: keys must be strings, found {key!r:.60}")
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    raise InputError(f"{where}: expected a value that JSON can express, found {type(value).__name__} {value!r:.60}")


def _pack(contents: Mapping[str, bytes]) -> list[bytes]:
    """Lay out the file: pieces to be written one after another."""
    pieces: list[bytes] = []
    directory: list[bytes] = []
    offset = 0
    for name, data in contents.items():
        entry = Entry(name=name, size_bytes=len(data), crc32=zlib.crc32(data), offset=offset)
        pieces += [local_header(name, entry.size_bytes, entry.crc32), data]
        directory.append(central_header(entry))
        offset = entry.end
    directory_bytes = sum(map(len, directory))
    return [*pieces, *directory, end_record(len(directory), directory_bytes, offset)]


def _check_limits(pieces: Sequence[bytes], manifest_bytes: int, contents: Mapping[str, bytes], limits: Limits) -> None:
    figures = [
        ("bytes in all", sum(map(len, pieces)), limits.max_bundle_bytes),
        ("members", 1 + len(contents), limits.max_members),
        (f"bytes in {MANIFEST_NAME}", manifest_bytes, limits.max_json_bytes),
        *((f"bytes in {name}", len(data), limits.max_member_bytes) for name, data in contents.items()),
    ]
    for what, found, allowed in figures:
        if found > allowed:
            raise BundleLimitError(f"the bundle would have {found} {what}; readers accept at most {allowed}")


def _write_atomically(path: str, pieces: Sequence[bytes], limits: Limits) -> None:
    folder = os.path.dirname(os.path.abspath(path))
    temporary = os.path.join(folder, f".edgeml-{os.urandom(8).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        with Bundle.open(temporary, limits=limits) as bundle:
            bundle.verify()
        os.replace(temporary, path)
        _sync_folder(folder)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise _storage_error(error, path, sum(map(len, pieces))) from error
        raise


def _sync_folder(folder: str) -> None:
    """Make the move durable. Windows and some network file systems cannot; the file is in place all the same."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _storage_error(error: OSError, path: str, needed_bytes: int) -> StorageError:
    if error.errno in _NO_ROOM:
        return StorageError(
            f"{path}: no room: the bundle needs {needed_bytes} bytes in {os.path.dirname(os.path.abspath(path))} "
            f"({error.strerror}); nothing was changed; make room and repeat"
        )
    return StorageError(f"{path}: cannot be written: {error.strerror or error}; nothing was changed")
