"""Opening and reading a bundle that is right, and one that changes under the reader."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
import tracemalloc
import zipfile

import pytest

from edgeml_runtime import zip_reader
from edgeml_runtime.bundle import Bundle, Limits
from edgeml_runtime.errors import (
    BundleError,
    BundleFormatError,
    BundleIntegrityError,
    BundleLimitError,
)


def test_open_gives_back_the_manifest_and_every_member(sample, bundle_file):
    with Bundle.open(bundle_file) as bundle:
        assert bundle.manifest == sample.manifest
        assert bundle.manifest.inputs == sample.contract.inputs
        assert bundle.manifest.outputs == sample.contract.outputs
        assert bundle.manifest.variants == sample.variants
        assert (bundle.path, bundle.size_bytes) == (os.fspath(bundle_file), len(sample.content))
        assert {name: bundle.read(name) for name in sample.members} == sample.members
        bundle.verify()


def test_ordinary_zip_tools_read_it(sample, bundle_file):
    with zipfile.ZipFile(bundle_file) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["manifest.json", *sorted(sample.members)]
        assert {name: archive.read(name) for name in sample.members} == sample.members


def test_unknown_member_is_refused_with_the_known_ones(bundle_file):
    with (
        Bundle.open(bundle_file) as bundle,
        pytest.raises(BundleFormatError, match=r"'nope'; .* holds card\.md, golden/"),
    ):
        bundle.read("nope")


def test_member_above_the_callers_cap_is_refused(bundle_file):
    with Bundle.open(bundle_file) as bundle, pytest.raises(BundleLimitError, match=r"card\.md has 12 bytes; 11 are"):
        bundle.read("card.md", max_bytes=11)


def test_reading_after_close_is_refused_and_closing_twice_is_not(bundle_file):
    bundle = Bundle.open(bundle_file)
    bundle.close()
    bundle.close()
    with pytest.raises(BundleError, match="was closed; open it again"):
        bundle.read("card.md")


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "NUL in the path"])
def test_paths_that_are_no_files(tmp_path, kind):
    path = tmp_path / "x.edgeml"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind != "missing":
        path = f"{path}\0"
    with pytest.raises(BundleError, match=r"x\.edgeml.*: (cannot be opened|expected a bundle file)"):
        Bundle.open(path)


def test_no_handle_is_left_open_when_opening_fails(tmp_path):
    path = tmp_path / "x.edgeml"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    with pytest.raises(BundleError):
        Bundle.open(path)
    if before is not None:
        assert set(os.listdir("/proc/self/fd")) == before
    path.unlink()


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be replaced there")
def test_a_path_replaced_after_open_does_not_change_what_is_read(sample, bundle_file, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"something else")
    with Bundle.open(bundle_file) as bundle:
        other.replace(bundle_file)
        bundle.verify()
        assert bundle.read("card.md") == sample.members["card.md"]


def test_a_file_altered_after_open_is_noticed_when_read(sample, bundle_file):
    with Bundle.open(bundle_file) as bundle:
        at = sample.content.index(sample.members["card.md"])
        with open(bundle_file, "r+b") as file:
            file.seek(at)
            file.write(b"!")
        with pytest.raises(BundleIntegrityError, match=r"card\.md was altered"):
            bundle.read("card.md")
        bundle.read("variants/onnx-int8.onnx")


def test_a_file_truncated_after_open_is_noticed_when_read(bundle_file):
    with Bundle.open(bundle_file) as bundle:
        os.truncate(bundle_file, 100)
        with pytest.raises(BundleIntegrityError, match="truncated"):
            bundle.read("card.md")


class SlowFile(io.FileIO):
    """A file on which another thread gets its turn between any seek and the read that belongs to it."""

    def seek(self, *arguments):
        position = super().seek(*arguments)
        time.sleep(0.0002)
        return position


def test_threads_read_the_right_bytes(sample, bundle_file, monkeypatch):
    monkeypatch.setattr(zip_reader, "open", lambda path, mode, buffering: SlowFile(path, mode), raising=False)
    names = list(sample.members)
    wrong = []

    def read_all(bundle: Bundle, start: int) -> None:
        for step in range(40):
            name = names[(start + step) % len(names)]
            try:
                if bundle.read(name) != sample.members[name]:
                    wrong.append(name)
            except BundleError as error:
                wrong.append(error)

    with Bundle.open(bundle_file) as bundle:
        threads = [threading.Thread(target=read_all, args=(bundle, start)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(max_bundle_bytes=100), "at most 100 are"),
        (Limits(max_members=3), "8 members; at most 3 are"),
        (Limits(max_json_bytes=50), r"manifest\.json has \d+ bytes; at most 50 are"),
        (Limits(max_member_bytes=40), r"golden/data\.bin has \d+ bytes; at most 40 are"),
    ],
)
def test_limits_are_kept(bundle_file, limits, message):
    with pytest.raises(BundleLimitError, match=message):
        Bundle.open(bundle_file, limits=limits)


def test_a_terabyte_is_refused_without_allocating(tmp_path):
    path = tmp_path / "huge.edgeml"
    path.write_bytes(b"PK\x03\x04")
    os.truncate(path, 1 << 40)
    tracemalloc.start()
    try:
        with pytest.raises(BundleLimitError, match="1099511627776 bytes; at most 536870912"):
            Bundle.open(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_loading_imports_nothing_heavy(bundle_file):
    program = (
        "import sys; from edgeml_runtime.bundle import Bundle\n"
        "bundle = Bundle.open(sys.argv[1]); bundle.verify(); bundle.close()\n"
        "heavy = {'zipfile', 'hashlib', 'logging', 'pathlib', 'tempfile', 'threading', 'mmap', 'ctypes', 'numpy',\n"
        "         'tomllib', 'edgeml_runtime.contract', 'edgeml_runtime.golden', 'edgeml_runtime.bundle_write'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-S", "-c", program, os.fspath(bundle_file)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stdout == "[]\n"
