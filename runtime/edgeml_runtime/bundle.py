"""Opening and reading a bundle: nothing of it is used before it was checked.

Order of the checks in :meth:`Bundle.open`: size of the file; the first member, its CRC-32 and the format version; the
structure of the ZIP file; the manifest; that the members are exactly those the manifest lists, with their sizes.
The content of a member is checked against its SHA-256 in :meth:`Bundle.read`, on the very bytes that are returned.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeml_runtime.canonical import sha256_hex
from edgeml_runtime.errors import BundleFormatError, BundleIntegrityError, BundleLimitError
from edgeml_runtime.manifest_json import parse_manifest
from edgeml_runtime.zip_reader import Entry, Source, open_source, read_directory, read_entry, read_first_member

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from edgeml_runtime.manifest import Manifest, Member

__all__ = ["Bundle", "Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a reader is willing to handle; checked before anything of that size is allocated.

    Attributes:
        max_bundle_bytes: Size of the file.
        max_members: Number of members, ``manifest.json`` included.
        max_json_bytes: Size of ``manifest.json`` and of every other JSON document; parsed, hostile JSON takes 30 times
            its size.
        max_member_bytes: Size of any other member, a model above all.
        max_golden_bytes: Size of ``golden/data.bin``.
        max_golden_cases: Number of golden cases.
    """

    max_bundle_bytes: int = 512 << 20
    max_members: int = 4096
    max_json_bytes: int = 2 << 20
    max_member_bytes: int = 256 << 20
    max_golden_bytes: int = 64 << 20
    max_golden_cases: int = 1024


class Bundle:
    """An open bundle. Any number of threads may read from it.

    Attributes:
        path: The file as it was given to :meth:`open`.
        size_bytes: Size of the file.
        manifest: What the bundle states about itself.
        limits: What it was opened with.
    """

    __slots__ = ("_entries", "_members", "_source", "limits", "manifest", "path", "size_bytes")

    def __init__(self, source: Source, entries: Mapping[str, Entry], manifest: Manifest, limits: Limits) -> None:
        self._source = source
        self._entries = entries
        self._members = {member.name: member for member in manifest.members}
        self.limits = limits
        self.manifest = manifest
        self.path = source.path
        self.size_bytes = source.size_bytes

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, limits: Limits | None = None) -> Bundle:
        """Open a bundle and check its structure and its manifest.

        Args:
            path: A ``.edgeml`` file.
            limits: What to refuse as too large; the defaults of :class:`Limits` when left out.

        Returns:
            The open bundle; the caller closes it.

        Raises:
            BundleFormatError: Not a bundle, or its structure breaks the specification.
            BundleIntegrityError: Truncated, or altered where the structure or the manifest lies.
            BundleLimitError: Larger than the limits.
            BundleVersionError: Of a newer format version.
            BundleError: The file does not exist or cannot be read.
        """
        limits = limits or Limits()
        source = open_source(os.fspath(path), limits.max_bundle_bytes)
        try:
            manifest = parse_manifest(read_first_member(source, limits), where=f"{source.path}: manifest.json")
            entries = read_directory(source, limits)
            _check_members(source.path, manifest, entries)
        except BaseException:
            source.close()
            raise
        return cls(source, {entry.name: entry for entry in entries}, manifest, limits)

    def member(self, name: str) -> Member:
        """Look a member up in the manifest.

        Raises:
            BundleFormatError: The bundle holds no such member.
        """
        try:
            return self._members[name]
        except KeyError:
            held = _some(list(self._members))
            raise BundleFormatError(f"{self.path}: expected a member {name!r}; the bundle holds {held}") from None

    def read(self, member: str, *, max_bytes: int | None = None) -> bytes:
        """Read a member and verify it.

        Args:
            member: Its name, such as ``"variants/onnx-int8.onnx"``.
            max_bytes: The most to accept, where that is less than ``limits.max_member_bytes``.

        Returns:
            The bytes that were verified.

        Raises:
            BundleFormatError: There is no such member.
            BundleIntegrityError: CRC-32 or SHA-256 do not match.
            BundleLimitError: It is larger than ``max_bytes``.
            BundleError: The file cannot be read, or the bundle was closed.
        """
        stated = self.member(member)
        if max_bytes is not None and stated.size_bytes > max_bytes:
            raise BundleLimitError(f"{self.path}: {member} has {stated.size_bytes} bytes; {max_bytes} are allowed")
        data = read_entry(self._source, self._entries[member])
        if (found := sha256_hex(data)) != stated.sha256:
            raise BundleIntegrityError(
                f"{self.path}: {member} was altered: expected SHA-256 {stated.sha256}, found {found}; fetch it again"
            )
        return data

    def manifest_digest(self) -> str:
        """SHA-256 of ``manifest.json``, which holds those of all other members: it tells any two bundles apart.

        Returns:
            Lower-case hex digits.

        Raises:
            BundleError: The file cannot be read, or the bundle was closed.
        """
        return sha256_hex(read_first_member(self._source, self.limits))

    def verify(self) -> None:
        """Read every member once and verify it.

        Raises:
            BundleIntegrityError: The first member whose CRC-32 or SHA-256 does not match.
            BundleError: The file cannot be read, or the bundle was closed.
        """
        for name in self._members:
            self.read(name)

    def close(self) -> None:
        """Close the file; what was read stays valid. Closing twice is allowed."""
        self._source.close()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Bundle({self.path!r}, {self.manifest.name} {self.manifest.version})"


def _some(names: list[str]) -> str:
    """List names, but no more than a message can hold."""
    rest = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + rest or "none"


def _check_members(path: str, manifest: Manifest, entries: tuple[Entry, ...]) -> None:
    """Check that the file holds exactly the members the manifest lists, in its order and of its sizes."""
    stated = [(member.name, member.size_bytes) for member in manifest.members]
    found = [(entry.name, entry.size_bytes) for entry in entries[1:]]
    if stated == found:
        return
    unlisted = sorted({name for name, _ in found} - {name for name, _ in stated})
    missing = sorted({name for name, _ in stated} - {name for name, _ in found})
    if unlisted or missing:
        raise BundleFormatError(
            f"{path}: the members must be those the manifest lists; missing: {_some(missing)}; "
            f"not listed: {_some(unlisted)}"
        )
    at = next(index for index in range(len(stated)) if stated[index : index + 1] != found[index : index + 1])
    raise BundleFormatError(
        f"{path}: the manifest must list each member once, in the order of the file and with its size: member {at} "
        f"is {stated[at]} in the manifest, {found[at : at + 1]} in the file"
    )
