"""A profile as the text of a TOML file, which :func:`edgeml_devices.profile_parse.parse_profile` reads back."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeml_runtime.errors import InputError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgeml_devices.profile import DeviceProfile

__all__ = ["check_vacant", "profile_toml", "write_profile"]

_TABLES = ("match", "references", "sources")
_NEEDED = "isa"


def _value(value: Any) -> str:
    if isinstance(value, str):
        # A TOML basic string is a JSON string, but for the one control character that JSON leaves as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, dict):
        return f"{{ {', '.join(_lines(value))} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float) and value.is_integer() and abs(value) >= 1000:
        value = int(value)
    return f"{value:_}" if isinstance(value, int) else repr(value)


def _lines(table: Mapping[str, Any]) -> Iterable[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items() if value is not None]


def profile_toml(profile: DeviceProfile) -> str:
    """The profile as a TOML file with one line per key; keys that state nothing are left out.

    Args:
        profile: The profile.

    Returns:
        The text, with a line break at its end.
    """
    data = profile.to_dict()
    stated = (key for key in data if key not in _TABLES)
    stated = (key for key in stated if data[key] != [] or key == _NEEDED or key in profile.sources)
    parts = [_lines({key: data[key] for key in stated})]
    sources = {key: profile.sources[key] for key in data if key in profile.sources}
    parts += [["[match]", *_lines(data["match"])], ["[sources]", *_lines(sources)]]
    parts += [["[[references]]", *_lines(reference)] for reference in data["references"]]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def check_vacant(path: Path, name: str, *, overwrite: bool = False) -> None:
    """Make sure that a profile may be written to a place, before the work of making it.

    Args:
        path: The file.
        name: The profile's name, which the file has to have.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        InputError: There is such a file already, or it is called otherwise than the profile.
    """
    if path.name != f"{name}.toml":
        raise InputError(f"{path}: expected a file called {name}.toml, as its profile; found {path.name}")
    if path.exists() and not overwrite:
        raise InputError(f"{path} is there already; replace it with --force, or choose another name")


def write_profile(profile: DeviceProfile, path: Path, *, overwrite: bool = False) -> None:
    """Write a profile's file, whole or not at all; the folder is made where it is missing.

    Args:
        profile: The profile.
        path: The file; it has to be called as the profile.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        InputError: There is such a file already, or it is called otherwise than the profile.
        StorageError: The file cannot be written.
    """
    check_vacant(path, profile.name, overwrite=overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(profile_toml(profile))
            os.chmod(draft, 0o644)
            os.replace(draft, path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
