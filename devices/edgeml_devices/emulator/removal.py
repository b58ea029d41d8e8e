"""Removing what set-up put into the cache, and nothing else."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from edgeml_devices.emulator.assemble import drop_downloads
from edgeml_devices.emulator.exclusive import exclusive
from edgeml_devices.emulator.layout import Layout
from edgeml_devices.emulator.lock import LOCK_NAMES, read_lock
from edgeml_devices.emulator.qemus import BINARIES, check_known
from edgeml_devices.emulator.stamp import part_bytes
from edgeml_runtime.progress import silent

if TYPE_CHECKING:
    from edgeml_runtime.progress import Progress

__all__ = ["remove_emulator"]


def remove_emulator(
    architecture: str | None = None, *, layout: Layout | None = None, progress: Progress = silent
) -> int:
    """Remove one architecture, or everything; the emulators go with the last architecture.

    Args:
        architecture: One of :data:`~edgeml_devices.emulator.set_up.ARCHITECTURES`, or None for all.
        layout: The cache; the default one by default.
        progress: Told when another process has to be waited for.

    Returns:
        Bytes that were freed; 0 where nothing was set up.

    Raises:
        InputError: No such architecture.
        OSError: The disk, or a file of somebody else's.
    """
    if architecture is not None:
        check_known(architecture)
    layout = layout or Layout.default()
    if not layout.folder.is_dir():
        return 0
    with exclusive(layout.lock_file, progress):
        others = [name for name in BINARIES if name != architecture and layout.part(name).exists()]
        names = (architecture,) if architecture is not None and others else LOCK_NAMES
        everything = names == LOCK_NAMES
        folders = [place(name) for name in names for place in (layout.part, layout.partial, layout.old)]
        freed_bytes = sum(drop_downloads(layout, read_lock(name)) for name in names)
        if everything:
            folders += [layout.downloads, layout.plugins]
        for folder in folders:
            if folder.exists():
                freed_bytes += part_bytes(folder)
                shutil.rmtree(folder)
        if everything:
            layout.lock_file.unlink()
            _remove_if_empty(layout)
    return freed_bytes


def _remove_if_empty(layout: Layout) -> None:
    for folder in (layout.folder, layout.folder.parent):
        try:
            folder.rmdir()
        except OSError:
            return
