"""Setting up: what is complete stays, what is not is made; two at once, and an end at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgeml_devices.emulator import open_sysroot, qemus, remove_emulator, set_up, set_up_emulator
from edgeml_devices.emulator.exclusive import exclusive
from edgeml_devices.emulator.fetch import Mirrors
from edgeml_devices.emulator.layout import Layout, cache_folder
from edgeml_devices.emulator.stamp import PartState
from edgeml_runtime.errors import InputError, TargetError
from edgeml_runtime.progress import silent


@pytest.fixture
def ready(archive, locks, layout, system_qemu):
    """Set up an architecture from the archive."""
    return lambda name="aarch64", **more: set_up_emulator(name, mirrors=archive.mirrors, **more)


def made(done):
    return {name: state.value for name, state in done.made}


def test_first_set_up(ready, layout):
    done = ready()
    assert made(done) == {"qemu-newest": "absent", "aarch64": "absent"}
    assert [(check.site, check.qemu, check.machine, check.python) for check in done.checks] == [
        ("tflite", "10.0.2", "aarch64", "3.11.2"), ("tflite", "7.2.22", "aarch64", "3.11.2"),
    ]  # fmt: skip
    root = layout.root("aarch64")
    assert (done.sysroot.root, done.sysroot.python) == (root, root / "usr/bin/python3.11")
    assert (done.sysroot.newest.plugins, done.sysroot.counting.plugins) == (False, True)
    assert done.disk_bytes > 100_000
    assert done.sysroot == open_sysroot("aarch64")


def test_the_second_one_fetches_nothing_and_starts_nothing(ready, archive):
    ready()
    archive.requests.clear()
    done = ready()
    assert (done.made, done.checks, archive.requests) == ((), (), [])


def test_parts_are_shared_between_architectures(ready, archive):
    ready("x86-64")
    archive.requests.clear()
    assert made(ready("armv7")) == {"armv7": "absent"}
    assert archive.asked(".deb") == [0]


@pytest.fixture(autouse=True)
def every_binary(monkeypatch):
    """The archive's QEMU has one program for all architectures."""
    monkeypatch.setattr(qemus, "BINARIES", dict.fromkeys(qemus.BINARIES, "qemu-aarch64"))


def test_a_qemu_of_the_system_that_cannot_count_is_passed_over(ready, system_qemu):
    system_qemu.write_text(system_qemu.read_text().replace("7.2.22", "8.2.0"))
    with pytest.raises(TargetError, match="qemu-countable/root/usr/bin/qemu-aarch64"):
        ready()
    assert complete_parts() == ["aarch64", "qemu-countable", "qemu-newest"]


def complete_parts():
    return sorted(path.name for path in Layout.default().folder.iterdir() if (path / "stamp.json").is_file())


@pytest.mark.parametrize(
    ("version", "options", "counts"),
    [
        ("7.2.22", "-plugin      QEMU_PLUGIN  load a plug-in", True),
        ("7.2.0", "-d item\n-plugin name\n-h", True),
        ("7.2.22", "-h   print this help\n-strace  about -plugin", False),
        ("7.1.9", "-plugin name", False),
        ("8.2.2", "-plugin name", False),
        ("10.0.2", "-plugin name", False),
    ],
)
def test_which_qemu_counts(version, options, counts):
    assert qemus.is_counting(version, options) == counts


@pytest.mark.parametrize(
    ("host", "own"), [((2, 31), True), ((2, 35), True), ((2, 36), False), ((2, 41), False), ((3,), False), ((0,), True)]
)
def test_the_newer_c_library_starts_the_program(tmp_path, host, own):
    loader, option, folders = qemus.loader_words(tmp_path, host)
    assert option == "--library-path"
    assert (loader == str(tmp_path / "libc/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")) == own
    assert folders.split(":")[-2:] == [f"{tmp_path}/lib/x86_64-linux-gnu", f"{tmp_path}/usr/lib/x86_64-linux-gnu"]
    assert (f"{tmp_path}/libc/lib/x86_64-linux-gnu" in folders.split(":")) == own


def test_before_set_up(layout):
    with pytest.raises(TargetError, match=r"qemu-newest absent: run edgeml devices setup-emulator armv7$"):
        open_sysroot("armv7")


