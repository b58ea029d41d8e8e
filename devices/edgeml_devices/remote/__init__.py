"""Measuring on other machines: a device is reached over ssh, and nothing is left behind there."""

from edgeml_devices.remote.address import SshAddress, parse_target
from edgeml_devices.remote.many import ManyReport, TargetReport, bench_targets
from edgeml_devices.remote.ssh import SshLimits
from edgeml_devices.remote.target import SshTarget

__all__ = [
    "ManyReport",
    "SshAddress",
    "SshLimits",
    "SshTarget",
    "TargetReport",
    "bench_targets",
    "parse_target",
]
