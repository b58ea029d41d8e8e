"""A part of the cache is complete or absent: fetched, unpacked beside its place, stamped, moved."""

from __future__ import annotations

import errno
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgeml_devices.emulator import wheels
from edgeml_devices.emulator.assemble import assemble, clear_torn, is_torn
from edgeml_devices.emulator.lock import LOCK_NAMES, read_lock
from edgeml_devices.emulator.stamp import PartState, part_bytes, part_state
from edgeml_runtime.errors import InputError, StorageError, TargetError
from edgeml_runtime.progress import silent


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def no_downloads(layout):
    return not layout.downloads.exists() or list(layout.downloads.iterdir()) == []


def test_a_part_of_packages_and_wheels(archive, layout, locks, monkeypatch, tmp_path):
    (tmp_path / "constraints.txt").write_text("numpy==9.9\n")
    monkeypatch.setenv("PIP_CONSTRAINT", str(tmp_path / "constraints.txt"))  # the user's, which does not count
    events = []
    assemble(layout, locks["aarch64 with wheels"], archive.mirrors, events.append)
    part = layout.part("aarch64")
    assert [name for name in names(part) if "dist-info" not in name] == [
        "root/lib/libc.so.6", "root/usr/bin/python3.11", "sites/tflite/numpy/__init__.py",
        "sites/tflite/numpy/core.so", "sites/tflite/tflite_runtime/interpreter.py", "stamp.json",
    ]  # fmt: skip
    assert part_state(part, locks["aarch64 with wheels"].digest, thorough=True) is PartState.COMPLETE
    assert no_downloads(layout)
    assert not is_torn(layout, "aarch64")
    assert [(event.done, event.total) for event in events if event.step == "fetch aarch64, MB"][-1] == (1, 1)
    assert [(event.done, event.message) for event in events if event.step == "unpack aarch64"] == [
        (0, "libc6"), (1, "python3.11-minimal"), (2, "numpy"), (3, "tflite-runtime"), (4, ""),
    ]  # fmt: skip


def test_every_megabyte_is_told_once(archive, layout, parts):
    content = parts.deb(parts.tar_member("usr/lib/big", os.urandom(3_300_000)), compression="")
    events = []
    assemble(layout, parts.lock("some", archive.package("big", content)), archive.mirrors, events.append)
    told = [event.done for event in events if event.step.startswith("fetch")]
    assert told == [0, 1, 2, 3, 4]


def test_a_place_a_selection_and_links(archive, layout, parts):
    content = parts.deb_of({"lib/libc.so.6": b"c", "usr/bin/ldd": b"l"})
    package = archive.package("libc6", content, keep=("lib",), place="libc")
    links = (("libc/lib/libc.so", "libc.so.6"),)
    assemble(layout, parts.lock("some", package, links=links), archive.mirrors, silent)
    root = layout.root("some")
    assert names(root) == ["libc/lib/libc.so", "libc/lib/libc.so.6"]
    assert (root / "libc/lib/libc.so").read_bytes() == b"c"


def test_what_was_fetched_stays_when_the_rest_cannot_be(archive, layout, locks):
    archive.files["/simple/numpy/"] = b"<!DOCTYPE html>"
    with pytest.raises(TargetError, match=r"cannot fetch numpy-1\.0-.*\.whl; pip says:") as caught:
        assemble(layout, locks["aarch64 with wheels"], archive.mirrors, silent)
    assert "No matching distribution found for numpy==1.0" in str(caught.value)
    assert not layout.part("aarch64").exists()
    assert not layout.partial("aarch64").exists()
    assert sorted(path.name.partition("_")[0] for path in layout.downloads.iterdir()) == ["libc6", "python3.11-minimal"]


def test_another_wheel_of_that_name_is_refused(archive, layout, locks, parts):
    (path,) = [path for path in archive.files if path.startswith("/wheels/numpy")]
    archive.files[path] = parts.wheel_of("numpy", "1.0", {"numpy/__init__.py": b"import evil"})
    with pytest.raises(TargetError, match=r"do not match the hashes|DO NOT MATCH THE HASHES|Expected sha256"):
        assemble(layout, locks["aarch64 with wheels"], archive.mirrors, silent)
    assert [path for path in layout.downloads.iterdir() if path.suffix == ".whl"] == []


def test_what_pip_leaves_is_checked_again(archive, layout, locks, monkeypatch):
    numpy = locks["aarch64 with wheels"].wheels[0]
    script = f"import pathlib, sys; pathlib.Path(sys.argv[-1], {numpy.file!r}).write_bytes(b'x')"
    monkeypatch.setattr(wheels, "_pip_words", lambda site: [sys.executable, "-c", script])
    with pytest.raises(TargetError, match=f"expected pip to leave {numpy.file} with sha256 {numpy.sha256}"):
        assemble(layout, locks["aarch64 with wheels"], archive.mirrors, silent)
    assert [path.suffix for path in layout.downloads.iterdir()] == [".deb", ".deb"]


