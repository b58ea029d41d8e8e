"""TOML values → :class:`DeviceProfile`, with every fault reported at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeml_devices.profile import DeviceProfile, Range
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.fields import FaultCollector, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["parse_profile"]

_MOST_CORES = 4096
_MOST_BYTES = 1 << 50
_MOST_MHZ = 20_000
_MOST_GB_PER_S = 10_000
_WITHOUT_SOURCE = ("name", "title", "arch", "match", "sources")


def _optional_number(table: Table, key: str, high: float) -> float | None:
    return table.number(key, low=0.001, high=high) if table.has(key) else None


def _range(table: Table, key: str) -> Range:
    expected = "two numbers [smallest, largest]"
    values = table.numbers(key, expected)
    if len(values) == 2 and 0 < values[0] <= values[1]:
        return Range(low=values[0], high=values[1])
    if values:
        table.faults.add(table.at(key), expected, repr(list(values)))
    return Range(low=0, high=0)


def _sources(table: Table, figures: list[str]) -> dict[str, str]:
    """The source of every figure; one that is missing is a fault, and so is one of no figure."""
    sources = {key: table.text(key, question="Where does the figure come from?") for key in figures}
    table.refuse_unknown()
    return sources


def parse_profile(data: Mapping[str, Any], *, source: str, name: str) -> DeviceProfile:
    """Check a profile and build it.

    Args:
        data: The TOML file's values; every figure needs an entry of the same name in its table ``sources``.
        source: Name of the file, for the message.
        name: The name the file is known by, which its key ``name`` must repeat.

    Returns:
        The profile.

    Raises:
        ProjectError: The profile has faults; the message lists all of them.
    """
    faults = FaultCollector()
    table = Table(data, "", faults)
    matching = table.table("match", required=True)
    sources = table.table("sources", required=True)
    profile = DeviceProfile(
        name=table.text("name"),
        title=table.text("title"),
        arch=table.text("arch"),
        cpu=table.text("cpu") if table.has("cpu") else None,
        boards=table.texts("boards", ()),
        isa=table.texts("isa"),
        cores=table.integer("cores", low=1, high=_MOST_CORES),
        clock_mhz=_optional_number(table, "clock_mhz", _MOST_MHZ),
        memory_bytes=table.integer("memory_bytes", low=1, high=_MOST_BYTES),
        memory_usable_bytes=table.integer("memory_usable_bytes", low=1, high=_MOST_BYTES),
        memcpy_gb_per_s=_optional_number(table, "memcpy_gb_per_s", _MOST_GB_PER_S),
        memset_gb_per_s=_optional_number(table, "memset_gb_per_s", _MOST_GB_PER_S),
        threads=table.integer("threads", low=1, high=_MOST_CORES),
        match_cores=_range(matching, "cores"),
        match_memory_bytes=_range(matching, "memory_bytes"),
        sources=_sources(sources, [key for key in data if key not in _WITHOUT_SOURCE]),
    )
    table.refuse_unknown()
    matching.refuse_unknown()
    if profile.name != name:
        faults.add("name", f"{name!r}, as the file is called", repr(data.get("name")))
    if faults.faults:
        lines = "\n".join(f"  {fault}" for fault in faults.faults)
        raise ProjectError(f"{source}: {len(faults.faults)} fault(s) in the device profile\n{lines}")
    return profile
