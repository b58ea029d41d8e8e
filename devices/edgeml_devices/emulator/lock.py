"""What is fetched, pinned by size and checksum: the files in ``locks/`` as values."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any

__all__ = ["LOCK_NAMES", "Lock", "Package", "SitePin", "Wheel", "parse_lock", "read_lock"]

LOCK_NAMES = ("qemu-newest", "qemu-countable", "aarch64", "armv7", "x86-64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A Debian package.

    Attributes:
        name: Its name, such as ``"libc6"``.
        version: Its version, epoch included.
        pool: Path below a mirror's root, such as ``"pool/main/g/glibc/libc6_2.36-9_arm64.deb"``.
        size_bytes: Size of the file.
        sha256: Checksum of the file, as hexadecimal digits.
        keep: Paths in the package to unpack, each with what lies below it; empty: everything but documentation.
        place: Folder below the root to unpack into; ``"."`` is the root itself.
    """

    name: str
    version: str
    pool: str
    size_bytes: int
    sha256: str
    keep: tuple[str, ...] = ()
    place: str = "."

    @property
    def upstream_version(self) -> str:
        """The version without Debian's epoch and revision (deb-version(7))."""
        return self.version.rpartition(":")[2].rpartition("-")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel, as pip finds it in the user's own indexes.

    Attributes:
        name: Name of the distribution.
        version: Its version.
        file: Name of the wheel.
        size_bytes: Size of the file.
        sha256: Checksum of the file, as hexadecimal digits.
    """

    name: str
    version: str
    file: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePin:
    """A set of wheels that are installed together.

    Attributes:
        name: ``"newest"``, ``"countable"`` or ``"tflite"``.
        python_version: The guest's Python, such as ``"3.11"``.
        platforms: Platform tags that the guest can load.
        wheels: What is in it.
    """

    name: str
    python_version: str
    platforms: tuple[str, ...]
    wheels: tuple[Wheel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """One part of the cache, complete or absent.

    Attributes:
        name: Its name and that of its folder.
        unpacked_bytes: Disk space it takes, rounded up.
        links: Symbolic links to make below the root, as (path, target relative to the path's folder): those that a
            package's own scripts would have made.
        packages: Debian packages, unpacked into one root in this order.
        sites: Sets of wheels, each in a folder of its own.
        digest: SHA-256 of the lock file.
    """

    name: str
    unpacked_bytes: int
    links: tuple[tuple[str, str], ...]
    packages: tuple[Package, ...]
    sites: tuple[SitePin, ...]
    digest: str

    @property
    def download_bytes(self) -> int:
        """Bytes to fetch in all; a wheel that two sites share counts once."""
        packages = sum(package.size_bytes for package in self.packages)
        return packages + sum(wheel.size_bytes for wheel in self.wheels)

    @property
    def wheels(self) -> tuple[Wheel, ...]:
        """The wheels of every site, each once."""
        return tuple({wheel.sha256: wheel for site in self.sites for wheel in site.wheels}.values())


def read_lock(name: str) -> Lock:
    """Read one of the locks that come along.

    Args:
        name: One of :data:`LOCK_NAMES`.

    Returns:
        The lock.
    """
    return parse_lock(resources.files("edgeml_devices.emulator").joinpath("locks", f"{name}.toml").read_bytes())


def parse_lock(content: bytes) -> Lock:
    """Read a lock file.

    Args:
        content: The file's bytes, TOML in UTF-8.

    Returns:
        The lock.
    """
    data: dict[str, Any] = tomllib.loads(content.decode())
    return Lock(
        name=data["name"],
        unpacked_bytes=data["unpacked_bytes"],
        links=tuple((path, target) for path, target in data.get("links", ())),
        packages=tuple(
            Package(**{**entry, "keep": tuple(entry.get("keep", ()))}) for entry in data.get("packages", ())
        ),
        sites=tuple(
            SitePin(
                name=entry["name"],
                python_version=entry["python_version"],
                platforms=tuple(entry["platforms"]),
                wheels=tuple(Wheel(**wheel) for wheel in entry["wheels"]),
            )
            for entry in data.get("sites", ())
        ),
        digest=hashlib.sha256(content).hexdigest(),
    )
