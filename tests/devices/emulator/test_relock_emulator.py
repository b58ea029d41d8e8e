"""A lock is remade from a release's index and the wheels it names, and nothing else of it changes."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import pytest

from edgeml_devices.emulator.lock import LOCK_NAMES, parse_lock

SCRIPT = Path(__file__).resolve().parents[3] / "devices" / "relock_emulator.py"
INDEX = """Package: libc6
Version: 2:2.36-10
Filename: pool/main/g/glibc/libc6_2.36-10_arm64.deb
Size: 123
SHA256: {sha256}
Description: GNU C Library
 with a second line: of text

Package: other
Version: 1
"""
LOCK = """# Why
name = "some"
unpacked_bytes = 1

[[packages]]
name = "libc6"
version = "2.36-9"
pool = "pool/main/g/glibc/libc6_2.36-9_arm64.deb"
size_bytes = 1
sha256 = "00"
keep = ["lib"]

[[sites]]
name = "newest"
python_version = "3.11"
platforms = ["linux_a", "linux_b"]

[[sites.wheels]]
name = "numpy"
version = "2.0"
file = "numpy-1.0.whl"
size_bytes = 1
sha256 = "00"
"""


@pytest.fixture(scope="module")
def relock():
    spec = importlib.util.spec_from_file_location("relock_emulator", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pins_are_new_and_the_rest_stays(relock, tmp_path):
    (tmp_path / "numpy-2.0.whl").write_bytes(b"wheel")
    asked = []

    def wheel(*words):
        asked.append(words)
        return tmp_path / "numpy-2.0.whl"

    sha256 = hashlib.sha256(b"package").hexdigest()
    text = relock.relocked(LOCK, relock.package_index(INDEX.format(sha256=sha256)), wheel)
    lock = parse_lock(text.encode())
    (package,), (numpy,) = lock.packages, lock.wheels
    assert (package.version, package.size_bytes, package.sha256) == ("2:2.36-10", 123, sha256)
    assert (package.pool, package.keep) == ("pool/main/g/glibc/libc6_2.36-10_arm64.deb", ("lib",))
    assert (numpy.file, numpy.size_bytes) == ("numpy-2.0.whl", 5)
    assert numpy.sha256 == hashlib.sha256(b"wheel").hexdigest()
    assert asked == [("numpy", "2.0", "3.11", '["linux_a", "linux_b"]')]
    changed = [old for old, new in zip(LOCK.splitlines(), text.splitlines(), strict=True) if old != new]
    assert [line.partition(" ")[0] for line in changed] == [
        "version", "pool", "size_bytes", "sha256", "file", "size_bytes", "sha256",
    ]  # fmt: skip


@pytest.mark.parametrize("name", LOCK_NAMES)
def test_the_same_pins_make_the_same_lock(relock, name, tmp_path):
    text = (relock.LOCKS / f"{name}.toml").read_text(encoding="utf-8")
    lock = parse_lock(text.encode())
    index = {
        package.name: {
            "Version": package.version,
            "Filename": package.pool,
            "Size": str(package.size_bytes),
            "SHA256": package.sha256,
        }
        for package in lock.packages
    }

    def wheel(name, version, *_):
        (tmp_path / f"{name}-{version}").write_text(f"{name} {version}")
        return tmp_path / f"{name}-{version}"

    again = parse_lock(relock.relocked(text, index, wheel).encode())
    assert again.packages == lock.packages
    assert [(found.name, found.version) for found in again.wheels] == [
        (found.name, found.version) for found in lock.wheels
    ]


@pytest.mark.long
@pytest.mark.parametrize("name", ["qemu-newest", "armv7"])
def test_against_the_archive(relock, name, tmp_path, monkeypatch):
    before = (relock.LOCKS / f"{name}.toml").read_bytes()
    (tmp_path / f"{name}.toml").write_bytes(before)
    monkeypatch.setattr(relock, "LOCKS", tmp_path)
    relock.main(name)
    old, new = parse_lock(before), parse_lock((tmp_path / f"{name}.toml").read_bytes())
    assert [package.name for package in new.packages] == [package.name for package in old.packages]
    assert new.wheels == old.wheels  # in the versions that the lock names
