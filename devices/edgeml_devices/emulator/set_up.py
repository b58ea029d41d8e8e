"""Setting an architecture up, and opening what was set up.

A part of the cache is absent, outdated (another lock), damaged, or complete. Set-up makes every part that it needs and
that is not complete; whatever an interrupted process left beside the part is cleared away first.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeml_devices.emulator.assemble import assemble, clear_torn, is_torn
from edgeml_devices.emulator.exclusive import exclusive
from edgeml_devices.emulator.fetch import Mirrors
from edgeml_devices.emulator.layout import Layout
from edgeml_devices.emulator.lock import Lock, read_lock
from edgeml_devices.emulator.plugin_build import build_plugin
from edgeml_devices.emulator.proof import GuestCheck, ensure_runs
from edgeml_devices.emulator.qemus import BINARIES, cached_counting, cached_newest, check_known, find_counting
from edgeml_devices.emulator.stamp import PartState, part_bytes, part_state
from edgeml_devices.emulator.sysroot import Emulator, Site, Sysroot
from edgeml_runtime.errors import InputError, TargetError
from edgeml_runtime.progress import ProgressEvent, silent

if TYPE_CHECKING:
    from edgeml_runtime.progress import Progress

__all__ = ["ARCHITECTURES", "SetUp", "open_sysroot", "set_up_emulator"]

ARCHITECTURES = tuple(BINARIES)
NEWEST, COUNTABLE = "qemu-newest", "qemu-countable"
# Only these versions crash under the emulator that counts; the other sites run under both.
NOT_COUNTABLE = "newest"
GUEST_PYTHON = "usr/bin/python3.11"
DISTRIBUTION_PACKAGES = "usr/lib/python3/dist-packages"
NUMPY_PACKAGE = "python3-numpy"
# Without the site module: Debian's would add /usr/local of the host.
GUEST_OPTIONS = ("-s", "-S")


@dataclass(frozen=True, slots=True, kw_only=True)
class SetUp:
    """What set-up did, and what there is.

    Attributes:
        architecture: What was set up.
        folder: The emulator's part of the cache.
        sysroot: How to run it.
        made: Parts that were made or repaired, with the state they were in; empty if all was there.
        disk_bytes: What the parts of this architecture take, emulators included.
        checks: What was started to see that it runs; empty if it was seen before and nothing was made or verified.
        seconds: How long it took.
    """

    architecture: str
    folder: Path
    sysroot: Sysroot
    made: tuple[tuple[str, PartState], ...]
    disk_bytes: int
    checks: tuple[GuestCheck, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The same as values that JSON knows."""
        return {
            "architecture": self.architecture,
            "folder": str(self.folder),
            "python": str(self.sysroot.python),
            "sites": [
                {"name": site.name, "versions": dict(site.versions), "countable": site.countable}
                for site in self.sysroot.sites
            ],
            "qemu": {
                role: {"version": emulator.version, "command": list(emulator.command)}
                for role, emulator in (("newest", self.sysroot.newest), ("counting", self.sysroot.counting))
            },
            "made": [{"part": name, "was": state.value} for name, state in self.made],
            "disk_bytes": self.disk_bytes,
            "checks": [asdict(check) for check in self.checks],
            "seconds": round(self.seconds, 3),
        }


def set_up_emulator(
    architecture: str,
    *,
    layout: Layout | None = None,
    mirrors: Mirrors | None = None,
    verify: bool = False,
    progress: Progress = silent,
) -> SetUp:
    """Make an architecture ready to run; what is ready stays as it is, what is damaged is repaired.

    Args:
        architecture: One of :data:`ARCHITECTURES`.
        layout: The cache; the default one by default.
        mirrors: Where Debian packages come from; Debian's own and ``EDGEML_DEBIAN_MIRROR`` by default.
        verify: Compare the checksum of every file, and start the guests even if nothing had to be made.
        progress: Told of everything that takes time.

    Returns:
        What was done.

    Raises:
        InputError: No such architecture, or a cache whose path the emulators cannot take.
        TargetError: Not Linux on x86-64, there is no C compiler, something cannot be fetched, or a guest does not run.
        StorageError: The disk is full.
        OSError: The disk, otherwise.
    """
    started_s = time.monotonic()
    check_known(architecture)
    _check_host(sys.platform, platform.machine())
    layout = layout or Layout.default()
    _check_folder(layout)
    mirrors = mirrors or Mirrors.from_environment()
    build_plugin(layout)  # first: without a compiler nothing need be fetched
    made = tuple(
        (lock.name, state)
        for lock in _needed(architecture)
        if (state := _ensure(layout, lock, mirrors, verify, progress)) is not PartState.COMPLETE
    )
    sysroot = open_sysroot(architecture, layout=layout)
    checks = ensure_runs(sysroot, layout.checked(architecture), progress, anew=bool(made) or verify)
    return SetUp(
        architecture=architecture,
        folder=layout.folder,
        sysroot=sysroot,
        made=made,
        disk_bytes=sum(part_bytes(layout.part(lock.name)) for lock in _needed(architecture)),
        checks=checks,
        seconds=time.monotonic() - started_s,
    )


