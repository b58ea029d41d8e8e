"""Reading many files of which some are broken, cutting windows, and splitting by list or hash."""

from __future__ import annotations

import importlib.util
import logging
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgeml_runtime.errors import ContractError, ProjectError
from edgeml_runtime.loaders import load_tensor
from edgeml_runtime.tensors import DType, InputSpec, LoaderSpec
from edgeml_train.data import LabelledFile, Part, cut_windows, load_files, load_splits, part_by_hash
from edgeml_train.data.files import matching_files, parts_by_list


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


public_sets = load("public_sets")


def wav_spec(samples=1600, rate_hz=16_000, **changes):
    loader = LoaderSpec(name="wav", version=1, options={"sample_rate_hz": rate_hz})
    values = {"name": "sound", "dtype": DType.INT16, "shape": (samples,), "range": (-32768, 32767), "loader": loader}
    return InputSpec(**(values | {"unit": "PCM sample", "source": "microphone"} | changes))


@pytest.fixture
def recordings(tmp_path):
    paths = [
        public_sets.write_wav(tmp_path / f"{row}.wav", public_sets.tone(100 + row, seconds=0.1)) for row in range(20)
    ]
    parts = [Part.TRAIN] * 12 + [Part.VALIDATION] * 4 + [Part.TEST] * 4
    return [
        LabelledFile(path=path, part=part, target=row % 3, attributes={"row": str(row)})
        for row, (path, part) in enumerate(zip(paths, parts, strict=True))
    ]


def damage(item, how):
    data = item.path.read_bytes()
    match how:
        case "empty":
            item.path.write_bytes(b"")
        case "truncated":
            item.path.write_bytes(data[:-500])
        case "another kind":
            item.path.write_bytes(b"<html>404</html>")
        case "missing":
            item.path.unlink()


def test_files_come_in_the_order_given_as_the_loader_reads_them(recordings):
    loaded = load_files(recordings[5:9], wav_spec())
    assert loaded.files == tuple(recordings[5:9])
    assert loaded.unreadable == ()
    assert loaded.data.targets.tolist() == [2, 0, 1, 2]
    assert loaded.data.targets.dtype == np.int64
    assert loaded.data.attributes["row"].tolist() == ["5", "6", "7", "8"]
    for row, item in enumerate(recordings[5:9]):
        assert np.array_equal(loaded.data.inputs["sound"][row], load_tensor(wav_spec(), item.path))


@pytest.mark.parametrize("how", ["empty", "truncated", "another kind", "missing"])
def test_an_unreadable_file_is_refused_with_count_and_name(recordings, how):
    damage(recordings[3], how)
    with pytest.raises(ProjectError, match=r"1 of 20 files cannot be read, expected at most 0\.00%") as caught:
        load_files(recordings, wav_spec())
    assert str(recordings[3].path) in str(caught.value)


def test_few_unreadable_files_are_left_out_with_a_warning(recordings, caplog):
    damage(recordings[0], "empty")
    damage(recordings[12], "truncated")
    with caplog.at_level(logging.WARNING):
        loaded = load_files(recordings, wav_spec(), max_unreadable=0.1)
    kept = [item for row, item in enumerate(recordings) if row not in (0, 12)]
    assert loaded.files == tuple(kept)
    assert loaded.data.attributes["row"].tolist() == [item.attributes["row"] for item in kept]
    assert len(loaded.data.inputs["sound"]) == 18
    assert np.array_equal(loaded.data.inputs["sound"][-1], load_tensor(wav_spec(), recordings[-1].path))
    assert all(str(recordings[row].path) in text for row, text in zip((0, 12), loaded.unreadable, strict=True))
    assert "2 of 20 files" in caplog.text
    assert "0.wav" in caplog.text


def test_one_more_than_tolerated_is_refused(recordings):
    for row in range(3):
        damage(recordings[row], "empty")
    assert len(load_files(recordings, wav_spec(), max_unreadable=0.15).unreadable) == 3
    with pytest.raises(ProjectError, match="3 of 20"):
        load_files(recordings, wav_spec(), max_unreadable=0.14)


