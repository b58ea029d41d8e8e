"""The plug-in that counts, compiled from the source that comes along."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from edgeml_runtime.errors import StorageError, TargetError

if TYPE_CHECKING:
    from edgeml_devices.emulator.layout import Layout

__all__ = ["build_plugin", "compiler", "plugin_sources"]

SOURCES = ("classify.h", "count.c")
COMPILERS = ("cc", "gcc", "clang")
OPTIONS = ("-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wl,--unresolved-symbols=ignore-all")
LIMIT_S = 120.0
STDERR_TAIL = 800


def plugin_sources() -> dict[str, bytes]:
    """The plug-in's files by name."""
    folder = resources.files("edgeml_devices.emulator").joinpath("plugin")
    return {name: folder.joinpath(name).read_bytes() for name in SOURCES}


def compiler() -> str | None:
    """The C compiler: what the variable CC names, else the first of those usual on Linux; None if there is none."""
    return next((found for name in (os.environ.get("CC"), *COMPILERS) if name and (found := shutil.which(name))), None)


def build_plugin(layout: Layout) -> Path:
    """The compiled plug-in, compiled unless this source was already.

    Args:
        layout: The cache.

    Returns:
        The shared object.

    Raises:
        TargetError: There is no C compiler, or it fails.
        StorageError: The disk is full.
    """
    sources = plugin_sources()
    digest = hashlib.sha256(b"\0".join((*sources.values(), " ".join(OPTIONS).encode()))).hexdigest()
    place = layout.plugin(digest[:16])
    if place.is_file():
        return place
    found = compiler()
    if found is None:
        raise TargetError(
            "counting instructions needs a C compiler once, and none of cc, gcc and clang is on the PATH: install one "
            "(Debian, Ubuntu: apt install gcc libc6-dev), or name it in the variable CC, and run the command again"
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="build-", dir=place.parent) as folder:
            for name, content in sources.items():
                Path(folder, name).write_bytes(content)
            made = Path(folder, place.name)
            _compile(found, Path(folder, SOURCES[-1]), made)
            made.replace(place)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StorageError(f"{layout.folder}: expected room for the plug-in, found: {error.strerror}") from error
    return place


def _compile(found: str, source: Path, made: Path) -> None:
    try:
        done = subprocess.run(
            [found, *OPTIONS, "-o", str(made), str(source)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise TargetError(f"{found} did not compile the plug-in within {LIMIT_S:g} s") from error
    if done.returncode != 0:
        raise TargetError(
            f"expected {found} to compile the plug-in that counts instructions, found exit status {done.returncode}:\n"
            f"{done.stderr[-STDERR_TAIL:].strip()}\nInstall a C compiler with its headers (Debian, Ubuntu: apt install "
            "gcc libc6-dev), or name another one in the variable CC."
        )
