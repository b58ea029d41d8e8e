"""The ZIP subset of bundles: the one right form of every header, and a strict reader for it.

A bundle is a ZIP file (PKWARE APPNOTE 6.3.10) in which nothing is left to choice: members are stored, headers carry no
dates, flags, extra fields or comments, and data lie one after another without gaps. So every byte of a file follows
from the members' names and contents, and whatever deviates is refused with its reason. The standard library's
``zipfile`` accepts far more than that and costs 10 ms to import.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from _thread import allocate_lock
from typing import TYPE_CHECKING

from edgeml_runtime.errors import BundleError, BundleFormatError, BundleIntegrityError, BundleLimitError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from io import FileIO

    from edgeml_runtime.bundle import Limits

__all__ = [
    "MANIFEST_NAME",
    "MAX_NAME_BYTES",
    "Entry",
    "Source",
    "central_header",
    "end_record",
    "local_header",
    "name_fault",
    "open_source",
    "read_directory",
    "read_entry",
    "read_first_member",
]

MANIFEST_NAME = "manifest.json"
MAX_NAME_BYTES = 200
MAX_FILE_BYTES = 0xFFFFFFFE  # one more is the marker of ZIP64

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_CENTRAL_SIGNATURE = b"PK\x01\x02"
_END_SIGNATURE = b"PK\x05\x06"
_VERSION_NEEDED = 10  # 1.0: stored files
_VERSION_MADE_BY = 20  # host system 0: unpackers then apply their own default permissions
_DATE = 0x0021  # 1980-01-01, the first date the format can express; the time is 00:00

_NAME_BYTES = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/"
_WINDOWS_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{digit}" for digit in range(10)), *(f"lpt{digit}" for digit in range(10))]
)


class Entry:
    """Where one member lies in the file.

    Attributes:
        name: Path inside the bundle.
        size_bytes: Size of the content.
        crc32: CRC-32 of the content.
        offset: Position of the local header.
    """

    __slots__ = ("crc32", "name", "offset", "size_bytes")

    def __init__(self, *, name: str, size_bytes: int, crc32: int, offset: int) -> None:
        self.name = name
        self.size_bytes = size_bytes
        self.crc32 = crc32
        self.offset = offset

    @property
    def data_offset(self) -> int:
        """Position of the first byte of the content."""
        return self.offset + _LOCAL.size + len(self.name)

    @property
    def end(self) -> int:
        """Position behind the last byte of the content."""
        return self.data_offset + self.size_bytes


class Source:
    """An open file that several threads may read from.

    The handle stays open, so the bytes come from the same file even when the path is replaced meanwhile.

    Attributes:
        path: As given by the caller.
        size_bytes: Size when it was opened.
    """

    __slots__ = ("_file", "_lock", "path", "size_bytes")

    def __init__(self, file: FileIO, path: str) -> None:
        self._file = file
        self._lock = allocate_lock()
        self.path = path
        self.size_bytes = os.fstat(file.fileno()).st_size

    def read_at(self, offset: int, size: int) -> bytes:
        """Read exactly ``size`` bytes at ``offset``.

        Raises:
            BundleIntegrityError: The file ends before.
            BundleError: It cannot be read, or was closed.
        """
        if offset + size > self.size_bytes:
            raise self.truncated(offset + size)
        pieces = []
        missing = size
        try:
            with self._lock:
                self._file.seek(offset)
                while missing and (piece := self._file.read(missing)):
                    pieces.append(piece)
                    missing -= len(piece)
        except ValueError as error:
            raise BundleError(f"{self.path}: the bundle was closed; open it again") from error
        except OSError as error:
            raise BundleError(f"{self.path}: cannot be read: {error.strerror or error}") from error
        if missing:
            raise self.truncated(offset + size)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def truncated(self, expected_bytes: int) -> BundleIntegrityError:
        """Build the error for a file that ends too early."""
        return BundleIntegrityError(
            f"{self.path}: truncated: expected at least {expected_bytes} bytes, found {self.size_bytes}; fetch it again"
        )

    def close(self) -> None:
        """Close the file; closing twice is allowed."""
        with self._lock:
            self._file.close()


def local_header(name: str, size_bytes: int, crc32: int) -> bytes:
    """Build the header in front of a member's data (APPNOTE 4.3.7), the name included."""
    raw = name.encode("ascii")
    fields = (_LOCAL_SIGNATURE, _VERSION_NEEDED, 0, 0, 0, _DATE, crc32, size_bytes, size_bytes, len(raw), 0)
    return _LOCAL.pack(*fields) + raw


def central_header(entry: Entry) -> bytes:
    """Build a member's header in the central directory (APPNOTE 4.3.12), the name included."""
    raw = entry.name.encode("ascii")
    sizes = (entry.crc32, entry.size_bytes, entry.size_bytes, len(raw))
    versions = (_CENTRAL_SIGNATURE, _VERSION_MADE_BY, _VERSION_NEEDED, 0, 0, 0, _DATE)
    return _CENTRAL.pack(*versions, *sizes, 0, 0, 0, 0, 0, entry.offset) + raw