def test_many_unreadable_files_are_not_all_named(recordings):
    for item in recordings[:9]:
        damage(item, "empty")
    with pytest.raises(ProjectError, match="and 4 more") as caught:
        load_files(recordings, wav_spec())
    assert str(caught.value).count("found 0 bytes") == 5


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan"), True, "0.1"])
def test_a_share_that_is_none_is_refused(recordings, share):
    with pytest.raises(ProjectError, match="from 0 to 1"):
        load_files(recordings, wav_spec(), max_unreadable=share)


def test_nothing_to_load_is_refused():
    with pytest.raises(ProjectError, match="found none"):
        load_files([], wav_spec())


def test_wrong_loader_options_are_not_taken_for_unreadable_files(recordings):
    loader = LoaderSpec(name="wav", version=1, options={"sample_rate_hz": 16_000, "channel": 1})
    with pytest.raises(ContractError, match="channel"):
        load_files(recordings, wav_spec(loader=loader), max_unreadable=1.0)


def test_splits_hold_every_part_and_the_files_of_the_test(recordings):
    splits = load_splits(recordings, wav_spec(), name="by row", shared_groups=True)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [12, 4, 4]
    assert splits.name == "by row"
    assert splits.shared_groups
    assert splits.files == {row: item.path for row, item in enumerate(recordings[16:])}


def test_splits_leave_out_unreadable_test_files_and_keep_rows_and_files_together(recordings):
    damage(recordings[16], "empty")
    splits = load_splits(recordings, wav_spec(), name="by row", max_unreadable=0.25)
    for row, path in splits.files.items():
        assert path.stem == splits.test.attributes["row"][row]
    assert len(splits.files) == 3
    (message,) = splits.unreadable
    assert str(recordings[16].path) in message


def test_a_part_without_items_is_refused(recordings):
    with pytest.raises(ProjectError, match="12 in train, 4 in validation, 0 in test"):
        load_splits(recordings[:16], wav_spec(), name="by row")


@pytest.mark.parametrize(
    ("seconds", "starts"),
    [(0.5, []), (1.0, []), (1.25, [0.0]), (2.0, [0.0, 0.5]), (2.6, [0.0, 0.5, 1.0, 1.5])],
)
def test_windows_end_before_the_recording_does(tmp_path, seconds, starts):
    path = public_sets.write_wav(tmp_path / "long.wav", public_sets.tone(5, seconds=seconds))
    item = LabelledFile(path=path, part=Part.TRAIN, target=0)
    windows = cut_windows(item, length_s=1.0, step_s=0.5)
    assert [window.start_s for window in windows] == starts
    # TensorFlow Datasets: for start in range(0, len(samples) - 16000, 8000)
    assert starts == [start / 16_000 for start in range(0, round(seconds * 16_000) - 16_000, 8000)]


def test_windows_hold_the_samples_of_their_place_and_are_no_golden_files(tmp_path):
    samples = public_sets.tone(3, seconds=2.6)
    path = public_sets.write_wav(tmp_path / "long.wav", samples)
    whole = [LabelledFile(path=path, part=part, target=0) for part in Part]
    windows = [window for item in whole for window in cut_windows(item, length_s=1.0, step_s=0.5)]
    splits = load_splits(windows, wav_spec(16_000), name="windows")
    for row, start in enumerate((0, 8000, 16_000, 24_000)):
        assert np.array_equal(splits.test.inputs["sound"][row], samples[start : start + 16_000])
    assert splits.files == {}


def test_windows_are_resampled_and_padded_like_whole_files(tmp_path):
    path = public_sets.write_wav(tmp_path / "long.wav", public_sets.tone(100, seconds=2.0))
    item = LabelledFile(path=path, part=Part.TRAIN, target=0, start_s=1.5)
    loaded = load_files([item], wav_spec(8000, rate_hz=8000)).data.inputs["sound"][0]
    whole = load_tensor(wav_spec(16_000, rate_hz=8000), path)
    assert np.array_equal(loaded[:4000], whole[12_000:])
    assert not loaded[4000:].any()


def test_a_window_behind_the_end_is_unreadable(tmp_path):
    path = public_sets.write_wav(tmp_path / "short.wav", public_sets.tone(100, seconds=0.5))
    with pytest.raises(ProjectError, match=r"short\.wav: expected a recording longer than 0\.5 s"):
        load_files([LabelledFile(path=path, part=Part.TRAIN, target=0, start_s=0.5)], wav_spec())