def test_damage_is_said_and_repaired(ready, layout, archive):
    ready()
    (layout.root("aarch64") / "lib/libc.so.6").write_bytes(b"short")
    with pytest.raises(TargetError, match=r"found aarch64 damaged: run edgeml devices setup-emulator aarch64$"):
        open_sysroot("aarch64")
    assert made(ready()) == {"aarch64": "damaged"}
    assert (layout.root("aarch64") / "lib/libc.so.6").read_bytes() == bytes(range(256)) * 400


def test_damage_that_keeps_the_size_is_found_by_verify(ready, layout):
    ready()
    (layout.root("aarch64") / "lib/libc.so.6").write_bytes(bytes(256 * 400))
    assert made(ready()) == {}
    assert made(ready(verify=True)) == {"aarch64": "damaged"}
    done = ready(verify=True)
    assert (made(done), len(done.checks)) == ({}, 2)


def test_damage_that_cannot_be_repaired_now(ready, layout, archive):
    ready()
    (layout.root("aarch64") / "lib/libc.so.6").unlink()
    archive.fail(pool_path(archive, "libc6"), 404)
    with pytest.raises(TargetError, match="cannot fetch libc6"):
        ready()
    with pytest.raises(TargetError, match="found aarch64 damaged"):
        open_sysroot("aarch64")
    assert made(ready()) == {"aarch64": "damaged"}


def pool_path(archive, name):
    (path,) = [path for path in archive.files if path.startswith(f"/debian/pool/{name}_")]
    return path


def test_another_lock_is_another_part(ready, locks, archive, parts):
    ready("armv7")
    locks["armv7"] = parts.lock("armv7", archive.package("zlib1g", parts.deb_of({"lib/libz.so.1": b"new"})))
    with pytest.raises(TargetError, match="found armv7 outdated"):
        open_sysroot("armv7")
    assert made(ready("armv7")) == {"armv7": "outdated"}


def test_a_guest_that_does_not_run_is_no_success_the_next_time_either(ready, system_qemu):
    works = system_qemu.read_text()
    system_qemu.write_text(works.replace('echo "aarch64 3 11 2"', "echo Bad system call >&2; exit 31"))
    for _ in range(2):
        with pytest.raises(TargetError, match=r"import tflite under QEMU 7\.2\.22 .*exit status 31\nBad system call"):
            ready()
    system_qemu.write_text(works)
    done = ready()
    assert (made(done), len(done.checks)) == ({}, 2)


def test_another_qemu_of_the_system_is_checked(ready, system_qemu):
    ready()
    system_qemu.write_text(system_qemu.read_text().replace("7.2.22", "7.2.23"))
    assert [check.qemu for check in ready().checks] == ["10.0.2", "7.2.23"]


def test_a_guest_that_hangs(ready, system_qemu, monkeypatch):
    monkeypatch.setattr("edgeml_devices.emulator.proof.CHECK_TIMEOUT_S", 0.1)
    system_qemu.write_text(system_qemu.read_text().replace('echo "aarch64 3 11 2"', "exec /bin/sleep 60"))
    with pytest.raises(TargetError, match="timed out after"):
        ready()


@pytest.mark.parametrize(
    ("system", "machine"), [("darwin", "arm64"), ("linux", "aarch64"), ("win32", "AMD64"), ("linux", "i686")]
)
def test_another_machine(monkeypatch, layout, system, machine):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    with pytest.raises(TargetError, match=f"runs on Linux on x86-64, and this is {system} on {machine}"):
        set_up_emulator("aarch64")
    assert not layout.folder.exists()


def test_an_unknown_architecture(layout):
    for call in (set_up_emulator, open_sysroot, remove_emulator):
        with pytest.raises(InputError, match=r"expected an architecture \(aarch64, armv7, x86-64\), found '\.\./x'"):
            call("../x")


@pytest.mark.parametrize("name", ["a:b", "a,b"])
def test_a_cache_that_emulators_cannot_take(monkeypatch, tmp_path, name):
    monkeypatch.setenv("EDGEML_CACHE", str(tmp_path / name))
    with pytest.raises(InputError, match="no colon and no comma"):
        set_up_emulator("aarch64")
    assert list(tmp_path.iterdir()) == []


