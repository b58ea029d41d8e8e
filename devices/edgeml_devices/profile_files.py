"""Reading device profiles: the ones that come along, and a project's own ``devices/*.toml``."""

from __future__ import annotations

import difflib
import tomllib
from importlib import resources
from typing import TYPE_CHECKING

from edgeml_devices.host import HOST
from edgeml_devices.profile_parse import parse_profile
from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
    from pathlib import Path

    from edgeml_devices.profile import DeviceProfile

__all__ = ["known_profiles", "load_profile"]

PROJECT_FOLDER = "devices"


def _files(project: Path | None) -> dict[str, Path | Traversable]:
    """Profile name → file; a project's own come last and may not take a name that is known already."""
    bundled = resources.files("edgeml_devices") / "profiles"
    files: dict[str, Path | Traversable] = {
        item.name.removesuffix(".toml"): item for item in bundled.iterdir() if item.name.endswith(".toml")
    }
    for path in sorted((project / PROJECT_FOLDER).glob("*.toml")) if project is not None else []:
        if path.stem in files or path.stem == HOST:
            raise ProjectError(f"{path}: the profile name {path.stem!r} is taken; rename the file and its name key")
        files[path.stem] = path
    return files


def known_profiles(project: Path | None = None) -> tuple[str, ...]:
    """Names of every profile there is, ``host`` first.

    Args:
        project: Folder whose ``devices/*.toml`` count as well, or None.

    Returns:
        The names.

    Raises:
        ProjectError: A profile of the project has a name that is taken.
    """
    return (HOST, *sorted(_files(project)))


def load_profile(name: str, *, project: Path | None = None) -> DeviceProfile:
    """Read a profile.

    Args:
        name: Its name; ``host`` is not a file (:func:`edgeml_devices.host.probe_host`).
        project: Folder whose ``devices/*.toml`` count as well, or None.

    Returns:
        The profile.

    Raises:
        ProjectError: No such profile, which the message answers with the known ones; or its file is broken, with every
            fault at once.
    """
    files = _files(project)
    if name not in files:
        near = difflib.get_close_matches(name, files, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        known = ", ".join((HOST, *sorted(files)))
        raise ProjectError(
            f"unknown device profile {name!r}{hint}: known are {known}. A profile of your own is a file "
            f"devices/{name}.toml beside the bundle (docs/devices.md)"
        )
    file = files[name]
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ProjectError(f"{file}: cannot be read as TOML: {error}") from error
    return parse_profile(data, source=str(file), name=name)
