"""Where in the cache what lies."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Layout", "cache_folder"]


def cache_folder(environ: Mapping[str, str] | None = None) -> Path:
    """The folder in which edgeml keeps what can be fetched or computed again.

    Args:
        environ: Environment; the process's own by default.

    Returns:
        ``$EDGEML_CACHE``, else ``$XDG_CACHE_HOME/edgeml``, else ``~/.cache/edgeml`` (XDG Base Directory Specification,
        which has relative paths in XDG_CACHE_HOME ignored).
    """
    environ = os.environ if environ is None else environ
    if own := environ.get("EDGEML_CACHE"):
        return Path(own).expanduser().absolute()
    shared = Path(environ.get("XDG_CACHE_HOME", ""))
    return (shared if shared.is_absolute() else Path.home() / ".cache") / "edgeml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The emulator's part of the cache.

    Attributes:
        folder: Its folder. Nothing outside it is ever written.
    """

    folder: Path

    @classmethod
    def default(cls) -> Layout:
        """The one below :func:`cache_folder`."""
        return cls(folder=cache_folder() / "emulator")

    @property
    def lock_file(self) -> Path:
        """Held by the process that changes the cache."""
        return self.folder / ".lock"

    @property
    def downloads(self) -> Path:
        """Files on their way, kept until what they belong to is complete."""
        return self.folder / "downloads"

    @property
    def plugins(self) -> Path:
        """Compiled plug-ins."""
        return self.folder / "plugins"

    def plugin(self, digest: str) -> Path:
        """The plug-in that was compiled from the source of this digest."""
        return self.plugins / f"count-{digest}.so"

    def part(self, name: str) -> Path:
        """The folder of a complete part."""
        return self.folder / name

    def partial(self, name: str) -> Path:
        """Where a part is put together; renamed when it is complete."""
        return self.folder / f"{name}.partial"

    def old(self, name: str) -> Path:
        """Where a part that is being replaced stands for a moment."""
        return self.folder / f"{name}.old"

    def checked(self, name: str) -> Path:
        """Which guests of a complete part were seen to run; goes with the part."""
        return self.part(name) / "checked.txt"

    def root(self, name: str) -> Path:
        """Where a part's Debian packages are unpacked."""
        return self.part(name) / "root"

    def site(self, name: str, site: str) -> Path:
        """Where a site's wheels are unpacked."""
        return self.part(name) / "sites" / site
