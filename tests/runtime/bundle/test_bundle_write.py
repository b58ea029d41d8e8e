"""Writing a bundle: fixed bytes, all or nothing on the disk, and nothing that the reader would refuse."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from edgeml_runtime.bundle import Bundle, Limits
from edgeml_runtime.bundle_write import write_bundle
from edgeml_runtime.errors import (
    BundleFormatError,
    BundleIntegrityError,
    BundleLimitError,
    EdgemlError,
    InputError,
    StorageError,
)
from edgeml_runtime.manifest_json import manifest_to_dict


def write(path, sample, **changes):
    arguments = {"contract": sample.contract, "variants": sample.variants, "members": sample.members, **changes}
    return write_bundle(path, **arguments)


def test_order_of_members_time_and_place_leave_the_bytes_alone(sample, tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Pacific/Apia")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    write("other-name.edgeml", sample, members=dict(reversed(list(sample.members.items()))))
    assert Path("other-name.edgeml").read_bytes() == sample.content


def test_returns_what_a_reader_finds(sample, tmp_path):
    path = tmp_path / "x.edgeml"
    manifest = write(path, sample)
    with Bundle.open(path) as bundle:
        assert bundle.manifest == manifest
    assert manifest_to_dict(manifest)["format_version"] == 1
    assert [member.name for member in manifest.members] == sorted(sample.members)


def test_file_has_ordinary_permissions_and_no_companion(sample, tmp_path):
    write(tmp_path / "x.edgeml", sample)
    (tmp_path / "plain").touch()
    assert (tmp_path / "x.edgeml").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(os.listdir(tmp_path)) == ["plain", "x.edgeml"]


def test_mappings_and_tuples_are_plain_json(sample, tmp_path):
    variant = replace(
        sample.variants[0],
        inputs=MappingProxyType(dict(sample.variants[0].inputs)),
        metrics=MappingProxyType({"by": ({"n": 1},)}),
    )
    manifest = write(tmp_path / "x.edgeml", sample, variants=(variant,))
    assert manifest.variants[0].metrics == {"by": [{"n": 1}]}


def test_a_precision_may_hold_dashes(sample, tmp_path):
    variant = replace(sample.variants[0], id="onnx-int8-dynamic", precision="int8-dynamic")
    assert write(tmp_path / "x.edgeml", sample, variants=(variant,)).variants[0] == variant


def fail_with(error):
    def fail(*_):
        raise error

    return fail


def interrupt(*_):
    signal.raise_signal(signal.SIGINT)


NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("present", [True, False], ids=["replacing", "new"])
@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("failure", "raised"),
    [(fail_with(NO_SPACE), StorageError), (interrupt, KeyboardInterrupt), (fail_with(MemoryError()), MemoryError)],
    ids=["disk full", "Ctrl-C", "no memory"],
)
def test_a_failure_leaves_the_folder_as_it_was(sample, tmp_path, monkeypatch, present, call, failure, raised):
    path = tmp_path / "x.edgeml"
    if present:
        path.write_bytes(b"what was there")
    before = {entry: (tmp_path / entry).read_bytes() for entry in os.listdir(tmp_path)}
    monkeypatch.setattr(os, call, failure)
    with pytest.raises(raised):
        write(path, sample)
    monkeypatch.undo()
    assert {entry: (tmp_path / entry).read_bytes() for entry in os.listdir(tmp_path)} == before


def test_a_disk_that_gives_back_other_bytes_is_noticed(sample, tmp_path, monkeypatch):
    fsync = os.fsync

    def damage(descriptor):
        os.pwrite(descriptor, b"!", sample.content.index(b"int8 model"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", damage)
    with pytest.raises(BundleIntegrityError, match=r"onnx-int8\.onnx was altered"):
        write(tmp_path / "x.edgeml", sample)
    assert os.listdir(tmp_path) == []


def test_the_bytes_are_on_the_disk_before_the_name_is(sample, tmp_path, monkeypatch):
    calls = []
    fsync, rename = os.fsync, os.replace

    def record_fsync(descriptor):
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    def record_replace(old, new):
        calls.append("replace")
        assert Path(old).read_bytes() == sample.content
        assert Path(old).parent == Path(new).parent
        rename(old, new)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    write(tmp_path / "x.edgeml", sample)
    assert calls == ["file", "replace", "folder"]


FULL_DISK = """
import os, resource, sys
from edgeml_runtime import bundle_write
from edgeml_runtime.bundle import Limits
from edgeml_runtime.errors import StorageError

