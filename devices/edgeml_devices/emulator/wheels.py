"""Fetching pinned wheels with pip, from the indexes the user configured, and unpacking them."""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from edgeml_devices.emulator.fetch import file_sha256
from edgeml_runtime.errors import InputError, TargetError

if TYPE_CHECKING:
    from edgeml_devices.emulator.lock import SitePin, Wheel

__all__ = ["PIP_FOLDER", "check_pip", "fetch_wheel", "unpack_wheel"]

MAX_MEMBERS = 50_000
MAX_UNPACKED_BYTES = 1 << 30
# Everything pip writes lies in here, so that an interrupted one leaves nothing elsewhere.
PIP_FOLDER = "pip-"
PIP_TAIL_LINES = 4
PIP_LINE_LENGTH = 240
FULL = {os.strerror(code): code for code in (errno.ENOSPC, errno.EDQUOT)}


def check_pip() -> None:
    """Refuse a Python without pip before anything is fetched.

    Raises:
        TargetError: There is none.
    """
    if importlib.util.find_spec("pip") is None:
        raise TargetError(
            f"wheels are fetched with pip, and {sys.executable} has none: install it "
            f"({sys.executable} -m ensurepip) and run the command again"
        )


def fetch_wheel(wheel: Wheel, site: SitePin, into: Path) -> Path:
    """Fetch one wheel for another architecture, or find that it is there.

    Args:
        wheel: The pin.
        site: The set it belongs to: Python version and platform tags.
        into: Folder for downloads.

    Returns:
        The wheel, checked.

    Raises:
        TargetError: No index can be reached, or none has the wheel.
        OSError: The disk.
    """
    path = into / wheel.file
    if _is_pinned(path, wheel):
        return path
    path.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix=PIP_FOLDER, dir=into) as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
        done = subprocess.run(
            [*_pip_words(site), "--requirement", str(requirements), "--dest", folder],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            # Constraints are about what is installed beside other things; a pinned wheel goes into a folder of its own.
            env={**os.environ, "PIP_CONSTRAINT": os.devnull, "PIP_NO_INPUT": "1", "TMPDIR": folder},
        )
        if done.returncode != 0:
            raise _failure(wheel, done.stderr)
        found = Path(folder, wheel.file)
        if not _is_pinned(found, wheel):
            raise TargetError(f"expected pip to leave {wheel.file} with sha256 {wheel.sha256}, found another file")
        found.replace(path)
    return path


def _is_pinned(path: Path, wheel: Wheel) -> bool:
    return path.is_file() and path.stat().st_size == wheel.size_bytes and file_sha256(path) == wheel.sha256


def _pip_words(site: SitePin) -> list[str]:
    platforms = [word for tag in site.platforms for word in ("--platform", tag)]
    version = ["--python-version", site.python_version, "--implementation", "cp"]
    quiet = ["--quiet", "--disable-pip-version-check", "--progress-bar", "off", "--retries", "2", "--no-cache-dir"]
    exact = ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
    return [sys.executable, "-m", "pip", "download", *quiet, *exact, *version, *platforms]


def _failure(wheel: Wheel, stderr: str) -> Exception:
    for text, code in FULL.items():
        if text in stderr:
            return OSError(code, text)
    tail = "\n".join(f"  {line[:PIP_LINE_LENGTH]}" for line in stderr.strip().splitlines()[-PIP_TAIL_LINES:])
    return TargetError(
        f"cannot fetch {wheel.file}; pip says:\n{tail}\nCheck the network and the index (pip config list), and run the "
        "command again: it goes on where it stopped."
    )


def unpack_wheel(wheel: Path, into: Path) -> None:
    """Unpack a wheel's packages; scripts and data for other places are not needed.

    Args:
        wheel: The file, checked.
        into: The site folder.

    Raises:
        InputError: Not a ZIP archive, a path that leads out of the folder, or more than the limits allow.
        OSError: The disk.
    """
    into.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS or sum(member.file_size for member in members) > MAX_UNPACKED_BYTES:
                raise InputError(f"{wheel}: more members or bytes than a wheel of the lock can have")
            for member in members:
                _extract(archive, member, into, wheel)
    except zipfile.BadZipFile as error:
        raise InputError(f"{wheel}: expected a wheel, found a broken ZIP archive ({error})") from error


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, into: Path, wheel: Path) -> None:
    name = PurePosixPath(member.filename)
    if name.is_absolute() or ".." in name.parts:
        raise InputError(f"{wheel}: refused to unpack a path that leads out of the wheel: {member.filename!r}")
    if member.is_dir() or not name.parts or name.parts[0].endswith(".data"):
        return
    path = into / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as content, path.open("wb") as stream:
        shutil.copyfileobj(content, stream)
