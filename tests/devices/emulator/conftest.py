"""A served archive of small packages, a cache of its own, and a machine whose emulators only say what they are."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from edgeml_devices.emulator.layout import Layout

# What a guest prints when it is checked, and what QEMU says of itself.
EMULATOR = """#!/bin/sh
case "$1" in
    --version) echo "qemu-aarch64 version {version}";;
    -h) echo "{options}";;
    *) echo "aarch64 3 11 2";;
esac
"""

# Makes the file that follows -o.
COMPILER = """#!/bin/sh
while [ "$1" != -o ]; do shift; done
: > "$2"
"""


@pytest.fixture(scope="session")
def parts():
    """The module that makes packages, wheels and locks."""
    spec = importlib.util.spec_from_file_location("emulator_archive", Path(__file__).with_name("emulator_archive.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def archive(parts, monkeypatch):
    """A mirror and a package index, which pip is told to use."""
    for name in [name for name in os.environ if name.startswith("PIP_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with parts.served() as archive:
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_INDEX_URL", f"{archive.base}/simple")
        yield archive


@pytest.fixture
def layout(tmp_path, monkeypatch):
    """An empty cache, which is also the one that EDGEML_CACHE names."""
    monkeypatch.setenv("EDGEML_CACHE", str(tmp_path / "cache"))
    return Layout.default()


@pytest.fixture
def system_qemu(tmp_path, monkeypatch):
    """A system whose only programs are a QEMU that can count, and a compiler."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "qemu-aarch64"
    program.write_text(EMULATOR.format(version="7.2.22", options="-plugin  load a plug-in"), encoding="utf-8")
    program.chmod(0o755)
    cc = folder / "cc"
    cc.write_text(COMPILER, encoding="utf-8")
    cc.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return program


@pytest.fixture
def locks(parts, archive, monkeypatch):
    """Small locks in the place of those that come along; pip takes half a second for each wheel, so few have any."""
    newest = EMULATOR.format(version="10.0.2", options="").encode()
    numpy = archive.wheel("numpy", {"numpy/__init__.py": b"", "numpy/core.so": b"\0" * 50_000})
    tflite = archive.wheel("tflite-runtime", {"tflite_runtime/interpreter.py": b""})
    libc = archive.package("libc6", parts.deb_of({"lib/libc.so.6": bytes(range(256)) * 400}))
    python = archive.package("python3.11-minimal", parts.deb_of({"usr/bin/python3.11": b"\x7fELF"}))
    found = {
        "qemu-newest": parts.lock(
            "qemu-newest", archive.package("qemu-user", parts.deb_of({"usr/bin/qemu-aarch64": newest}))
        ),
        "aarch64": parts.lock("aarch64", libc, python, sites=(parts.site(),)),
        "aarch64 with wheels": parts.lock("aarch64", libc, python, sites=(parts.site(numpy, tflite),)),
        "armv7": parts.lock("armv7", archive.package("zlib1g", parts.deb_of({"lib/libz.so.1": b"z"}))),
        "x86-64": parts.lock("x86-64"),
        "qemu-countable": parts.lock("qemu-countable"),
    }
    for module in ("set_up", "removal"):
        monkeypatch.setattr(f"edgeml_devices.emulator.{module}.read_lock", found.__getitem__)
    return found