def test_where_the_cache_is(monkeypatch):
    home = Path.home()
    assert cache_folder({}) == home / ".cache/edgeml"
    assert cache_folder({"XDG_CACHE_HOME": "/var/cache"}) == Path("/var/cache/edgeml")
    assert cache_folder({"XDG_CACHE_HOME": "relative"}) == home / ".cache/edgeml"
    assert cache_folder({"EDGEML_CACHE": "~/x", "XDG_CACHE_HOME": "/var/cache"}) == home / "x"
    assert cache_folder({"EDGEML_CACHE": "here"}) == Path.cwd() / "here"


def test_a_complete_cache_needs_no_right_to_write(ready, layout, monkeypatch):
    ready()

    def refuse(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr(set_up, "exclusive", refuse)
    assert made(ready()) == {}


def test_two_at_once_make_each_part_once(ready, archive):
    archive.fail(pool_path(archive, "libc6"), lambda: time.sleep(0.5))
    waits, results = [], []

    def note(event):
        if event.step == "wait":
            waits.append(event.message)

    threads = [threading.Thread(target=lambda: results.append(ready(progress=note))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    assert sorted(name for done in results for name, _ in done.made) == ["aarch64", "qemu-newest"]
    assert [len(archive.asked(pool_path(archive, name))) for name in ("libc6", "qemu-user")] == [1, 1]
    assert "another process is changing the cache" in waits


def test_a_lock_file_that_was_removed_is_no_lock(tmp_path, monkeypatch):
    path, opened = tmp_path / "cache" / ".lock", os.open

    def open_and_lose(*arguments):
        descriptor = opened(*arguments)
        monkeypatch.setattr(os, "open", opened)
        path.unlink()
        return descriptor

    path.parent.mkdir()
    monkeypatch.setattr(os, "open", open_and_lose)
    with exclusive(path, silent):
        assert path.exists()


CHILD = """
import os, sys
from edgeml_devices.emulator import assemble, set_up, set_up_emulator
from edgeml_devices.emulator.fetch import FetchLimits, Mirrors
from edgeml_devices.emulator.lock import Lock, Package, SitePin, Wheel
locks = eval({locks!r})
set_up.read_lock = locks.__getitem__
for moment in sys.argv[1:]:
    setattr(assemble, moment, lambda *_, **__: os._exit(9))
set_up_emulator("aarch64", mirrors=eval({mirrors!r}))
"""


@pytest.fixture
def child(archive, locks, layout, system_qemu, tmp_path):
    """Start a set-up in a process of its own, which dies at once where a function is named."""
    program = tmp_path / "child.py"
    program.write_text(CHILD.format(locks=repr(locks), mirrors=repr(archive.mirrors)))
    processes = []

    def start(*moments):
        processes.append(subprocess.Popen([sys.executable, str(program), *moments]))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_killed_while_it_fetches(child, archive, ready, layout):
    reached, go_on = threading.Event(), threading.Event()

    def hold():
        reached.set()
        go_on.wait(20)

    content = archive.files[pool_path(archive, "libc6")]
    archive.fail(pool_path(archive, "libc6"), ("cut", len(content) // 2), hold)
    process = child()
    assert reached.wait(20)
    process.send_signal(signal.SIGKILL)
    process.wait()
    go_on.set()
    with pytest.raises(TargetError, match="found aarch64 absent"):
        open_sysroot("aarch64")
    archive.requests.clear()
    assert made(ready()) == {"aarch64": "absent"}
    assert archive.asked(pool_path(archive, "libc6")) == [len(content) // 2]  # and not from the beginning
    assert archive.asked(pool_path(archive, "qemu-user")) == []


@pytest.mark.parametrize("moment", ["unpack_deb", "write_stamp", "_put_in_place", "drop_downloads"])
def test_killed_while_it_puts_together(child, ready, archive, layout, moment):
    assert child(moment).wait() == 9
    with pytest.raises(TargetError, match=" absent"):
        open_sysroot("aarch64")
    done = ready()
    assert ("qemu-newest" in made(done)) == (moment != "drop_downloads")
    assert len(archive.asked(pool_path(archive, "qemu-user"))) == 1
    assert not list(layout.folder.glob("*.partial"))


@pytest.mark.parametrize("left", ["old", "partial"])
def test_killed_behind_the_last_move(ready, layout, left):
    ready()
    getattr(layout, left)("aarch64").mkdir()
    assert made(ready()) == {}
    assert not getattr(layout, left)("aarch64").exists()


def test_killed_between_the_two_moves(ready, layout, archive, locks, parts):
    ready("armv7")
    layout.part("armv7").rename(layout.old("armv7"))
    archive.requests.clear()
    assert made(ready("armv7")) == {}
    assert archive.requests == []


def test_remove_one_and_then_the_other(ready, layout):
    ready()
    ready("armv7")
    (plugin,) = layout.plugins.iterdir()
    assert plugin.name.startswith("count-")
    assert remove_emulator("armv7") > 0
    assert complete_parts() == ["aarch64", "qemu-newest"]
    assert open_sysroot("aarch64").architecture == "aarch64"
    assert remove_emulator("x86-64") == 0
    assert remove_emulator("aarch64") > 100_000  # with the last one go the emulators and the plug-ins
    assert not layout.folder.exists()
    assert remove_emulator("aarch64") == remove_emulator() == 0


def test_remove_leaves_what_is_not_its_own(ready, layout):
    ready()
    (layout.folder / "notes.txt").write_text("mine")
    (layout.folder.parent / "other").mkdir()
    remove_emulator()
    assert sorted(path.name for path in layout.folder.parent.rglob("*")) == ["emulator", "notes.txt", "other"]


def test_remove_takes_what_an_interrupted_set_up_left(ready, layout, archive):
    archive.fail(pool_path(archive, "python3.11-minimal"), 404)
    with pytest.raises(TargetError):
        ready()
    ready("armv7")
    layout.partial("aarch64").mkdir()
    fetched_bytes = sum(path.stat().st_size for path in layout.downloads.iterdir())
    assert remove_emulator("aarch64") == fetched_bytes > 500
    assert list(layout.downloads.iterdir()) == []
    assert complete_parts() == ["armv7", "qemu-newest"]


def test_remove_waits_for_a_set_up(ready, layout):
    ready()
    events = []
    with exclusive(layout.lock_file, silent):
        thread = threading.Thread(target=remove_emulator, kwargs={"progress": events.append})
        thread.start()
        while not events and thread.is_alive():
            time.sleep(0.01)
        assert complete_parts() == ["aarch64", "qemu-newest"]
    thread.join()
    assert not layout.folder.exists()


def test_the_command_of_a_guest(ready, layout):
    sysroot = ready().sysroot
    words = sysroot.command(("-c", "pass"), cpu="cortex-a76", emulator=sysroot.counting, plugin="/x.so,out=1")
    assert words[1:] == (
        "-L", str(layout.root("aarch64")), "-cpu", "cortex-a76", "-plugin", "/x.so,out=1",
        str(layout.root("aarch64") / "usr/bin/python3.11"), "-s", "-S", "-c", "pass",
    )  # fmt: skip
    with pytest.raises(InputError, match=r"found QEMU 10\.0\.2 without"):
        sysroot.command((), cpu="max", emulator=sysroot.newest, plugin="/x.so")
    with pytest.raises(InputError, match=r"expected a site of aarch64 \(tflite\), found 'newest'"):
        sysroot.site("newest")


def test_the_guests_environment_is_its_own(ready, layout, monkeypatch):
    for name in ("PYTHONPATH", "LD_PRELOAD", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "9")
    sysroot = ready().sysroot
    found = sysroot.environment(sysroot.site("tflite"), extra_folders=(Path("/extra"),))
    assert found["PYTHONPATH"] == f"/extra:{layout.site('aarch64', 'tflite')}"
    assert found["ORT_DISABLE_TELEMETRY"] == "1"
    assert found["OMP_NUM_THREADS"] == "1"
    assert "LD_PRELOAD" not in found


def test_mirrors_come_from_the_environment(ready, archive, monkeypatch):
    monkeypatch.setattr("edgeml_devices.emulator.fetch.MIRRORS", ("http://127.0.0.1:9/debian",))
    monkeypatch.setenv("EDGEML_DEBIAN_MIRROR", f"{archive.base}/debian/")
    assert Mirrors.from_environment().bases[0] == f"{archive.base}/debian"
    assert PartState.ABSENT in dict(set_up_emulator("armv7").made).values()
