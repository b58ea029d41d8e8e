"""Other CPUs on this machine: QEMU in user mode, with a Python and backends of the other architecture in a cache."""

from __future__ import annotations

from edgeml_devices.emulator.layout import cache_folder
from edgeml_devices.emulator.removal import remove_emulator
from edgeml_devices.emulator.set_up import ARCHITECTURES, SetUp, open_sysroot, set_up_emulator
from edgeml_devices.emulator.sysroot import Emulator, Site, Sysroot

__all__ = [
    "ARCHITECTURES",
    "Emulator",
    "SetUp",
    "Site",
    "Sysroot",
    "cache_folder",
    "open_sysroot",
    "remove_emulator",
    "set_up_emulator",
]