def open_sysroot(architecture: str, *, layout: Layout | None = None) -> Sysroot:
    """What was set up for an architecture, after a look at which files there are and how large.

    Args:
        architecture: One of :data:`ARCHITECTURES`.
        layout: The cache; the default one by default.

    Returns:
        The sysroot.

    Raises:
        InputError: No such architecture.
        TargetError: It is not set up, or incomplete.
    """
    check_known(architecture)
    layout = layout or Layout.default()
    for lock in _needed(architecture):
        state = part_state(layout.part(lock.name), lock.digest)
        if state is not PartState.COMPLETE:
            raise TargetError(
                f"expected the emulator for {architecture} in {layout.folder}, found {lock.name} {state.value}: run "
                f"edgeml devices setup-emulator {architecture}"
            )
    counting = find_counting(architecture) or cached_counting(layout.root(COUNTABLE), architecture)
    return _sysroot(layout, read_lock(architecture), cached_newest(layout.root(NEWEST), architecture), counting)


def _sysroot(layout: Layout, lock: Lock, newest: Emulator, counting: Emulator) -> Sysroot:
    if not lock.packages:
        host = Site(name="host", folders=(), versions=(), countable=True)
        own = Path(sys.executable)
        return Sysroot(
            architecture=lock.name,
            root=None,
            python=own,
            python_options=(),
            sites=(host,),
            newest=newest,
            counting=counting,
        )
    root = layout.root(lock.name)
    packages = root / DISTRIBUTION_PACKAGES
    shared = (packages,) if packages.is_dir() else ()
    numpy = tuple(("numpy", package.upstream_version) for package in lock.packages if package.name == NUMPY_PACKAGE)
    return Sysroot(
        architecture=lock.name,
        root=root,
        python=root / GUEST_PYTHON,
        python_options=GUEST_OPTIONS,
        sites=tuple(
            Site(
                name=site.name,
                folders=(layout.site(lock.name, site.name), *shared),
                versions=(*numpy, *((wheel.name, wheel.version) for wheel in site.wheels)),
                countable=site.name != NOT_COUNTABLE,
            )
            for site in lock.sites
        ),
        newest=newest,
        counting=counting,
    )


def _needed(architecture: str) -> tuple[Lock, ...]:
    """Locks of the parts that an architecture needs on this machine."""
    own = (COUNTABLE,) if find_counting(architecture) is None else ()
    return tuple(read_lock(name) for name in (NEWEST, *own, architecture))


def _ensure(layout: Layout, lock: Lock, mirrors: Mirrors, verify: bool, progress: Progress) -> PartState:
    """Make a part unless it is complete, which takes no right to write; returns the state that was found."""
    if verify:
        progress(ProgressEvent(step=f"verify {lock.name}", done=0, total=1))
    state = part_state(layout.part(lock.name), lock.digest, thorough=verify)
    if state is PartState.COMPLETE and not is_torn(layout, lock.name):
        return state
    with exclusive(layout.lock_file, progress):
        clear_torn(layout, lock.name)
        state = part_state(layout.part(lock.name), lock.digest, thorough=verify)
        if state is not PartState.COMPLETE:
            assemble(layout, lock, mirrors, progress)
    return state


def _check_folder(layout: Layout) -> None:
    """PYTHONPATH and the loader's list of folders know no escape for their separator, ``-plugin`` none for a comma."""
    if any(mark in str(layout.folder) for mark in (os.pathsep, ",")):
        raise InputError(
            f"expected a cache whose path has no colon and no comma, found {layout.folder}: name another one in "
            "EDGEML_CACHE"
        )


def _check_host(system: str, machine: str) -> None:
    if (system, machine) != ("linux", "x86_64"):
        raise TargetError(
            f"the emulator runs on Linux on x86-64, and this is {system} on {machine}: use a machine or a container "
            "with Linux on x86-64"
        )