def end_record(count: int, directory_bytes: int, directory_offset: int) -> bytes:
    """Build the end of central directory record (APPNOTE 4.3.16)."""
    return _END.pack(_END_SIGNATURE, 0, 0, count, count, directory_bytes, directory_offset, 0)


def name_fault(name: bytes) -> str | None:
    """Say what is wrong with a member's name.

    Allowed is what every file system and unpacker takes for one and the same relative path: segments of ASCII letters,
    digits, ``.``, ``_`` and ``-``, joined by ``/``.

    Args:
        name: The name as it stands in the file.

    Returns:
        What is wrong with it, or None.
    """
    if not 0 < len(name) <= MAX_NAME_BYTES:
        return f"has {len(name)} bytes, expected 1 to {MAX_NAME_BYTES}"
    if name.translate(None, _NAME_BYTES):
        return "holds characters other than ASCII letters, digits, '.', '_', '-' and '/'"
    for segment in name.decode("ascii").lower().split("/"):
        if not segment:
            return "is absolute, ends in '/' or holds '//'"
        if segment[0] == "." or segment[-1] == ".":
            return "has a segment that begins or ends with a dot"
        if segment.split(".")[0] in _WINDOWS_DEVICES:
            return "has a segment that names a device on Windows"
    return None


def open_source(path: str, max_bytes: int) -> Source:
    """Open a regular file of at most ``max_bytes``.

    Raises:
        BundleLimitError: Larger than that.
        BundleError: It does not exist, is no regular file or may not be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BundleFormatError(f"{path}: expected a bundle file, found a folder or a device")
        source = Source(open(path, "rb", buffering=0), path)  # noqa: SIM115 - the source closes it
    except OSError as error:
        raise BundleError(f"{path}: cannot be opened: {error.strerror or error}") from error
    except ValueError as error:
        raise BundleError(f"{path!r}: cannot be opened: {error}") from error
    if source.size_bytes > max_bytes:
        source.close()
        raise BundleLimitError(f"{path}: {source.size_bytes} bytes; at most {max_bytes} are allowed")
    return source


def read_first_member(source: Source, limits: Limits) -> bytes:
    """Read ``manifest.json``, which every format version puts first and stored, before anything else is looked at.

    Raises:
        BundleFormatError: The file does not begin with it.
        BundleIntegrityError: Its CRC-32 does not match, or the file ends within it.
        BundleLimitError: It is larger than ``limits.max_json_bytes``.
    """
    head = source.read_at(0, min(_LOCAL.size, source.size_bytes))
    if head[:4] != _LOCAL_SIGNATURE[: len(head)]:
        raise BundleFormatError(f"{source.path}: not a bundle: expected {_LOCAL_SIGNATURE!r}, found {head[:4]!r}")
    if len(head) < _LOCAL.size:
        raise source.truncated(_LOCAL.size)
    _, _, flags, method, _, _, crc32, stored, size, name_bytes, extra_bytes = _LOCAL.unpack(head)
    name = source.read_at(_LOCAL.size, name_bytes)
    if name != MANIFEST_NAME.encode("ascii"):
        raise BundleFormatError(f"{source.path}: the first member is {name!r}, not {MANIFEST_NAME!r}; {_REPACKED}")
    if fault := _coding_fault(flags, method, stored, size):
        raise BundleFormatError(f"{source.path}: {MANIFEST_NAME} {fault}")
    if size > limits.max_json_bytes:
        raise BundleLimitError(
            f"{source.path}: {MANIFEST_NAME} has {size} bytes; at most {limits.max_json_bytes} are allowed"
        )
    data = source.read_at(_LOCAL.size + name_bytes + extra_bytes, size)
    if zlib.crc32(data) != crc32:
        raise BundleIntegrityError(f"{source.path}: {MANIFEST_NAME} was altered: its CRC-32 does not match")
    return data


def read_directory(source: Source, limits: Limits) -> tuple[Entry, ...]:
    """Read the central directory and check every header of the file.

    Returns:
        The members in the order of the file, ``manifest.json`` first.

    Raises:
        BundleFormatError: A header deviates from its one right form.
        BundleIntegrityError: The file is truncated, or bytes were appended.
        BundleLimitError: More members, or larger ones, than allowed.
    """
    count, directory_bytes, directory_offset = _read_end(source, limits)
    directory = source.read_at(directory_offset, directory_bytes)
    entries: list[Entry] = []
    position = 0
    for _ in range(count):
        entry = _parse_central(source.path, directory, position, entries)
        if entries and entry.size_bytes > limits.max_member_bytes:
            raise BundleLimitError(
                f"{source.path}: {entry.name} has {entry.size_bytes} bytes; at most {limits.max_member_bytes} are "
                "allowed"
            )
        entries.append(entry)
        position += _CENTRAL.size + len(entry.name)
    if position != directory_bytes:
        raise BundleFormatError(f"{source.path}: bytes follow the {count} headers of the central directory")
    if entries[-1].end != directory_offset:
        raise BundleFormatError(
            f"{source.path}: the members end at byte {entries[-1].end}, the directory begins at {directory_offset}"
        )
    _check_names(source.path, entries)
    _check_local_headers(source, entries)
    return tuple(entries)


def read_entry(source: Source, entry: Entry) -> bytes:
    """Read one member's content.

    Raises:
        BundleIntegrityError: Its CRC-32 does not match.
    """
    data = source.read_at(entry.data_offset, entry.size_bytes)
    if zlib.crc32(data) != entry.crc32:
        raise BundleIntegrityError(f"{source.path}: {entry.name} was altered: its CRC-32 does not match")
    return data


_REPACKED = "was the file packed by another ZIP tool?"


def _coding_fault(flags: int, method: int, stored: int, size: int) -> str | None:
    if flags & 0x0001:
        return "is encrypted; members must be plain"
    if method != 0:
        return f"is compressed (method {method}); members must be stored; {_REPACKED}"
    if flags & 0x0008:
        return f"has its sizes behind the data (flag bit 3); they must stand in front; {_REPACKED}"
    if stored != size:
        return f"states {stored} stored bytes and {size} bytes of content; they must be equal"
    return None


def _read_end(source: Source, limits: Limits) -> tuple[int, int, int]:
    """Read the end of central directory record: number of members, size and position of the directory."""
    start = source.size_bytes - _END.size
    if start < _LOCAL.size:
        raise source.truncated(_LOCAL.size + _END.size)
    record = source.read_at(start, _END.size)
    signature, _, _, _, count, directory_bytes, directory_offset, _ = _END.unpack(record)
    if signature != _END_SIGNATURE:
        raise BundleIntegrityError(
            f"{source.path}: truncated, or bytes were appended: expected the end of central directory record in the "
            f"last {_END.size} bytes, without a comment; fetch it again"
        )
    if count == 0xFFFF or 0xFFFFFFFF in (directory_bytes, directory_offset):
        raise BundleFormatError(f"{source.path}: uses ZIP64, which bundles must not")
    if count > limits.max_members:
        raise BundleLimitError(f"{source.path}: {count} members; at most {limits.max_members} are allowed")
    if record != end_record(count, directory_bytes, directory_offset) or count == 0:
        raise BundleFormatError(
            f"{source.path}: the end of central directory record must name one disk, the same number of members twice, "
            f"at least one, and no comment; {_REPACKED}"
        )
    if directory_offset + directory_bytes != start:
        raise BundleIntegrityError(
            f"{source.path}: the central directory ends at byte {directory_offset + directory_bytes}, expected "
            f"{start}: bytes are missing or were added"
        )
    return count, directory_bytes, directory_offset


def _parse_central(path: str, directory: bytes, position: int, before: Sequence[Entry]) -> Entry:
    """Parse the header at ``position``; the entries before it say where its member must begin."""
    if position + _CENTRAL.size > len(directory) or directory[position : position + 4] != _CENTRAL_SIGNATURE:
        raise BundleFormatError(f"{path}: header {len(before)} of the central directory is missing or malformed")
    fields = _CENTRAL.unpack_from(directory, position)
    _, _, _, flags, method, _, _, crc32, stored, size, name_bytes = fields[:11]
    begin = position + _CENTRAL.size
    raw = directory[begin : begin + name_bytes]
    if len(raw) != name_bytes:
        raise BundleFormatError(f"{path}: the name of member {len(before)} reaches beyond the central directory")
    if fault := name_fault(raw):
        raise BundleFormatError(f"{path}: the member name {raw!r} {fault}")
    name = raw.decode("ascii")
    if fault := _coding_fault(flags, method, stored, size):
        raise BundleFormatError(f"{path}: {name} {fault}")
    offset = before[-1].end if before else 0
    if fields[-1] != offset:
        raise BundleFormatError(
            f"{path}: {name} begins at byte {fields[-1]}, expected {offset}: members neither overlap nor leave gaps"
        )
    entry = Entry(name=name, size_bytes=size, crc32=crc32, offset=offset)
    if directory[position : begin + name_bytes] != central_header(entry):
        raise BundleFormatError(
            f"{path}: the central header of {name} must hold the versions, date, attributes, extra field and comment "
            f"that docs/bundle.md fixes; {_REPACKED}"
        )
    return entry


def _check_names(path: str, entries: Sequence[Entry]) -> None:
    names = [entry.name for entry in entries]
    if len({name.lower() for name in names}) != len(names):
        seen = set()
        for name in names:
            if name.lower() in seen:
                raise BundleFormatError(f"{path}: the member name {name!r} occurs twice (upper and lower case are one)")
            seen.add(name.lower())
    if names[0] != MANIFEST_NAME or names[1:] != sorted(names[1:]):
        raise BundleFormatError(f"{path}: expected {MANIFEST_NAME}, then the other members by name; {_REPACKED}")


def _check_local_headers(source: Source, entries: Sequence[Entry]) -> None:
    for entry in entries:
        expected = local_header(entry.name, entry.size_bytes, entry.crc32)
        if source.read_at(entry.offset, len(expected)) != expected:
            raise BundleFormatError(
                f"{source.path}: the local header of {entry.name} contradicts the central directory or docs/bundle.md"
            )
