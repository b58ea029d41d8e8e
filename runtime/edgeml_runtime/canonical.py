"""Canonical JSON and its digest: the text form of every document inside a bundle.

A document has exactly one right spelling, so that equal content gives equal bytes and a reader in another language can
hash a value's bytes as they stand (docs/bundle.md, "Canonical JSON"). Parsing treats its input as hostile: depth is
bounded before the parser runs, and duplicate keys, NaN, infinities and any other spelling are refused.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from edgeml_runtime.errors import BundleFormatError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_DEPTH", "canonical_json", "parse_json", "require_canonical", "sha256_hex", "take"]

MAX_DEPTH = 32

_KINDS: dict[type, str] = {str: "a string", int: "an integer", float: "a number", list: "a list", dict: "an object"}
_BRACKETS = b"[]{}"
_STRUCTURE = b'"' + _BRACKETS
_NOT_STRUCTURE = bytes(sorted(set(range(256)) - set(_STRUCTURE)))

# OpenSSL hashes five times faster than CPython's own code (1.8 against 0.32 GB/s with SHA extensions), but importing
# hashlib loads libcrypto: 2.5 ms of CPU and 3.5 MB. Below 1 MiB in one piece CPython's own code is the cheaper one, and
# for models of edge size the memory counts; where hashlib is loaded already, it is used.
_OPENSSL_FROM_BYTES = 1 << 20


def _find_builtin_sha256() -> Callable[[bytes], Any] | None:
    module = "_sha2" if sys.version_info >= (3, 12) else "_sha256"
    try:
        return __import__(module).sha256  # type: ignore[no-any-return]
    except (ImportError, AttributeError):  # not CPython, or built without its own hashes
        return None


_builtin_sha256 = _find_builtin_sha256()


def sha256_hex(data: bytes) -> str:
    """Hash bytes with SHA-256 (FIPS 180-4).

    Args:
        data: Any bytes.

    Returns:
        64 lower-case hex digits.
    """
    if _builtin_sha256 is not None and len(data) < _OPENSSL_FROM_BYTES and "hashlib" not in sys.modules:
        return str(_builtin_sha256(data).hexdigest())
    import hashlib

    return hashlib.sha256(data).hexdigest()


def canonical_json(value: object) -> bytes:
    """Write a value as canonical JSON.

    Args:
        value: Dicts with string keys, lists, strings, integers, finite floats, booleans and None.

    Returns:
        UTF-8 without a final newline: keys sorted by code point, no white space, only the escapes JSON demands, floats
        as the shortest decimal that reads back as the same number (Python's ``repr``).

    Raises:
        TypeError: For a value of another type.
        ValueError: For NaN, an infinity, or a string that holds half of a surrogate pair.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def parse_json(data: bytes, where: str) -> Any:
    """Parse one JSON document that may be hostile.

    Args:
        data: UTF-8 bytes; the caller has capped their number.
        where: Name of the document for messages, such as ``"words.edgeml: manifest.json"``.

    Returns:
        The value. It still is to be checked with :func:`require_canonical`.

    Raises:
        BundleFormatError: Not UTF-8, not JSON, nested deeper than ``MAX_DEPTH``, a key given twice, or a number that
            is not finite.
    """
    if _is_too_deep(data):
        raise BundleFormatError(f"{where}: nested more than {MAX_DEPTH} levels deep")
    try:
        return _DECODER.decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BundleFormatError(f"{where}: not UTF-8: byte {data[error.start]:#04x} at {error.start}") from error
    except _RefusedJsonError as error:
        raise BundleFormatError(f"{where}: {error}") from error
    except ValueError as error:
        raise BundleFormatError(f"{where}: not JSON: {error}") from error


def require_canonical(value: object, data: bytes, where: str) -> None:
    """Check that a parsed document was spelled in the one right way.

    Args:
        value: What :func:`parse_json` returned.
        data: The bytes it was parsed from.
        where: Name of the document for messages.

    Raises:
        BundleFormatError: The canonical form of ``value`` is not ``data``.
    """
    try:
        expected = canonical_json(value)
    except ValueError as error:
        raise BundleFormatError(f"{where}: holds text that is not well-formed Unicode") from error
    if expected != data:
        shared = min(len(expected), len(data))
        at = next((index for index in range(shared) if expected[index] != data[index]), shared)
        raise BundleFormatError(
            f"{where}: not canonical JSON: at byte {at} expected {expected[at : at + 20]!r}, found "
            f"{data[at : at + 20]!r}; the document was edited or written by another tool"
        )


def take(document: object, key: str, kind: type, where: str) -> Any:
    """Take a value of exactly one JSON kind from an object; ``true`` is no integer, but an integer is a number.

    Args:
        document: Should be an object.
        key: Its key.
        kind: ``str``, ``int``, ``float``, ``list`` or ``dict``.
        where: Name of the document, and of the place in it, for messages.

    Returns:
        The value.

    Raises:
        BundleFormatError: ``document`` is no object, lacks the key, or holds something else there.
    """
    if not isinstance(document, dict):
        raise BundleFormatError(f"{where}: expected an object, found {document!r:.60}")
    if key not in document:
        raise BundleFormatError(f"{where}: the key {key!r} is missing")
    value = document[key]
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise BundleFormatError(f"{where}: {key}: expected {_KINDS[kind]}, found {value!r:.60}")
    return value


class _RefusedJsonError(ValueError):
    """Valid JSON text that no document of a bundle may hold."""


def _is_too_deep(data: bytes) -> bool:
    """Count the nesting of brackets outside of strings, without recursion; exact for valid JSON."""
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = b"".join(bare.translate(None, _NOT_STRUCTURE).split(b'"')[::2])
    depth = 0
    for bracket in outside:
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _RefusedJsonError(f"the key {twice!r} is given twice in one object")
    return document


def _refuse_constant(text: str) -> None:
    raise _RefusedJsonError(f"the number {text} is not allowed; numbers must be finite")


def _finite_float(text: str) -> float:
    number = float(text)
    if number - number != 0.0:
        raise _RefusedJsonError(f"the number {text} is too large; numbers must be finite")
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_refuse_constant, parse_float=_finite_float)
