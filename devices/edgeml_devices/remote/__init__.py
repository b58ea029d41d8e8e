"""Measuring on other machines: a device is reached over ssh or adb, and nothing is left behind there."""

from edgeml_devices.remote.adb import AdbLimits
from edgeml_devices.remote.address import AdbAddress, SshAddress, parse_target
from edgeml_devices.remote.many import ManyReport, TargetReport, bench_targets
from edgeml_devices.remote.native import NativeTarget
from edgeml_devices.remote.ssh import SshLimits
from edgeml_devices.remote.target import AdbTarget, SshTarget

__all__ = [
    "AdbAddress",
    "AdbLimits",
    "AdbTarget",
    "ManyReport",
    "NativeTarget",
    "SshAddress",
    "SshLimits",
    "SshTarget",
    "TargetReport",
    "bench_targets",
    "parse_target",
]
