"""The emulator's set-up as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

__all__ = ["render_removal", "render_set_up"]

MEGABYTE = 1_000_000
REASONS = {"outdated": "it was of another edgeml", "damaged": "it was damaged"}


def render_set_up(console: Console, report: Mapping[str, Any]) -> None:
    """Show what can be run, and with what.

    Args:
        console: Where to.
        report: :meth:`edgeml_devices.emulator.SetUp.to_dict`.
    """
    ready = "ready" if report["made"] else "ready; everything was there"
    disk_mb = report["disk_bytes"] / MEGABYTE
    console.print(f"{report['architecture']} is {ready} ({disk_mb:.0f} MB, {report['seconds']:.1f} s)")
    for part in report["made"]:
        if reason := REASONS.get(part["was"]):
            console.print(f"  {part['part']} was made anew: {reason}")
    for site in report["sites"]:
        versions = ", ".join(f"{name} {version}" for name, version in site["versions"].items())
        use = "runs and can be counted" if site["countable"] else "runs, cannot be counted"
        console.print(f"  {site['name']:<10} {versions or 'the packages of this Python'}: {use}", soft_wrap=True)
    qemu = report["qemu"]
    console.print(f"  QEMU {qemu['newest']['version']} to run, {qemu['counting']['version']} to count")
    console.print(f"  in {report['folder']}", soft_wrap=True)


def render_removal(console: Console, report: Mapping[str, Any]) -> None:
    """Show what was removed.

    Args:
        console: Where to.
        report: ``removed``, ``folder`` and ``freed_bytes``.
    """
    if not report["freed_bytes"]:
        console.print(f"nothing to remove in {report['folder']}", soft_wrap=True)
        return
    what = "the emulator" if report["removed"] == "all" else report["removed"]
    console.print(f"removed {what}: {report['freed_bytes'] / MEGABYTE:.0f} MB", soft_wrap=True)
