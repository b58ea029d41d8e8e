"""Putting one part of the cache together: fetched, unpacked beside its place, stamped, and put there in one move."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeml_devices.emulator.deb import unpack_deb
from edgeml_devices.emulator.fetch import PART_ENDING, fetch
from edgeml_devices.emulator.stamp import write_stamp
from edgeml_devices.emulator.wheels import PIP_FOLDER, check_pip, fetch_wheel, unpack_wheel
from edgeml_runtime.errors import StorageError
from edgeml_runtime.progress import ProgressEvent

if TYPE_CHECKING:
    from pathlib import Path

    from edgeml_devices.emulator.fetch import Mirrors
    from edgeml_devices.emulator.layout import Layout
    from edgeml_devices.emulator.lock import Lock, Package
    from edgeml_runtime.progress import Progress

__all__ = ["assemble", "clear_torn", "drop_downloads", "is_torn"]

MEGABYTE = 1_000_000
FULL = (errno.ENOSPC, errno.EDQUOT)


def is_torn(layout: Layout, name: str) -> bool:
    """Whether something of a part lies beside the part: another process is at it, or was interrupted.

    Args:
        layout: The cache.
        name: The part.
    """
    return layout.old(name).exists() or layout.partial(name).exists()


def clear_torn(layout: Layout, name: str) -> None:
    """Clear away what an interrupted process left of a part beside the part itself.

    Args:
        layout: The cache.
        name: The part.
    """
    if layout.old(name).exists() and not layout.part(name).exists():
        layout.old(name).rename(layout.part(name))
    for folder in (layout.old(name), layout.partial(name), *layout.downloads.glob(f"{PIP_FOLDER}*")):
        shutil.rmtree(folder, ignore_errors=True)


def drop_downloads(layout: Layout, lock: Lock) -> int:
    """Remove what was fetched for a part.

    Args:
        layout: The cache, held by this process.
        lock: What the part is made of.

    Returns:
        Bytes that were freed.
    """
    freed_bytes = 0
    for path in _downloads(layout, lock):
        for file in (path, path.with_name(path.name + PART_ENDING)):
            if file.is_file():
                freed_bytes += file.stat().st_size
                file.unlink()
    return freed_bytes


def assemble(layout: Layout, lock: Lock, mirrors: Mirrors, progress: Progress) -> None:
    """Make a part anew; the one that is there stays until the new one is complete.

    Args:
        layout: The cache, held by this process.
        lock: What the part is made of.
        mirrors: Where Debian packages come from.
        progress: Told of megabytes fetched and packages unpacked.

    Raises:
        TargetError: Something cannot be fetched, or pip is missing. What was fetched stays, for the next attempt.
        StorageError: The disk is full. Nothing of the part stays.
        OSError: The disk, otherwise.
    """
    if lock.wheels:
        check_pip()
    try:
        layout.downloads.mkdir(parents=True, exist_ok=True)
        _check_space(layout, lock)
        _fetch_all(layout, lock, mirrors, progress)
        _unpack_all(layout, lock, progress)
        write_stamp(layout.partial(lock.name), lock.digest)
        _put_in_place(layout, lock.name)
    except OSError as error:
        if error.errno not in FULL:
            raise
        drop_downloads(layout, lock)
        raise _full(layout, lock, str(error.strerror)) from error
    finally:
        shutil.rmtree(layout.partial(lock.name), ignore_errors=True)
    drop_downloads(layout, lock)


def _put_in_place(layout: Layout, name: str) -> None:
    part, old = layout.part(name), layout.old(name)
    if part.exists():
        part.rename(old)
    layout.partial(name).rename(part)
    shutil.rmtree(old, ignore_errors=True)


def _check_space(layout: Layout, lock: Lock) -> None:
    have_bytes = sum(path.stat().st_size for path in _downloads(layout, lock) if path.is_file())
    needed_bytes = lock.download_bytes - have_bytes + lock.unpacked_bytes
    free_bytes = shutil.disk_usage(layout.folder).free
    if free_bytes < needed_bytes:
        raise _full(layout, lock, f"{free_bytes / MEGABYTE:.0f} MB are free")


def _full(layout: Layout, lock: Lock, found: str) -> StorageError:
    needed = (lock.download_bytes + lock.unpacked_bytes) / MEGABYTE
    return StorageError(
        f"{layout.folder}: expected {needed:.0f} MB of room for {lock.name}, found: {found}. Make room, or name "
        "another disk in EDGEML_CACHE, and run the command again; nothing of it was kept."
    )


def _download(layout: Layout, package: Package) -> Path:
    return layout.downloads / package.pool.rpartition("/")[2]


def _downloads(layout: Layout, lock: Lock) -> tuple[Path, ...]:
    return (
        *(_download(layout, package) for package in lock.packages),
        *(layout.downloads / wheel.file for wheel in lock.wheels),
    )


@dataclass(slots=True, kw_only=True)
class _Meter:
    """Bytes of a part that are there, told in whole megabytes, each once."""

    lock: Lock
    progress: Progress
    before_bytes: int = 0
    told: ProgressEvent | None = None
    message: str = ""

    def __call__(self, file_bytes: int) -> None:
        total = -(-self.lock.download_bytes // MEGABYTE)
        done = (self.before_bytes + file_bytes) // MEGABYTE
        if self.before_bytes + file_bytes == self.lock.download_bytes:
            done = total
        event = ProgressEvent(step=f"fetch {self.lock.name}, MB", done=done, total=total, message=self.message)
        if event != self.told:
            self.told = event
            self.progress(event)


def _fetch_all(layout: Layout, lock: Lock, mirrors: Mirrors, progress: Progress) -> None:
    meter = _Meter(lock=lock, progress=progress)
    for package in lock.packages:
        meter.message = f"{package.name} {package.version}"
        meter(0)
        into = _download(layout, package)
        fetch(
            package.pool,
            into,
            size_bytes=package.size_bytes,
            sha256=package.sha256,
            mirrors=mirrors,
            arrived=meter,
        )
        meter.before_bytes += package.size_bytes
    for wheel in lock.wheels:
        site = next(site for site in lock.sites if wheel in site.wheels)
        meter.message = f"{wheel.name} {wheel.version}"
        meter(0)
        fetch_wheel(wheel, site, layout.downloads)
        meter.before_bytes += wheel.size_bytes
        meter(0)


def _unpack_all(layout: Layout, lock: Lock, progress: Progress) -> None:
    partial = layout.partial(lock.name)
    (partial / "root").mkdir(parents=True)
    total = len(lock.packages) + sum(len(site.wheels) for site in lock.sites)
    step = f"unpack {lock.name}"
    done = 0
    for package in lock.packages:
        progress(ProgressEvent(step=step, done=done, total=total, message=package.name))
        unpack_deb(_download(layout, package), partial / "root" / package.place, keep=package.keep)
        done += 1
    for site in lock.sites:
        for wheel in site.wheels:
            progress(ProgressEvent(step=step, done=done, total=total, message=wheel.name))
            unpack_wheel(layout.downloads / wheel.file, partial / "sites" / site.name)
            done += 1
    for path, target in lock.links:
        os.symlink(target, partial / "root" / path)
    if total:
        progress(ProgressEvent(step=step, done=total, total=total))
