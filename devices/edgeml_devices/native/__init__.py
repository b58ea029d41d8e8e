"""Native programs that measure a bare model on a device without Python: their options, output and figures.

How they are brought to a device is :mod:`edgeml_devices.remote.native`.
"""

from edgeml_devices.native.runner import Runner, RunnerKind, read_runner

__all__ = ["Runner", "RunnerKind", "read_runner"]
