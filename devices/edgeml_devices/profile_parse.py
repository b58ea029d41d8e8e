"""TOML values → :class:`DeviceProfile`, with every fault reported at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeml_devices.profile import DeviceProfile, Range, ReferenceLatency, Statistic
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.fields import FaultCollector, Table, describe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_devices.emulator.classes import ClassCounts

__all__ = ["parse_profile", "read_reference"]

_MOST_CORES = 4096
_MOST_BYTES = 1 << 50
_MOST_MHZ = 20_000
_MOST_GB_PER_S = 10_000
_MOST_GMAC_PER_S = 1_000_000
_MOST_MS = 3_600_000
_MOST_INSTRUCTIONS = 1 << 50
_WITHOUT_SOURCE = ("name", "title", "arch", "match", "references", "sources")


def _optional_number(table: Table, key: str, high: float) -> float | None:
    return table.number(key, low=0.001, high=high) if table.has(key) else None


def _optional_integer(table: Table, key: str, high: int) -> int | None:
    return table.integer(key, low=1, high=high) if table.has(key) else None


def _optional_text(table: Table, key: str) -> str | None:
    return table.text(key) if table.has(key) else None


def _range(table: Table, key: str) -> Range:
    expected = "two numbers [smallest, largest]"
    values = table.numbers(key, expected)
    if len(values) == 2 and 0 < values[0] <= values[1]:
        return Range(low=values[0], high=values[1])
    if values:
        table.faults.add(table.at(key), expected, repr(list(values)))
    return Range(low=0, high=0)


def _instructions(table: Table) -> ClassCounts:
    from edgeml_devices.emulator.classes import CLASS_TITLES, ClassCounts

    counts = ClassCounts.of(table.integer(key, 0, low=0, high=_MOST_INSTRUCTIONS) for key in CLASS_TITLES)
    if table.ok and counts.total == 0:
        table.faults.add(table.path, f"a count of at least one of {', '.join(CLASS_TITLES)}", "none")
    table.refuse_unknown()
    return counts


def read_reference(item: Any, path: str, faults: FaultCollector) -> ReferenceLatency:
    """Read one table of ``[[references]]``.

    Args:
        item: The table.
        path: Its key path, for faults.
        faults: Told of every fault.

    Returns:
        The reference; what has a fault in it is not to be used.
    """
    table = Table(item, path, faults)
    counted = table.has("instructions") or table.has("file_bytes")
    reference = ReferenceLatency(
        model=table.text("model"),
        precision=_optional_text(table, "precision"),
        runtime=table.text("runtime"),
        threads=_optional_integer(table, "threads", _MOST_CORES),
        latency_ms=table.number("latency_ms", low=1e-6, high=_MOST_MS),
        statistic=table.member("statistic", Statistic) if table.has("statistic") else None,
        source=table.text("source", question="Where does the figure come from?"),
        file_bytes=table.integer("file_bytes", low=1, high=_MOST_BYTES) if counted else None,
        instructions=_instructions(table.table("instructions", required=True)) if counted else None,
    )
    table.refuse_unknown()
    return reference


def _sources(table: Table, figures: list[str]) -> dict[str, str]:
    """The source of every figure; one that is missing is a fault, and so is one of no figure."""
    sources = {key: table.text(key, question="Where does the figure come from?") for key in figures}
    table.refuse_unknown()
    return sources


def _read(data: Mapping[str, Any], table: Table) -> DeviceProfile:
    faults = table.faults
    matching = table.table("match", required=True)
    sources = table.table("sources", required=True)
    profile = DeviceProfile(
        name=table.text("name"),
        title=table.text("title"),
        arch=table.text("arch"),
        cpu=_optional_text(table, "cpu"),
        boards=table.texts("boards", ()),
        isa=table.texts("isa"),
        cores=table.integer("cores", low=1, high=_MOST_CORES),
        clock_mhz=_optional_number(table, "clock_mhz", _MOST_MHZ),
        memory_bytes=_optional_integer(table, "memory_bytes", _MOST_BYTES),
        memory_usable_bytes=_optional_integer(table, "memory_usable_bytes", _MOST_BYTES),
        memcpy_gb_per_s=_optional_number(table, "memcpy_gb_per_s", _MOST_GB_PER_S),
        memset_gb_per_s=_optional_number(table, "memset_gb_per_s", _MOST_GB_PER_S),
        fp32_gmac_per_s=_optional_number(table, "fp32_gmac_per_s", _MOST_GMAC_PER_S),
        int8_gmac_per_s=_optional_number(table, "int8_gmac_per_s", _MOST_GMAC_PER_S),
        threads=table.integer("threads", low=1, high=_MOST_CORES),
        runtimes=table.texts("runtimes", ()),
        emulator_cpu=_optional_text(table, "emulator_cpu"),
        match_cores=_range(matching, "cores"),
        match_memory_bytes=_range(matching, "memory_bytes") if matching.has("memory_bytes") else None,
        references=tuple(
            read_reference(item, f"references[{index}]", faults)
            for index, item in enumerate(table.items("references", required=False))
        ),
        sources=_sources(sources, [key for key in data if key not in _WITHOUT_SOURCE]),
    )
    table.refuse_unknown()
    matching.refuse_unknown()
    return profile


def _check_together(profile: DeviceProfile, faults: FaultCollector) -> None:
    """The figures go together: a device counts as itself."""
    built_in, usable, memory = profile.memory_bytes, profile.memory_usable_bytes, profile.match_memory_bytes
    if faults.clean("cores", "match.cores") and profile.cores not in profile.match_cores:
        faults.add("match.cores", f"a range that holds cores, {profile.cores}", describe(profile.match_cores.to_list()))
    if not faults.clean("memory_bytes", "memory_usable_bytes", "match.memory_bytes"):
        return
    if built_in is not None and usable is not None and usable > built_in:
        faults.add("memory_usable_bytes", f"at most memory_bytes, {built_in}", str(usable))
    figure = usable or built_in
    if memory is not None and figure is not None and figure not in memory:
        faults.add("match.memory_bytes", f"a range that holds the usable memory, {figure}", describe(memory.to_list()))


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
    profile = _read(data, Table(data, "", faults))
    if profile.name != name and faults.clean("name"):
        faults.add("name", f"{name!r}, as the file is called", describe(profile.name))
    _check_together(profile, faults)
    if faults.faults:
        lines = "\n".join(f"  {fault}" for fault in faults.faults)
        raise ProjectError(f"{source}: {len(faults.faults)} fault(s) in the device profile\n{lines}")
    return profile