def test_windows_of_pictures_are_refused(tmp_path):
    item = LabelledFile(path=tmp_path / "a.png", part=Part.TRAIN, target=0, start_s=0.0)
    with pytest.raises(ProjectError, match='expected the loader "wav" for windows of recordings, found none'):
        load_files([item], wav_spec(loader=None))


@pytest.mark.parametrize(
    ("speaker", "part"),
    # Two speakers of the published test set.
    [("0c40e715", Part.TEST), ("0c540988", Part.TEST)],
)
def test_the_hash_is_that_of_the_published_split(speaker, part):
    assert part_by_hash(speaker) is part


def test_the_hash_gives_the_shares_asked_for():
    counts = Counter(part_by_hash(f"{number}.jpg", validation=0.2, test=0.05) for number in range(20_000))
    assert counts[Part.VALIDATION] / 20_000 == pytest.approx(0.2, abs=0.01)  # three standard deviations
    assert counts[Part.TEST] / 20_000 == pytest.approx(0.05, abs=0.005)


def write_list(path, *names):
    path.write_text("".join(f"{name}\n" for name in names))
    return path


def test_lists_say_the_part_and_the_rest_is_as_asked(tmp_path):
    lists = {
        Part.VALIDATION: write_list(tmp_path / "v.txt", "a/1.wav", "", "b/2.wav "),
        Part.TEST: write_list(tmp_path / "t.txt", "b/1.wav"),
    }
    names = ["a/1.wav", "a/2.wav", "b/1.wav", "b/2.wav"]
    parts = parts_by_list(names, lists, rest=Part.TRAIN)
    assert list(parts.items()) == list(
        zip(names, [Part.VALIDATION, Part.TRAIN, Part.TEST, Part.VALIDATION], strict=True)
    )
    assert "a/2.wav" not in parts_by_list(names, lists, rest=None)
    assert parts_by_list(names[:2], lists, rest=None, folders=["a"]) == {"a/1.wav": Part.VALIDATION}


@pytest.mark.parametrize(
    ("validation", "test", "message"),
    [
        (["a/1.wav", "a/9.wav", "a/8.wav"], ["b/1.wav"], "expected 3 files that exist, found 2 that do not: a/8.wav, "),
        (["a/1.wav"], ["a/1.wav", "b/1.wav"], "found 1 that are: a/1.wav"),
        (["a/1.wav", "a/1.wav"], ["b/1.wav"], "expected every file once, found 1 more than once: a/1.wav"),
        (["", " "], ["b/1.wav"], "found an empty one"),
    ],
)
def test_lists_that_do_not_fit_are_refused(tmp_path, validation, test, message):
    lists = {
        Part.VALIDATION: write_list(tmp_path / "v.txt", *validation),
        Part.TEST: write_list(tmp_path / "t.txt", *test),
    }
    with pytest.raises(ProjectError, match=re.escape(message)):
        parts_by_list(["a/1.wav", "a/2.wav", "b/1.wav"], lists, rest=Part.TRAIN)


def test_a_list_that_is_missing_or_no_text_is_refused(tmp_path):
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    for name in ("none.txt", "binary.txt"):
        with pytest.raises(ProjectError, match=f"{name}: expected a list of files"):
            parts_by_list(["a"], {Part.TEST: tmp_path / name}, rest=Part.TRAIN)


def test_files_outside_the_layout_are_counted_and_named_and_hidden_ones_are_passed_over(tmp_path):
    for name in (".DS_Store", "1.wav", "2.wav"):
        (tmp_path / name).touch()
    found = matching_files(tmp_path, re.compile(r"([0-9])\.wav"), "7.wav")
    assert [(path.name, match[1]) for path, match in found] == [("1.wav", "1"), ("2.wav", "2")]
    for number in range(7):
        (tmp_path / f"copy {number}.wav").touch()
    with pytest.raises(ProjectError, match=r"named like 7\.wav, found 7 outside this layout: copy 0.* and 2 more"):
        matching_files(tmp_path, re.compile(r"([0-9])\.wav"), "7.wav")
