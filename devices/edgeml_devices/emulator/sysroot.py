"""What a set-up offers: the guest's Python, its sites, and the emulators that run them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeml_runtime.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Emulator", "Site", "Sysroot"]

# Nothing of the host's environment: it could change what is counted.
FIXED = {"HOME": "/", "ORT_DISABLE_TELEMETRY": "1", "PATH": "/usr/bin:/bin"}

# The GNU C library keeps seven freed blocks of a size at hand; where others go, and what it takes to get them back,
# hangs on what lies beside them. This is the most it can keep (MAX_TCACHE_COUNT in malloc.c of version 2.36).
MALLOC = "glibc.malloc.tcache_count=65535"


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulator:
    """A QEMU in user mode.

    Attributes:
        version: Its version, such as ``"7.2.22"``.
        command: The words that start it.
        plugins: Whether it loads plug-ins of API version 1, and so can count.
    """

    version: str
    command: tuple[str, ...]
    plugins: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Backends that are installed together.

    Attributes:
        name: ``"newest"``, ``"countable"``, ``"tflite"``, or ``"host"`` for what this machine's Python has.
        folders: Where they lie; empty for ``"host"``.
        versions: (distribution, version) of each; empty for ``"host"``.
        countable: Whether the emulator that counts can run them; ONNX Runtime 1.32.0 and ai-edge-litert 2.3.0
            crash under QEMU 7.2.
    """

    name: str
    folders: tuple[Path, ...]
    versions: tuple[tuple[str, str], ...]
    countable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysroot:
    """An architecture that this machine can run.

    Attributes:
        architecture: ``"aarch64"``, ``"armv7"`` or ``"x86-64"``.
        root: The guest's file system, or None where the guest uses the host's.
        python: The guest's Python.
        python_options: Options it is always started with.
        sites: What there is to run.
        newest: The emulator that runs every site, and cannot count.
        counting: The emulator that counts.
    """

    architecture: str
    root: Path | None
    python: Path
    python_options: tuple[str, ...]
    sites: tuple[Site, ...]
    newest: Emulator
    counting: Emulator

    def site(self, name: str) -> Site:
        """The site of that name.

        Raises:
            InputError: There is none; lists those there are.
        """
        for site in self.sites:
            if site.name == name:
                return site
        names = ", ".join(site.name for site in self.sites)
        raise InputError(f"expected a site of {self.architecture} ({names}), found {name!r}")

    def command(
        self,
        arguments: tuple[str, ...],
        *,
        cpu: str,
        emulator: Emulator,
        plugin: str | None = None,
        root: Path | None = None,
    ) -> tuple[str, ...]:
        """The command line that runs the guest's Python.

        Args:
            arguments: What follows ``python``.
            cpu: QEMU's name of the CPU model, such as ``"cortex-a76"``; ``qemu-aarch64 -cpu help`` lists them.
            emulator: :attr:`newest` or :attr:`counting`.
            plugin: A plug-in with its arguments, as QEMU's ``-plugin`` takes them.
            root: What the guest sees in place of :attr:`root`, or None for that.

        Returns:
            The words; run them with :meth:`environment`.

        Raises:
            InputError: A plug-in for an emulator that loads none.
        """
        if plugin is not None and not emulator.plugins:
            raise InputError(f"expected an emulator with plug-ins to count, found QEMU {emulator.version} without")
        seen = root or self.root
        prefix = ("-L", str(seen)) if seen is not None else ()
        counting = ("-plugin", plugin) if plugin is not None else ()
        python = self.python
        if root is not None and self.root is not None:
            python = root / python.relative_to(self.root)
        return (*emulator.command, *prefix, "-cpu", cpu, *counting, str(python), *self.python_options, *arguments)

    def environment(self, site: Site, extra_folders: tuple[Path, ...] = ()) -> dict[str, str]:
        """The guest's whole environment: one thread, fixed hashes, freed memory at hand, nothing beside the code.

        Args:
            site: What it imports from.
            extra_folders: Further folders to import from, before the site's.

        Returns:
            The variables.
        """
        folders = [*map(str, extra_folders), *map(str, site.folders)]
        return {
            **FIXED,
            **({"PYTHONPATH": os.pathsep.join(folders)} if folders else {}),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
            "PYTHONNOUSERSITE": "1",
            "PYTHONSAFEPATH": "1",
            "GLIBC_TUNABLES": MALLOC,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
