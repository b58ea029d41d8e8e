"""All device profiles there are, each compared with the machine at hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeml_devices.host import HOST, Match, host_profile, match
from edgeml_devices.profile_files import known_profiles, load_profile, profile_file, shipped_profiles
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.machine import probe_machine

if TYPE_CHECKING:
    from edgeml_devices.profile import DeviceProfile
    from edgeml_runtime.machine import Machine

__all__ = ["CatalogueEntry", "describe_profile", "list_profiles"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """A profile, where it stands, and whether this machine counts as it.

    Attributes:
        profile: The profile.
        file: Its file where it is not one that comes along, or None.
        match: Whether figures of this machine count as the device's.
    """

    profile: DeviceProfile
    file: Path | None
    match: Match

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "profile": self.profile.to_dict(),
            "file": None if self.file is None else str(self.file),
            "this_machine": {"matches": self.match.ok, "reasons": list(self.match.reasons)},
        }


def _entry(name: str, project: Path | None, machine: Machine) -> CatalogueEntry:
    if name == HOST:
        profile = host_profile(machine)
        return CatalogueEntry(profile=profile, file=None, match=match(profile, machine))
    file = None if name in shipped_profiles() else Path(str(profile_file(name, project=project)))
    profile = load_profile(name, project=project)
    return CatalogueEntry(profile=profile, file=file, match=match(profile, machine))


def describe_profile(name: str, project: Path | None = None) -> CatalogueEntry:
    """One profile.

    Args:
        name: Its name, ``host`` included, or the path of a file that ends in ``.toml``.
        project: Folder whose ``devices/*.toml`` count as well, or None.

    Returns:
        The profile, compared with this machine.

    Raises:
        ProjectError: It is unknown, or its file is broken.
    """
    return _entry(name, project, probe_machine())


def list_profiles(project: Path | None = None) -> tuple[CatalogueEntry, ...]:
    """Every profile there is, ``host`` first.

    Args:
        project: Folder whose ``devices/*.toml`` count as well, or None.

    Returns:
        The profiles, compared with this machine.

    Raises:
        ProjectError: Profiles of the project are broken; the message lists the faults of all of them.
    """
    machine = probe_machine()
    entries, broken = [], []
    for name in known_profiles(project):
        try:
            entries.append(_entry(name, project, machine))
        except ProjectError as error:
            broken.append(str(error))
    if broken:
        raise ProjectError("\n".join(broken))
    return tuple(entries)
