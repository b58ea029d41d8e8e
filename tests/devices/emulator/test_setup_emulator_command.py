"""``edgeml devices setup-emulator``: what it prints, and how it ends."""

from __future__ import annotations

import json
import re

import pytest

from edgeml_cli.commands import setup_emulator
from edgeml_cli.main import main
from edgeml_devices.emulator import ARCHITECTURES


@pytest.fixture
def run(capfd, archive, locks, layout, system_qemu, monkeypatch):
    """Call the command with arguments: code, stdout and stderr."""
    monkeypatch.setenv("EDGEML_DEBIAN_MIRROR", f"{archive.base}/debian")

    def run(*arguments):
        capfd.readouterr()
        code = main(["devices", "setup-emulator", *arguments])
        return (code, *capfd.readouterr())

    return run


def test_the_architectures_are_those_of_the_library():
    assert setup_emulator.ARCHITECTURES == ARCHITECTURES


def test_set_up_and_again(run, layout):
    code, out, err = run("aarch64")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].startswith("aarch64 is ready (0 MB, ")
    assert lines[1:] == [
        "  tflite     the packages of this Python: runs and can be counted",
        "  QEMU 10.0.2 to run, 7.2.22 to count",
        f"  in {layout.folder}",
    ]
    steps = [re.sub(r" \d+/\d+", "", line.partition("  ")[0]) for line in err.splitlines()]
    assert list(dict.fromkeys(steps)) == [
        "fetch qemu-newest, MB", "unpack qemu-newest", "fetch aarch64, MB", "unpack aarch64", "start guests",
    ]  # fmt: skip
    code, out, err = run()  # aarch64 is the default
    assert code == 0
    assert out.startswith("aarch64 is ready; everything was there (0 MB, ")
    assert err == ""


def test_json(run, layout):
    code, out, _ = run("aarch64", "--json")
    report = json.loads(out)
    assert (code, report["architecture"], report["folder"]) == (0, "aarch64", str(layout.folder))
    assert report["made"] == [{"part": "qemu-newest", "was": "absent"}, {"part": "aarch64", "was": "absent"}]
    assert report["qemu"]["counting"]["version"] == "7.2.22"
    assert report["sites"] == [{"name": "tflite", "versions": {}, "countable": True}]
    assert [check["qemu"] for check in report["checks"]] == ["10.0.2", "7.2.22"]


def test_repaired(run, layout):
    run("aarch64")
    library = layout.root("aarch64") / "lib/libc.so.6"
    library.write_bytes(bytes(library.stat().st_size))
    code, out, err = run("aarch64", "--verify")
    assert code == 0
    assert "  aarch64 was made anew: it was damaged" in out.splitlines()
    assert "verify aarch64" in err


def test_removed(run, layout):
    run("aarch64")
    code, out, _ = run("--remove", "aarch64")
    assert (code, out) == (0, "removed aarch64: 0 MB\n")
    code, out, _ = run("--remove")
    assert (code, out) == (0, f"nothing to remove in {layout.folder}\n")
    code, out, _ = run("--remove", "--json")
    assert json.loads(out) == {"removed": "all", "folder": str(layout.folder), "freed_bytes": 0}
    assert not layout.folder.parent.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sparc"], "'sparc' is not one of 'aarch64', 'armv7', 'x86-64'"),
        (["--remove", "--verify"], "--remove and --verify exclude each other"),
    ],
)
def test_wrong_usage(run, layout, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert not layout.folder.exists()


def test_without_a_compiler_nothing_is_fetched(run, archive, layout, monkeypatch, system_qemu):
    (system_qemu.parent / "cc").unlink()
    monkeypatch.delenv("CC", raising=False)
    code, out, err = run("aarch64")
    assert (code, out) == (3, "")
    assert "needs a C compiler once, and none of cc, gcc and clang is on the PATH" in err
    assert "apt install gcc libc6-dev" in err
    assert not layout.folder.exists()


def test_a_compiler_that_fails_is_quoted(run, layout, system_qemu):
    (system_qemu.parent / "cc").write_text("#!/bin/sh\necho cannot find crti.o >&2\nexit 1\n", encoding="ascii")
    code, _, err = run("aarch64")
    assert code == 3
    assert "exit status 1:\ncannot find crti.o" in err
    assert list(layout.plugins.iterdir()) == []


def test_no_mirror_answers(run, archive, layout, monkeypatch):
    monkeypatch.setattr("edgeml_devices.emulator.fetch.MIRRORS", (f"{archive.base}/archive",))
    archive.files.clear()
    code, out, err = run("aarch64")
    assert (code, out) == (3, "")
    assert "error: cannot fetch qemu-user_" in err
    assert err.count(": HTTP 404 Not Found") == 2
    assert "name a mirror of the Debian archive in EDGEML_DEBIAN_MIRROR" in err
    assert sorted(path.name for path in layout.folder.iterdir()) == [".lock", "downloads", "plugins"]
    assert list(layout.downloads.iterdir()) == []


def test_a_mirror_that_is_no_address(run, monkeypatch, layout):
    monkeypatch.setenv("EDGEML_DEBIAN_MIRROR", "deb.debian.org")
    code, _, err = run("aarch64", "--json")
    assert code == 2
    assert (
        "expected a mirror of the Debian archive, such as http://deb.debian.org/debian, found 'deb.debian.org'" in err
    )
    assert not layout.folder.exists()


def test_no_room(run, locks, parts, archive):
    locks["armv7"] = parts.lock("armv7", *locks["armv7"].packages, unpacked_bytes=1 << 60)
    code, _, err = run("armv7")
    assert code == 2
    assert "of room for armv7, found: " in err


def test_a_file_where_the_cache_should_be(run, layout):
    layout.folder.parent.write_text("")
    code, _, err = run("aarch64")
    assert code == 2
    assert str(layout.folder.parent) in err
    assert "defect" not in err


def test_another_machine(run, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    code, _, err = run()
    assert code == 3
    assert "the emulator runs on Linux on x86-64, and this is linux on aarch64" in err