def test_no_index_can_be_reached(archive, layout, locks, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    words = wheels._pip_words
    monkeypatch.setattr(wheels, "_pip_words", lambda site: [*words(site), "--retries", "0"])
    with pytest.raises(TargetError, match="Check the network and the index"):
        assemble(layout, locks["aarch64 with wheels"], archive.mirrors, silent)


def test_a_python_without_pip_is_refused_before_anything_is_fetched(archive, layout, locks, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TargetError, match=r"fetched with pip, and .* has none: install it \(.* -m ensurepip"):
        assemble(layout, locks["aarch64 with wheels"], archive.mirrors, silent)
    assert archive.requests == []
    assemble(layout, locks["armv7"], archive.mirrors, silent)  # which needs none


@pytest.mark.parametrize(("text", "code"), [("No space left on device", errno.ENOSPC), ("Disk quota", None)])
def test_pip_finds_the_disk_full(archive, layout, locks, monkeypatch, text, code):
    script = f"import sys; sys.exit('ERROR: Could not install packages: {text}')"
    monkeypatch.setattr(wheels, "_pip_words", lambda site: [sys.executable, "-c", script])
    with pytest.raises(StorageError if code else TargetError, match=text):
        assemble(layout, locks["aarch64 with wheels"], archive.mirrors, silent)
    assert no_downloads(layout) == bool(code)


def test_too_little_room_is_seen_before_anything_is_fetched(archive, layout, parts):
    lock = parts.lock("some", archive.package("a", parts.deb_of({"a": b"a"})), unpacked_bytes=1 << 60)
    with pytest.raises(StorageError, match=r"expected \d+ MB of room for some, found: \d+ MB are free"):
        assemble(layout, lock, archive.mirrors, silent)
    assert archive.requests == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_leaves_nothing(archive, layout, locks, monkeypatch, number):
    def fill(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(shutil, "copyfileobj", fill)
    with pytest.raises(StorageError, match="Make room, or name another disk in EDGEML_CACHE"):
        assemble(layout, locks["armv7"], archive.mirrors, silent)
    assert names(layout.folder) == []


def test_a_part_that_cannot_be_made_anew_stays(archive, layout, parts):
    old = parts.lock("some", archive.package("a", parts.deb_of({"usr/a": b"old"})))
    assemble(layout, old, archive.mirrors, silent)
    new = parts.lock("some", archive.package("a", parts.deb_of({"usr/a": b"new"})))
    archive.fail(new.packages[0].pool, 404)
    with pytest.raises(TargetError):
        assemble(layout, new, archive.mirrors, silent)
    assert part_state(layout.part("some"), old.digest, thorough=True) is PartState.COMPLETE
    assemble(layout, new, archive.mirrors, silent)
    assert (layout.root("some") / "usr/a").read_bytes() == b"new"
    assert not is_torn(layout, "some")


def test_what_an_interrupted_process_left_is_cleared(archive, layout, locks):
    layout.partial("armv7").mkdir(parents=True)
    (layout.downloads / "pip-left").mkdir(parents=True)
    clear_torn(layout, "armv7")
    assert names(layout.folder) == []
    assert list(layout.downloads.iterdir()) == []
    assemble(layout, locks["armv7"], archive.mirrors, silent)


def test_a_part_that_was_moved_aside_comes_back(archive, layout, locks):
    assemble(layout, locks["armv7"], archive.mirrors, silent)
    layout.part("armv7").rename(layout.old("armv7"))
    assert is_torn(layout, "armv7")
    clear_torn(layout, "armv7")
    assert part_state(layout.part("armv7"), locks["armv7"].digest) is PartState.COMPLETE


DAMAGE = {
    "a file is gone": lambda part: (part / "root/lib/libz.so.1").unlink(),
    "a file is longer": lambda part: (part / "root/lib/libz.so.1").write_bytes(b"zz"),
    "no stamp": lambda part: (part / "stamp.json").unlink(),
    "an empty stamp": lambda part: (part / "stamp.json").write_bytes(b""),
    "a stamp of bytes": lambda part: (part / "stamp.json").write_bytes(b"\xff\xfe"),
    "a stamp of a list": lambda part: (part / "stamp.json").write_text("[]"),
    "a stamp without files": lambda part: (part / "stamp.json").write_text('{"lock": "D"}'),
    "files as a list": lambda part: (part / "stamp.json").write_text('{"lock": "D", "files": [1]}'),
    "a file as a number": lambda part: (part / "stamp.json").write_text('{"lock": "D", "files": {"a": 1}}'),
    "a file in place of the folder": lambda part: (shutil.rmtree(part), part.write_text("x")),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_seen(archive, layout, parts, damage):
    lock = parts.lock("some", archive.package("zlib1g", parts.deb_of({"lib/libz.so.1": b"z"})), digest="D")
    assemble(layout, lock, archive.mirrors, silent)
    assert part_state(layout.part("some"), "D") is PartState.COMPLETE
    damage(layout.part("some"))
    assert part_state(layout.part("some"), "D") is PartState.DAMAGED


def test_states_of_a_part(archive, layout, locks):
    part, digest = layout.part("armv7"), locks["armv7"].digest
    assert part_state(part, digest) is PartState.ABSENT
    assemble(layout, locks["armv7"], archive.mirrors, silent)
    assert part_state(part, "another lock") is PartState.OUTDATED
    (part / "root/lib/libz.so.1").write_bytes(b"y")  # as long as before
    assert part_state(part, digest) is PartState.COMPLETE
    assert part_state(part, digest, thorough=True) is PartState.DAMAGED
    assert part_bytes(part) > 1


def test_a_link_that_leads_elsewhere_is_seen(archive, layout, parts):
    members = (parts.tar_member("a", b"a"), parts.tar_member("l", link="a"))
    lock = parts.lock("some", archive.package("x", parts.deb(*members)))
    assemble(layout, lock, archive.mirrors, silent)
    (layout.root("some") / "l").unlink()
    (layout.root("some") / "l").symlink_to("b")
    assert part_state(layout.part("some"), lock.digest, thorough=True) is PartState.DAMAGED


def zipped(*members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped(("../evil.py", b"")), "refused to unpack a path that leads out of the wheel: '../evil.py'"),
        (zipped(("/evil.py", b"")), "refused to unpack"),
        (b"no archive", "expected a wheel, found a broken ZIP archive"),
        (zipped(("a.py", b"content"))[:-30], "expected a wheel, found a broken ZIP archive"),
        (zipped(*((f"{number}.py", b"") for number in range(4))), "more members or bytes"),
        (zipped(("big", b"x" * 2000)), "more members or bytes"),
    ],
)
def test_a_wheel_that_is_none(tmp_path, monkeypatch, content, message):
    monkeypatch.setattr(wheels, "MAX_MEMBERS", 3)
    monkeypatch.setattr(wheels, "MAX_UNPACKED_BYTES", 1000)
    (tmp_path / "a.whl").write_bytes(content)
    with pytest.raises(InputError, match=message):
        wheels.unpack_wheel(tmp_path / "a.whl", tmp_path / "site")
    assert not (tmp_path / "evil.py").exists()


def test_scripts_of_a_wheel_are_left_out(tmp_path):
    (tmp_path / "a.whl").write_bytes(zipped(("a/__init__.py", b""), ("a-1.data/scripts/run", b""), ("b/", b"")))
    wheels.unpack_wheel(tmp_path / "a.whl", tmp_path / "site")
    assert names(tmp_path / "site") == ["a/__init__.py"]


def test_a_real_tmpfs_that_fills_up(tmp_path):
    """2 MB of room, of which the lock claims to need less than it does."""
    (tmp_path / "disk").mkdir()
    script = 'mount -t tmpfs -o size=2m tmpfs "$0" && "$@" && ls -A "$0/emulator/downloads"'
    prefix = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, str(tmp_path / "disk")]
    allowed = subprocess.run([*prefix[:-2], "mount -t tmpfs tmpfs /mnt", "sh"], capture_output=True, check=False)
    if allowed.returncode:
        pytest.skip("this system allows no mount namespace")
    program = tmp_path / "fill.py"
    program.write_text(FILL.format(helper=str(Path(__file__).with_name("emulator_archive.py"))))
    done = subprocess.run(
        [*prefix, sys.executable, str(program)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "EDGEML_CACHE": str(tmp_path / "disk")},
    )
    assert "found: No space left on device. Make room" in done.stdout
    assert done.stdout.splitlines()[1:] == ["[]"]


