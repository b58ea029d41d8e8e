"""A pinned file is fetched whole or not at all: resumed, tried again, from the next mirror, checked."""

from __future__ import annotations

import errno
import hashlib
import socket

import pytest

from edgeml_devices.emulator.fetch import MIRRORS, Mirrors, fetch
from edgeml_runtime.errors import InputError, TargetError

CONTENT = bytes(range(256)) * 1000
OTHER = b"\0" * len(CONTENT)


@pytest.fixture
def get(archive, tmp_path):
    """Fetch one file of 256 kB; what it left, and every count of bytes that was told."""
    archive.files["/debian/pool/a.deb"] = CONTENT
    archive.files["/second/pool/a.deb"] = CONTENT

    def get(mirrors=None):
        told = []
        fetch(
            "pool/a.deb",
            tmp_path / "a.deb",
            size_bytes=len(CONTENT),
            sha256=hashlib.sha256(CONTENT).hexdigest(),
            mirrors=mirrors or archive.mirrors,
            arrived=told.append,
        )
        assert (tmp_path / "a.deb").read_bytes() == CONTENT
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.deb"]
        return told

    return get


@pytest.fixture
def two(archive, parts):
    """Two mirrors of the archive."""
    return Mirrors(bases=(f"{archive.base}/debian", f"{archive.base}/second"), limits=parts.FAST)


def test_whole_file_with_its_progress(get, archive):
    told = get()
    assert told == sorted(told)
    assert told[-1] == len(CONTENT)
    assert archive.requests == [("/debian/pool/a.deb", 0)]


def test_what_is_there_is_not_fetched(get, archive):
    get()
    archive.requests.clear()
    assert get() == [len(CONTENT)]
    assert archive.requests == []


def test_what_is_there_and_wrong_is_fetched(get, tmp_path):
    (tmp_path / "a.deb").write_bytes(OTHER)
    get()


@pytest.mark.parametrize("faults", [[("cut", 100_000)], [503], [429], [("cut", 0), 500]])
def test_a_cut_or_busy_server_is_asked_again(get, archive, faults):
    archive.fail("debian/pool/a.deb", *faults)
    get()
    starts = archive.asked("a.deb")
    assert len(starts) == len(faults) + 1
    assert starts[-1] == (100_000 if faults == [("cut", 100_000)] else 0)  # goes on where it was cut


def test_goes_on_where_an_earlier_process_stopped(get, archive, tmp_path):
    (tmp_path / "a.deb.part").write_bytes(CONTENT[:70_000])
    assert get()[0] > 70_000
    assert archive.asked("a.deb") == [70_000]


def test_a_server_without_ranges_starts_over(get, archive, tmp_path):
    (tmp_path / "a.deb.part").write_bytes(CONTENT[:70_000])
    archive.fail("debian/pool/a.deb", "whole")
    get()
    assert archive.asked("a.deb") == [70_000]


@pytest.mark.parametrize("left", [OTHER[:70_000], OTHER, OTHER + b"x"], ids=["cut", "whole", "longer"])
def test_what_was_left_is_of_another_file(get, archive, tmp_path, left):
    (tmp_path / "a.deb.part").write_bytes(left)
    get()
    assert archive.asked("a.deb")[-1] == 0


@pytest.mark.parametrize(
    "faults", [[404], [403], [("other", OTHER)], [("other", CONTENT[:-1] + b"x")], [503] * 9, [("cut", 5)] * 9]
)
def test_the_next_mirror_has_it(get, archive, two, faults):
    archive.fail("debian/pool/a.deb", *faults)
    get(two)


@pytest.mark.parametrize("content", [b"<html>Sign in to this network</html>", CONTENT + b"x" * 10_000_000])
def test_a_file_of_another_size_is_not_read(get, archive, two, tmp_path, content):
    archive.fail("debian/pool/a.deb", ("other", content))
    get(two)
    assert archive.requests == [("/debian/pool/a.deb", 0), ("/second/pool/a.deb", 0)]
    (tmp_path / "a.deb").unlink()
    archive.files["/debian/pool/a.deb"] = content
    with pytest.raises(TargetError, match=f"expected 256000 bytes, found a file of {len(content)}"):
        get()
    assert list(tmp_path.iterdir()) == []


def test_no_more_is_read_than_the_file_has(get, archive):
    archive.fail("debian/pool/a.deb", ("endless", CONTENT + b"x" * 10_000_000))
    assert get()[-1] == len(CONTENT)


def test_every_mirror_says_why_not(get, archive, two, tmp_path):
    archive.fail("debian/pool/a.deb", 404)
    archive.fail("second/pool/a.deb", ("other", OTHER))
    with pytest.raises(TargetError) as caught:
        get(two)
    lines = str(caught.value).splitlines()
    assert lines[0] == "cannot fetch a.deb:"
    assert lines[1].endswith("/debian/pool/a.deb: HTTP 404 Not Found")
    assert "/second/pool/a.deb: expected 256000 bytes with sha256 " in lines[2]
    assert "EDGEML_DEBIAN_MIRROR" in lines[3]
    assert caught.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []  # an altered file is not kept


def test_nothing_listens(get, parts, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(TargetError, match="Connection refused"):
            get(Mirrors(bases=(base,), limits=parts.FAST))
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_falls_silent(get, parts):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        base = f"http://127.0.0.1:{silent.getsockname()[1]}"
        limits = type(parts.FAST)(timeout_s=0.1, waits_s=(0.01,))
        with pytest.raises(TargetError, match="timed out"):
            get(Mirrors(bases=(base,), limits=limits))


def test_what_arrived_stays_for_the_next_attempt(get, archive, tmp_path):
    archive.fail("debian/pool/a.deb", ("cut", 50_000), 503, 503)
    with pytest.raises(TargetError, match="HTTP 503"):
        get()
    assert (tmp_path / "a.deb.part").read_bytes() == CONTENT[:50_000]
    archive.requests.clear()
    get()
    assert archive.asked("a.deb") == [50_000]


def test_a_full_disk_is_no_matter_of_the_mirror(get, archive, tmp_path):
    (tmp_path / "a.deb.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        get()
    assert caught.value.errno == errno.ENOSPC
    assert len(archive.requests) == 1


def test_mirrors_of_the_environment():
    assert Mirrors.from_environment({}).bases == MIRRORS
    own = Mirrors.from_environment({"EDGEML_DEBIAN_MIRROR": "https://mirror.example/debian/"})
    assert own.bases == ("https://mirror.example/debian", *MIRRORS)


@pytest.mark.parametrize("name", ["mirror.example", "ftp://mirror.example/debian", "file:///srv/debian"])
def test_a_mirror_that_is_no_address(name):
    with pytest.raises(InputError, match="EDGEML_DEBIAN_MIRROR: expected a mirror of the Debian archive"):
        Mirrors.from_environment({"EDGEML_DEBIAN_MIRROR": name})
