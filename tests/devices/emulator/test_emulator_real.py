"""The real set-up of all architectures, from Debian and the package index: whole, interrupted, and repaired."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from edgeml_devices.emulator import ARCHITECTURES, open_sysroot, remove_emulator, set_up_emulator
from edgeml_devices.emulator.layout import Layout
from edgeml_devices.emulator.lock import LOCK_NAMES, read_lock
from edgeml_devices.emulator.stamp import PartState, part_bytes, part_state
from edgeml_runtime.errors import TargetError

pytestmark = pytest.mark.long

SET_UP_LIMIT_S = 300.0
MACHINES = {"aarch64": "aarch64", "armv7": "armv7l", "x86-64": "x86_64"}
CPUS = {"aarch64": "cortex-a76", "armv7": "cortex-a7", "x86-64": "Haswell"}
STEPS = ("fetch qemu-newest", "unpack qemu-newest", "fetch armv7", "unpack armv7", "start guests")
PLUGIN = """
#include <stdint.h>
#include <stdio.h>
#define SHOWN __attribute__((visibility("default")))
SHOWN int qemu_plugin_version = 1;
SHOWN int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv) {
    fputs("plug-in loaded\\n", stderr);
    return 0;
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The cache of this module."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A compiler, and what it calls."""
    found = {name: shutil.which(name, path=os.defpath) for name in ("cc", "as", "ld")}
    if None in found.values():
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("programs")
    for name, path in found.items():
        (folder / name).symlink_to(path)
    return folder


@pytest.fixture(autouse=True)
def layout(folder, programs, monkeypatch):
    """A machine with a compiler, and without any QEMU of its own."""
    monkeypatch.setenv("EDGEML_CACHE", str(folder))
    monkeypatch.setenv("PATH", str(programs))
    return Layout.default()


@pytest.fixture
def whole(layout):
    """Everything is set up."""
    for name in ARCHITECTURES:
        set_up_emulator(name)
    return layout


def test_every_architecture_within_five_minutes(layout):
    started_s = time.monotonic()
    for name in ARCHITECTURES:
        done = set_up_emulator(name)
        assert {check.machine for check in done.checks} == {MACHINES[name]}
        assert {check.qemu for check in done.checks} == {"10.0.2", "7.2.22"}
        assert len(done.checks) == sum(1 + site.countable for site in done.sysroot.sites)
    assert time.monotonic() - started_s < SET_UP_LIMIT_S
    for name in LOCK_NAMES:
        assert part_state(layout.part(name), read_lock(name).digest, thorough=True) is PartState.COMPLETE
        assert part_bytes(layout.part(name)) <= read_lock(name).unpacked_bytes + part_bytes(layout.part("x86-64"))
    assert not list(layout.downloads.iterdir())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_again_from_the_cache_alone(whole, monkeypatch, name):
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    started_s = time.monotonic()
    done = set_up_emulator(name)
    assert (done.made, done.checks) == ((), ())
    assert time.monotonic() - started_s < 5.0


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_cached_qemu_loads_a_plug_in(tmp_path, whole, name):
    (tmp_path / "plugin.c").write_text(PLUGIN)
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", str(tmp_path / "plugin.so"), str(tmp_path / "plugin.c")], check=True
    )
    sysroot = open_sysroot(name)
    assert str(whole.folder) in sysroot.counting.command[-1]
    words = ("-c", "print(6 * 7)")
    for emulator, plugin in ((sysroot.counting, str(tmp_path / "plugin.so")), (sysroot.newest, None)):
        done = subprocess.run(
            sysroot.command(words, cpu=CPUS[name], emulator=emulator, plugin=plugin),
            env=sysroot.environment(sysroot.sites[0]),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "42\n"
        assert ("plug-in loaded" in done.stderr) == (plugin is not None)


def test_nothing_of_the_host_is_imported(whole):
    sysroot = open_sysroot("aarch64")
    program = (
        "import sys, numpy, onnxruntime\n"
        "print(*(module.__file__ for module in sys.modules.values() if getattr(module, '__file__', None)))"
    )
    done = subprocess.run(
        sysroot.command(("-c", program), cpu="cortex-a76", emulator=sysroot.newest),
        env=sysroot.environment(sysroot.site("newest")),
        capture_output=True,
        text=True,
        check=True,
    )
    assert [path for path in done.stdout.split() if not path.startswith(str(whole.part("aarch64")))] == []


def test_a_damaged_site_is_repaired(whole):
    (library,) = whole.site("aarch64", "countable").glob("onnxruntime/capi/onnxruntime_pybind11_state*.so")
    size_bytes = library.stat().st_size
    with library.open("r+b") as stream:
        stream.truncate(size_bytes // 2)
    with pytest.raises(TargetError, match="aarch64 damaged"):
        open_sysroot("aarch64")
    done = set_up_emulator("aarch64")
    assert done.made == (("aarch64", PartState.DAMAGED),)
    assert library.stat().st_size == size_bytes
    assert len(done.checks) == 5


def test_killed_at_every_step_and_gone_on(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEML_CACHE", str(tmp_path))
    program = "import sys; from edgeml_cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "devices", "setup-emulator", "armv7"]
    for step in STEPS:
        with pytest.raises(TargetError, match=r"(qemu-newest|qemu-countable|armv7) absent"):
            open_sysroot("armv7")
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
            assert any(line.startswith(step) for line in process.stderr), step
            time.sleep(0.2)
            process.send_signal(signal.SIGKILL)
    done = set_up_emulator("armv7")
    assert done.made == ()
    assert len(done.checks) == 2  # the guests were not yet seen to run
    assert set_up_emulator("armv7", verify=True).made == ()


def test_removed(whole):
    assert remove_emulator() > 400_000_000
    assert not whole.folder.exists()
