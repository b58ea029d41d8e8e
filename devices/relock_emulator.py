"""Remake a lock of the emulator: the latest versions of its Debian release, and the wheels in the versions it names.

    python devices/relock_emulator.py aarch64

Names, selections and the versions of wheels are edited by hand before; docs/emulator.md describes the steps.
"""

from __future__ import annotations

import hashlib
import lzma
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LOCKS = Path(__file__).parent / "edgeml_devices" / "emulator" / "locks"
# Not the mirror that packages come from: nothing but TLS vouches for what is read here.
ARCHIVE = "https://deb.debian.org/debian"
SUITES = {"qemu-newest": "bookworm-backports"}
SUITE = "bookworm"
TIMEOUT_S = 60.0


def package_index(text: str) -> dict[str, dict[str, str]]:
    """The packages of a release by name, each with its fields (``Packages`` of the archive)."""
    entries = (dict(re.findall(r"^(\S+): (.*)$", block, re.MULTILINE)) for block in text.split("\n\n"))
    return {entry["Package"]: entry for entry in entries if entry}


def relocked(text: str, index: Mapping[str, Mapping[str, str]], wheel: Callable[[str, str, str, str], Path]) -> str:
    """The lock with new pins; everything else stays as it is.

    Args:
        text: The lock.
        index: :func:`package_index`.
        wheel: Fetches the wheel of a name, a version, a Python version, and platforms as TOML.

    Returns:
        The new text.
    """
    blocks, site = [], ""
    for block in text.split("\n\n"):
        new = block
        if block.startswith("[[packages]]"):
            found = index[_value(block, "name")]
            new = _pinned(block, version=found["Version"], pool=found["Filename"], sha256=found["SHA256"])
            new = _sized(new, int(found["Size"]))
        elif block.startswith("[[sites]]"):
            site = block
        elif block.startswith("[[sites.wheels]]"):
            python, platforms = _value(site, "python_version"), site.partition("platforms = ")[2]
            path = wheel(_value(block, "name"), _value(block, "version"), python, platforms)
            content = path.read_bytes()
            new = _sized(_pinned(block, file=path.name, sha256=hashlib.sha256(content).hexdigest()), len(content))
        blocks.append(new)
    return "\n\n".join(blocks)


def _value(block: str, key: str) -> str:
    found = re.search(rf'^{key} = "(.*)"$', block, re.MULTILINE)
    if found is None:
        raise SystemExit(f"expected a key {key!r} in\n{block}")
    return found[1]


def _pinned(block: str, **pins: str) -> str:
    for key, value in pins.items():
        block = block.replace(f'{key} = "{_value(block, key)}"', f'{key} = "{value}"')
    return block


def _sized(block: str, size_bytes: int) -> str:
    return re.sub(r"^size_bytes = \d+", f"size_bytes = {size_bytes}", block, flags=re.MULTILINE)


def _fetch_wheel(folder: Path) -> Callable[[str, str, str, str], Path]:
    def fetch(name: str, version: str, python: str, platforms: str) -> Path:
        into = Path(tempfile.mkdtemp(dir=folder))
        tags = [word for tag in re.findall(r'"([^"]+)"', platforms) for word in ("--platform", tag)]
        target = ["--python-version", python, "--implementation", "cp", "--only-binary", ":all:", "--no-deps"]
        command = [sys.executable, "-m", "pip", "download", "--quiet", *target, *tags, "--dest", str(into)]
        subprocess.run([*command, f"{name}=={version}"], check=True)
        (path,) = into.iterdir()
        return path

    return fetch


def main(name: str) -> None:
    """Remake the lock of one part in its place."""
    path = LOCKS / f"{name}.toml"
    text = path.read_text(encoding="utf-8")
    architecture = re.search(r'_(\w+)\.deb"$', text, re.MULTILINE)
    if architecture is None:
        raise SystemExit(f"{path}: nothing to remake, it has no packages")
    address = f"{ARCHIVE}/dists/{SUITES.get(name, SUITE)}/main/binary-{architecture[1]}/Packages.xz"
    with urllib.request.urlopen(address, timeout=TIMEOUT_S) as response:
        index = package_index(lzma.decompress(response.read()).decode())
    with tempfile.TemporaryDirectory() as folder:
        path.write_text(relocked(text, index, _fetch_wheel(Path(folder))), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
