"""Debian packages are unpacked with the standard library, and nothing in one reaches outside its root."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tarfile

import pytest

from edgeml_devices.emulator import deb
from edgeml_runtime.errors import InputError


@pytest.fixture
def unpack(tmp_path):
    """Write a package and unpack it; the root."""

    def unpack(content, **options):
        (tmp_path / "some.deb").write_bytes(content)
        deb.unpack_deb(tmp_path / "some.deb", tmp_path / "root", **options)
        return tmp_path / "root"

    return unpack


def tree(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir())


@pytest.mark.parametrize("compression", ["xz", "gz", "bz2", ""])
def test_files_links_and_modes(unpack, parts, compression):
    root = unpack(
        parts.deb(
            parts.tar_member("./"),
            parts.tar_member("./usr/bin/tool", b"#!/bin/sh\n", mode=0o4755),
            parts.tar_member("./usr/lib/libz.so.1.2", b"library"),
            parts.tar_member("./usr/lib/libz.so.1", link="libz.so.1.2"),
            parts.tar_member("./usr/bin/same", hard="./usr/bin/tool"),
            parts.tar_member("./etc/alternative", link="/usr/bin/tool"),
            parts.tar_member("./dev/null", kind=tarfile.CHRTYPE),
            parts.tar_member("./empty/"),
            compression=compression,
        )
    )
    assert tree(root) == [
        "etc/alternative", "usr/bin/same", "usr/bin/tool", "usr/lib/libz.so.1", "usr/lib/libz.so.1.2",
    ]  # fmt: skip
    assert stat.S_IMODE((root / "usr/bin/tool").stat().st_mode) == 0o755  # no set-user-ID bit
    assert stat.S_IMODE((root / "usr/lib/libz.so.1.2").stat().st_mode) == 0o644
    assert os.readlink(root / "etc/alternative") == "../usr/bin/tool"  # inside the root, wherever that is
    assert (root / "usr/bin/same").read_bytes() == b"#!/bin/sh\n"
    assert (root / "empty").is_dir()


def test_members_before_the_data_are_passed_over(unpack, parts):
    content = parts.deb_of({"usr/a": b"x"})
    odd = parts.ar_member("odd", b"123")
    assert tree(unpack(WHOLE + odd + content[len(WHOLE) :])) == ["usr/a"]


def test_what_no_program_reads_is_left_out(unpack, parts):
    files = ["usr/share/doc/z/copyright", "usr/share/man/man1/z.1", "usr/share/zoneinfo/UTC", "usr/share/document"]
    assert tree(unpack(parts.deb_of(dict.fromkeys(files, b"x")))) == ["usr/share/document", "usr/share/zoneinfo/UTC"]


def test_only_what_is_to_be_kept(unpack, parts):
    files = ["usr/bin/qemu-arm", "usr/bin/qemu-armeb", "usr/lib/x/a", "usr/lib/xy/b", "usr/share/doc/c"]
    content = parts.deb_of(dict.fromkeys(files, b"x"))
    assert tree(unpack(content, keep=("usr/bin/qemu-arm", "usr/lib/x"))) == ["usr/bin/qemu-arm", "usr/lib/x/a"]


def test_a_later_package_replaces_a_file_and_never_writes_through_a_link(unpack, parts, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    root = unpack(parts.deb_of({"etc/name": b"first"}))
    (root / "etc/name").unlink()
    (root / "etc/name").symlink_to(outside)
    unpack(parts.deb_of({"etc/name": b"second"}))
    assert (root / "etc/name").read_bytes() == b"second"
    assert outside.read_text() == "mine"


HOSTILE = {
    "a path upwards": [("../../evil", b"x", {})],
    "a path upwards in between": [("usr/../../evil", b"x", {})],
    "an absolute path": [("/tmp/evil", b"x", {})],
    "a link upwards": [("usr/up", None, {"link": "../../evil"})],
    "a link to nothing": [("usr/none", None, {"link": ""})],
    "a hard link upwards": [("usr/up", None, {"hard": "../../etc/passwd"})],
    "a hard link to nothing": [("usr/up", None, {"hard": "usr/none"})],
    "a hard link to a link": [
        ("usr/b", b"x", {}),
        ("usr/a", None, {"link": "b"}),
        ("usr/c", None, {"hard": "usr/a"}),
    ],
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE)
def test_nothing_leads_out_of_the_root(unpack, parts, members, tmp_path):
    content = parts.deb(*(parts.tar_member(name, data, **more) for name, data, more in members))
    with pytest.raises(InputError, match=r"some\.deb: refused to unpack"):
        unpack(content)
    assert not list(tmp_path.parent.glob("evil"))


def test_a_folder_that_was_made_a_link_outwards_is_not_written_through(unpack, parts, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root/usr").symlink_to(tmp_path / "outside")
    with pytest.raises(InputError, match="a path through a link that leads out of the package: 'usr/bin/tool'"):
        unpack(parts.deb(parts.tar_member("usr/bin/tool", b"x")))
    assert list((tmp_path / "outside").iterdir()) == []


WHOLE = b"!<arch>\n"
BROKEN = {
    "empty": (lambda parts: b"", "found a file that is no ar archive"),
    "text": (lambda parts: b"<html>404</html>", "found a file that is no ar archive"),
    "no data": (lambda parts: WHOLE + parts.ar_member("debian-binary", b"2.0\n"), "expected a member data.tar.xz"),
    "no header": (lambda parts: WHOLE + b"garbage" * 20, "expected the header of an ar member"),
    "backwards": (lambda parts: WHOLE + parts.ar_member("x", b"", size=-60), "the size of an ar member, found -60"),
    "no tar": (lambda parts: WHOLE + parts.ar_member("data.tar.xz", b"no tar"), "found a broken one"),
    "zstd": (lambda parts: WHOLE + parts.ar_member("data.tar.zst", b"\x28\xb5\x2f\xfd" + b"x" * 90), "a broken one"),
    "cut": (lambda parts: parts.deb_of({"usr/lib/a": os.urandom(100_000)})[:60_000], "found a broken one"),
}


@pytest.mark.parametrize(("make", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_package(unpack, parts, make, message):
    with pytest.raises(InputError, match=re.escape(message)):
        unpack(make(parts))


@pytest.mark.parametrize(("limit", "value"), [("MAX_MEMBERS", 2), ("MAX_UNPACKED_BYTES", 20)])
def test_more_than_a_package_can_have(unpack, parts, monkeypatch, limit, value):
    monkeypatch.setattr(deb, limit, value)
    with pytest.raises(InputError, match=r"more members or bytes than a package of the lock can have: '\./usr/c'"):
        unpack(parts.deb_of({"usr/a": b"x" * 9, "usr/b": b"x" * 9, "usr/c": b"x" * 9}))


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_dpkg_unpacks_the_same(tmp_path, unpack, parts):
    content = parts.deb(
        parts.tar_member("./usr/"),
        parts.tar_member("./usr/bin/"),
        parts.tar_member("./usr/bin/tool", b"#!/bin/sh\n", mode=0o755),
        parts.tar_member("./usr/bin/alias", link="tool"),
        parts.tar_member("./usr/odd", b"odd"),
    )
    root = unpack(content)
    subprocess.run(["dpkg-deb", "-x", str(tmp_path / "some.deb"), str(tmp_path / "theirs")], check=True)
    assert tree(root) == tree(tmp_path / "theirs")
    for name in tree(root):
        ours, theirs = root / name, tmp_path / "theirs" / name
        assert ours.is_symlink() == theirs.is_symlink()
        assert ours.read_bytes() == theirs.read_bytes()
        assert ours.stat().st_mode == theirs.stat().st_mode
