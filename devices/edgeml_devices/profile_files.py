"""Reading device profiles: the ones that come along, a project's own ``devices/*.toml``, and single files."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from edgeml_devices.host import HOST
from edgeml_devices.profile_parse import parse_profile
from edgeml_runtime.errors import Fault, ProjectError
from edgeml_runtime.fields import describe, key_path, near

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.resources.abc import Traversable

    from edgeml_devices.profile import DeviceProfile
    from edgeml_runtime.contract import Budget

__all__ = [
    "CONTRACT_FILE",
    "PROJECT_FOLDER",
    "budget_faults",
    "find_project",
    "known_profiles",
    "load_profile",
    "mark_unknown",
    "profile_file",
    "shipped_profiles",
]

PROJECT_FOLDER = "devices"
CONTRACT_FILE = "edgeml.toml"
_SUFFIX = ".toml"


def _shipped() -> dict[str, Path | Traversable]:
    folder = resources.files("edgeml_devices") / "profiles"
    return {item.name.removesuffix(_SUFFIX): item for item in folder.iterdir() if item.name.endswith(_SUFFIX)}


def _refuse_taken(path: Path, files: dict[str, Path | Traversable]) -> None:
    if path.stem in files or path.stem == HOST:
        raise ProjectError(f"{path}: the profile name {path.stem!r} is taken; rename the file and its name key")


def _files(project: Path | None) -> dict[str, Path | Traversable]:
    """Profile name → file; a project's own come last and may not take a name that is known already."""
    files = _shipped()
    for path in sorted((project / PROJECT_FOLDER).glob(f"*{_SUFFIX}")) if project is not None else []:
        _refuse_taken(path, files)
        files[path.stem] = path
    return files


def shipped_profiles() -> tuple[str, ...]:
    """Names of the profiles that come along, ``host`` not among them."""
    return tuple(sorted(_shipped()))


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


def _known_anyhow(project: Path | None) -> list[str]:
    """Names of all profiles, whatever is wrong with those of the project; ``host`` first."""
    own = () if project is None else (path.stem for path in (project / PROJECT_FOLDER).glob(f"*{_SUFFIX}"))
    return [HOST, *sorted({*_shipped(), *own} - {HOST})]


def mark_unknown(names: Iterable[str], project: Path | None = None) -> list[str]:
    """Names of profiles as a message lists them: one that is known nowhere is said to be, with the nearest that is.

    Args:
        names: Names, such as those of a contract's budgets.
        project: Folder whose ``devices/*.toml`` count as well, or None.

    Returns:
        The names, each with its remark.
    """
    known = _known_anyhow(project)
    return [name if name in known else f"{name}, which is no device profile here{near(name, known)}" for name in names]


def budget_faults(budgets: Iterable[Budget], project: Path) -> tuple[Fault, ...]:
    """What is wrong with the devices that a project's budgets are for: nobody would ever check one of a misspelt name.

    A bundle may have budgets for devices that are known elsewhere only; whoever makes it knows them.

    Args:
        budgets: Of the project's contract.
        project: Its folder, whose ``devices/*.toml`` are known as well.

    Returns:
        A fault for each name that is no device profile.
    """
    known = _known_anyhow(project)
    return tuple(
        Fault(
            path=key_path("budgets", name),
            expected=f"one of {', '.join(known)}, or a profile of the project's own, {PROJECT_FOLDER}/{name}.toml",
            found=f"{describe(name)}{near(name, known)}",
            question="Which device is the budget for?",
        )
        for name in dict.fromkeys(budget.profile for budget in budgets)
        if name not in known
    )


def find_project(model: Path) -> Path:
    """The folder whose ``devices/*.toml`` are known where nobody says which.

    Args:
        model: The file that is benched.

    Returns:
        The folder the file lies in, if profiles lie in its ``devices``; else the current folder, if it is a project;
        else the folder the file lies in.
    """
    folder, here = model.absolute().parent, Path.cwd()
    if any((folder / PROJECT_FOLDER).glob(f"*{_SUFFIX}")) or not (here / CONTRACT_FILE).is_file():
        return folder
    return here


def profile_file(name: str, *, project: Path | None = None) -> Path | Traversable:
    """Where a profile stands.

    Args:
        name: Its name, or the path of a file that ends in ``.toml``.
        project: Folder whose ``devices/*.toml`` count as well, or None.

    Returns:
        The file.

    Raises:
        ProjectError: No such profile, which the message answers with the known ones; or one of the project has a name
            that is taken.
    """
    if name.endswith(_SUFFIX):
        path = Path(name)
        _refuse_taken(path, _shipped())
        return path
    files = _files(project)
    if name not in files:
        known = (HOST, *sorted(files))
        raise ProjectError(
            f"unknown device profile {name!r}{near(name, known)}: known are {', '.join(known)}. A profile of your own "
            f"is a file devices/{name}.toml in the project, or any file given by its path (docs/devices.md)"
        )
    return files[name]


def load_profile(name: str, *, project: Path | None = None) -> DeviceProfile:
    """Read a profile.

    Args:
        name: Its name, or the path of a file that ends in ``.toml``; ``host`` is not a file
            (:func:`edgeml_devices.host.probe_host`).
        project: Folder whose ``devices/*.toml`` count as well, or None.

    Returns:
        The profile.

    Raises:
        ProjectError: No such profile, which the message answers with the known ones; or its file is broken, with every
            fault at once.
    """
    file = profile_file(name, project=project)
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProjectError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ProjectError(f"{file}: cannot be read as TOML: {error}") from error
    return parse_profile(data, source=str(file), name=Path(file.name).stem)
