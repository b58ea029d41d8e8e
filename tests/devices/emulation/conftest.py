"""An emulator that is a script: whatever it is told to be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeml_devices.emulator.sysroot import Emulator, Site, Sysroot

SCRIPT = Path(__file__).with_name("fake_qemu.py").read_text(encoding="utf-8")
CPUS = {"cortex-a72": "fp asimd", "cortex-a76": "fp asimd asimddp", "max": "fp asimd asimddp i8mm"}


@pytest.fixture
def emulator(tmp_path, monkeypatch):
    """Make a set-up whose guests behave as told, and whose plug-in need not be compiled."""

    def make(*, sites=None, **behaviour):
        told = {"cpus": CPUS, "versions": ("1.32.0", "1.24.4"), "each": [5, 0, 0, 0, 3, 1, 1], **behaviour}
        place = tmp_path / "qemu"
        place.write_text(
            f"#!{sys.executable}\n" + SCRIPT.replace("BEHAVIOUR = {}", f"BEHAVIOUR = {told!r}"), encoding="utf-8"
        )
        place.chmod(0o755)
        root = tmp_path / "sysroot"
        (root / "usr").mkdir(parents=True, exist_ok=True)
        here = tuple(Path(entry) for entry in sys.path if entry.endswith("-packages"))
        versions = (("onnxruntime", "1.24.4"), ("ai-edge-litert", "2.1.6"))
        found = Sysroot(
            architecture="aarch64",
            root=root,
            python=root / "usr/bin/python3.11",
            python_options=(),
            sites=sites
            or (
                Site(name="newest", folders=here, versions=versions, countable=False),
                Site(name="countable", folders=here, versions=versions, countable=True),
            ),
            newest=Emulator(version="10.0.2", command=(str(place),), plugins=False),
            counting=Emulator(version="7.2.22", command=(str(place),), plugins=True),
        )
        plugin = tmp_path / "count.so"
        plugin.touch()
        monkeypatch.setattr("edgeml_devices.emulator.bench.open_sysroot", lambda architecture, layout: found)
        monkeypatch.setattr("edgeml_devices.emulator.bench.build_plugin", lambda layout: plugin)
        return found

    return make
