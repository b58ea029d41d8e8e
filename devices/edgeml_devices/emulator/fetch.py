"""Fetching a pinned file over HTTP: resumed where it was cut, tried again, from the next mirror, checked before use."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeml_runtime.errors import InputError, TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["MIRRORS", "PART_ENDING", "FetchLimits", "Mirrors", "fetch", "file_sha256"]

# The pool keeps a version until a point release replaces it; the archive of snapshots keeps every version.
MIRRORS = ("http://deb.debian.org/debian", "http://snapshot.debian.org/archive/debian/20261201T000000Z")
MIRROR_VARIABLE = "EDGEML_DEBIAN_MIRROR"
PART_ENDING = ".part"
CHUNK_BYTES = 1 << 16
BUSY = (http.client.REQUEST_TIMEOUT, http.client.TOO_MANY_REQUESTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """How patient fetching is.

    Attributes:
        timeout_s: For a connection, and for the next bytes on it.
        waits_s: Pauses before the second, third … attempt at one mirror; their number bounds the attempts.
    """

    timeout_s: float = 20.0
    waits_s: tuple[float, ...] = (0.5, 4.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrors:
    """Where Debian packages are fetched from.

    Attributes:
        bases: Roots of the archive, in the order in which they are tried.
        limits: Patience with each.
    """

    bases: tuple[str, ...] = MIRRORS
    limits: FetchLimits = field(default_factory=FetchLimits)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Mirrors:
        """Debian's own, behind the one that ``EDGEML_DEBIAN_MIRROR`` names, if it is set.

        Raises:
            InputError: What it names is no address.
        """
        own = (os.environ if environ is None else environ).get(MIRROR_VARIABLE, "").rstrip("/")
        if own and not own.startswith(("http://", "https://")):
            raise InputError(
                f"{MIRROR_VARIABLE}: expected a mirror of the Debian archive, such as {MIRRORS[0]}, found {own!r}"
            )
        return cls(bases=((own, *MIRRORS) if own else MIRRORS))


class _MissingError(Exception):
    """The server answers, and does not have the file: no use asking it again."""


class _OtherFileError(Exception):
    """What arrived is another file, or was altered on the way."""


def fetch(
    path: str, into: Path, *, size_bytes: int, sha256: str, mirrors: Mirrors, arrived: Callable[[int], None]
) -> None:
    """Fetch one file, or find that it is there.

    What arrives stands beside ``into`` with ``.part`` behind its name, until size and checksum are right.

    Args:
        path: Below a mirror's root.
        into: Where to put it; its folder exists.
        size_bytes: Size it must have; no more is read.
        sha256: Checksum it must have, as hexadecimal digits.
        mirrors: Where from.
        arrived: Called with the number of bytes of this file that are there.

    Raises:
        TargetError: No mirror has the file, or what it has is another one; says what each answered.
        OSError: The disk.
    """
    if into.is_file() and into.stat().st_size == size_bytes and file_sha256(into) == sha256:
        arrived(size_bytes)
        return
    part = into.with_name(into.name + PART_ENDING)
    answers = []
    for base in mirrors.bases:
        address = f"{base}/{path}"
        try:
            _fetch_checked(address, part, size_bytes, sha256, mirrors.limits, arrived)
        except (_MissingError, _OtherFileError, ConnectionError) as error:
            answers.append(f"  {address}: {error}")
            continue
        os.replace(part, into)
        return
    raise TargetError(
        f"cannot fetch {path.rpartition('/')[2]}:\n" + "\n".join(answers) + "\nCheck the network and its proxy "
        f"(http_proxy), or name a mirror of the Debian archive in {MIRROR_VARIABLE}, and run the command again: it "
        "goes on where it stopped. Where every mirror answers 404, Debian replaced the version: update edgeml."
    )


def file_sha256(path: Path) -> str:
    """Checksum of a file, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fetch_checked(
    address: str, part: Path, size_bytes: int, sha256: str, limits: FetchLimits, arrived: Callable[[int], None]
) -> None:
    """Fetch and check; what a cut left may be of another file, so that a file that was resumed has a second chance."""
    resumed = part.is_file()
    _fetch_from(address, part, size_bytes, limits, arrived)
    try:
        _check(part, size_bytes, sha256)
    except _OtherFileError:
        if not resumed:
            raise
        _fetch_from(address, part, size_bytes, limits, arrived)
        _check(part, size_bytes, sha256)


def _fetch_from(address: str, part: Path, size_bytes: int, limits: FetchLimits, arrived: Callable[[int], None]) -> None:
    for wait_s in (*limits.waits_s, None):
        try:
            _attempt(address, part, size_bytes, limits.timeout_s, arrived)
            return
        except (ConnectionError, TimeoutError) as error:
            if wait_s is None:
                raise ConnectionError(str(error)) from error
            time.sleep(wait_s)


def _attempt(address: str, part: Path, size_bytes: int, timeout_s: float, arrived: Callable[[int], None]) -> None:
    have = part.stat().st_size if part.is_file() else 0
    if have >= size_bytes:  # complete, or not the file: the checksum tells
        return
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    with _opened(request, timeout_s) as response:
        resumed = have > 0 and response.status == http.client.PARTIAL_CONTENT
        done = have if resumed else 0
        if response.length not in (None, size_bytes - done):
            raise _OtherFileError(f"expected {size_bytes} bytes, found a file of {done + (response.length or 0)}")
        with part.open("ab" if resumed else "wb") as stream:
            while done < size_bytes and (chunk := _read(response, min(CHUNK_BYTES, size_bytes - done))):
                stream.write(chunk)
                done += len(chunk)
                arrived(done)
    if done < size_bytes:
        raise ConnectionError(f"the connection ended after {done} of {size_bytes} bytes")


def _opened(request: urllib.request.Request, timeout_s: float) -> http.client.HTTPResponse:
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        retriable = error.code in BUSY or error.code >= http.client.INTERNAL_SERVER_ERROR
        raise (ConnectionError if retriable else _MissingError)(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise ConnectionError(str(error.reason)) from error
    except (http.client.HTTPException, OSError) as error:
        raise ConnectionError(str(error) or type(error).__name__) from error
    return response


def _read(response: http.client.HTTPResponse, count: int) -> bytes:
    try:
        return response.read(count)
    except (http.client.HTTPException, OSError) as error:
        raise ConnectionError(str(error) or type(error).__name__) from error


def _check(part: Path, size_bytes: int, sha256: str) -> None:
    found_bytes, found = part.stat().st_size, file_sha256(part)
    if found_bytes == size_bytes and found == sha256:
        return
    part.unlink()
    raise _OtherFileError(f"expected {size_bytes} bytes with sha256 {sha256}, found {found_bytes} bytes with {found}")