FILL = """
import runpy
from types import SimpleNamespace
from edgeml_devices.emulator.assemble import assemble
from edgeml_devices.emulator.layout import Layout
from edgeml_runtime.errors import StorageError
from edgeml_runtime.progress import silent
parts = SimpleNamespace(**runpy.run_path({helper!r}))
layout = Layout.default()
with parts.served() as archive:
    package = archive.package("big", parts.deb_of({{"usr/lib/big": bytes(5_000_000)}}))
    try:
        assemble(layout, parts.lock("some", package), archive.mirrors, silent)
    except StorageError as error:
        print(error)
print(sorted(path.name for path in layout.folder.rglob("*") if path.name != "downloads"))
"""


@pytest.mark.parametrize("name", LOCK_NAMES)
def test_the_locks_that_come_along(name):
    lock = read_lock(name)
    assert lock.name == name
    pins = [*lock.packages, *lock.wheels]
    assert all(len(pin.sha256) == 64 and pin.size_bytes > 0 and pin.version for pin in pins)
    assert len({package.name for package in lock.packages}) == len(lock.packages)
    files = [*(package.pool.rpartition("/")[2] for package in lock.packages), *(wheel.file for wheel in lock.wheels)]
    assert len(set(files)) == len(files)
    for package in lock.packages:
        version = package.version.rpartition(":")[2]
        assert package.pool.rpartition("/")[2].startswith(f"{package.name}_{version}_")
    assert lock.unpacked_bytes >= lock.download_bytes // 2