os.chdir(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    bundle_write._write_atomically("x.edgeml", [bytes(3000)] * 3, Limits())
except StorageError as error:
    print(error)
"""


def test_a_disk_that_really_refuses_the_bytes(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, os.fspath(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert f"x.edgeml: no room: the bundle needs 9000 bytes in {tmp_path} (" in done.stdout
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("target", "message"), [("missing/x.edgeml", "No such file or directory"), ("folder", "Is a directory")]
)
def test_destinations_that_cannot_be_written(sample, tmp_path, target, message):
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match=f"{message}; nothing was changed"):
        write(tmp_path / target, sample)
    assert os.listdir(tmp_path) == ["folder"]


def test_a_file_system_without_folder_sync_is_no_failure(sample, tmp_path, monkeypatch):
    real = os.open

    def refuse_folders(path, flags, *rest, **named):
        if os.path.isdir(path):
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", refuse_folders)
    write(tmp_path / "x.edgeml", sample)
    assert (tmp_path / "x.edgeml").read_bytes() == sample.content


def with_member(sample, name, data=b"x"):
    return {"members": {**sample.members, name: data}}


def with_variant(sample, **fields):
    return {"variants": (replace(sample.variants[0], **fields), *sample.variants[1:])}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (lambda s: with_member(s, "../x"), InputError, "'../x' has a segment that begins"),
        (lambda s: with_member(s, "ü"), InputError, "characters other than ASCII"),
        (lambda s: with_member(s, "\ud800"), InputError, "characters other than ASCII"),
        (lambda s: with_member(s, "CARD.md"), InputError, "'card.md' is taken by 'CARD.md': case does not count"),
        (lambda s: with_member(s, "Manifest.json"), InputError, "taken by 'manifest.json'"),
        (lambda s: with_variant(s, metrics={"a": [float("nan")]}), InputError, "manifest: holds NaN"),
        (lambda s: with_variant(s, metrics={"a": "\ud800"}), InputError, "not well-formed Unicode"),
        (lambda s: with_variant(s, parity={"a": b"x"}), InputError, r"variants\[0\].parity.a: .* found bytes"),
        (lambda s: with_variant(s, parity={"a": {1}}), InputError, r"variants\[0\].parity.a: .* found set"),
        (lambda s: with_variant(s, parity={3: 1}), InputError, r"parity: keys must be strings, found 3"),
        (lambda s: with_variant(s, file="variants/none"), BundleFormatError, "its file 'variants/none' is no member"),
        (lambda s: with_variant(s, inputs={}), BundleFormatError, "inputs: expected the contract's"),
        (lambda s: {"variants": ()}, BundleFormatError, "at least one"),
        (lambda s: {"limits": Limits(max_member_bytes=20)}, BundleLimitError, "bytes in golden/data.bin; .* most 20"),
        (lambda s: {"limits": Limits(max_members=8 - 1)}, BundleLimitError, "8 members; .* most 7"),
        (lambda s: {"limits": Limits(max_bundle_bytes=99)}, BundleLimitError, r"\d+ bytes in all; .* most 99"),
        (lambda s: {"limits": Limits(max_json_bytes=99)}, BundleLimitError, r"bytes in manifest.json; .* most 99"),
    ],
)
def test_what_a_reader_would_refuse_is_not_written(sample, tmp_path, changes, error, message):
    with pytest.raises(EdgemlError, match=message) as caught:
        write(tmp_path / "x.edgeml", sample, **changes(sample))
    assert type(caught.value) is error
    assert os.listdir(tmp_path) == []
