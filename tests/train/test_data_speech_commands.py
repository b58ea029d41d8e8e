"""Speech Commands in its published layout: the lists, the twelve-word task, the separate test set."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgeml_runtime.errors import InputError, ProjectError
from edgeml_runtime.loaders import load_tensor
from edgeml_runtime.tensors import DType, InputSpec, LoaderSpec
from edgeml_train.data import SPEECH_COMMANDS_12, Part, find_speech_commands, load_files, load_splits, part_by_hash


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


public_sets = load("public_sets")
ALL_WORDS = sorted((*public_sets.WORDS, *public_sets.OTHER_WORDS))
SPEC = InputSpec(
    name="waveform",
    dtype=DType.INT16,
    shape=(16_000,),
    range=(-32768, 32767),
    unit="PCM sample",
    source="microphone",
    loader=LoaderSpec(name="wav", version=1, options={"sample_rate_hz": 16_000}),
)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return public_sets.write_speech_commands(tmp_path_factory.mktemp("sets") / "speech_commands_v0.02")


@pytest.fixture(scope="module")
def test_set(tmp_path_factory):
    return public_sets.write_speech_test_set(tmp_path_factory.mktemp("sets") / "speech_commands_test_set_v0.02")


@pytest.fixture
def copy(published, tmp_path):
    return Path(shutil.copytree(published, tmp_path / "copy"))


def counts(found, attribute="word"):
    return {part: Counter(item.attributes[attribute] for item in found if item.part is part) for part in Part}


def test_all_words_with_the_authors_lists(published):
    found = find_speech_commands(published, ALL_WORDS)
    assert [Counter(item.part for item in found)[part] for part in Part] == [36, 24, 24]
    for item in found:
        assert item.attributes["word"] == item.path.parent.name == ALL_WORDS[item.target]
        assert item.attributes["speaker"] == item.path.name.partition("_")[0]
        assert item.attributes["speaker"] in public_sets.SPEAKERS[item.part.value]


def test_speakers_of_the_test_are_where_the_hash_of_the_data_set_puts_them():
    assert {part_by_hash(speaker) for speaker in public_sets.SPEAKERS["test"]} == {Part.TEST}


def test_some_words_leave_the_others_out_of_lists_and_parts(published):
    found = find_speech_commands(published, ["yes", "no"])
    assert counts(found)[Part.TEST] == {"yes": 2, "no": 2}
    assert {(item.attributes["word"], item.target) for item in found} == {("yes", 0), ("no", 1)}


def test_twelve_labels_make_unknown_words_and_silence_of_the_noise(published):
    found = find_speech_commands(published, SPEECH_COMMANDS_12)
    unknown, silence = SPEECH_COMMANDS_12.index("_unknown_"), SPEECH_COMMANDS_12.index("_silence_")
    assert {item.attributes["word"] for item in found if item.target == unknown} == {"bed", "marvin"}
    windows = [item for item in found if item.target == silence]
    # white_noise 3.25 s: five windows; pink_noise 2.6 s: four; running_tap 2 s: two, for validation.
    assert counts(windows, "speaker")[Part.TRAIN] == {"white_noise": 5, "pink_noise": 4}
    assert counts(windows, "speaker")[Part.VALIDATION] == {"running_tap": 2}
    assert counts(windows)[Part.TEST] == {}


def test_the_separate_test_set_replaces_the_testing_list(published, test_set):
    found = find_speech_commands(published, SPEECH_COMMANDS_12, test_set=test_set)
    test = [item for item in found if item.part is Part.TEST]
    assert {item.path for item in test} == set(test_set.rglob("*.wav"))
    assert Counter(SPEECH_COMMANDS_12[item.target] for item in test)["_unknown_"] == 2
    by_name = {item.path.name: item.attributes for item in test}
    assert by_name["bed_0c540988_nohash_0.wav"] == {"speaker": "0c540988", "word": "bed"}
    assert by_name["0.wav"]["word"] == "_silence_"
    listed = (published / "testing_list.txt").read_text().split()
    assert not {f"{item.path.parent.name}/{item.path.name}" for item in found if item.part is Part.TRAIN} & set(listed)


def test_noise_can_be_given_to_the_test(published):
    parts = {"running_tap.wav": Part.VALIDATION, "pink_noise.wav": Part.TEST}
    found = find_speech_commands(published, SPEECH_COMMANDS_12, noise_parts=parts)
    assert counts(found)[Part.TEST]["_silence_"] == 4
    assert counts(found, "speaker")[Part.TRAIN]["pink_noise"] == 0


def test_unknown_words_can_be_limited_and_stay_the_same(published):
    whole = find_speech_commands(published, SPEECH_COMMANDS_12)
    found = find_speech_commands(published, SPEECH_COMMANDS_12, unknown_share=0.1)
    unknown = SPEECH_COMMANDS_12.index("_unknown_")
    kept = [item for item in found if item.target == unknown]
    # 30 wanted words for training, 20 each for validation and test; tenths are rounded up.
    assert [sum(item.part is part for item in kept) for part in Part] == [3, 2, 2]
    assert set(map(repr, kept)) < set(map(repr, whole))
    assert found == find_speech_commands(published, SPEECH_COMMANDS_12, unknown_share=0.1)


def test_recordings_load_part_by_part(published, test_set):
    found = find_speech_commands(published, SPEECH_COMMANDS_12, test_set=test_set)
    loaded = load_files(found[:10], SPEC)
    assert loaded.data.inputs["waveform"].shape == (10, 16_000)
    assert loaded.data.inputs["waveform"].dtype == np.int16
    splits = load_splits(found, SPEC, name="the authors'")
    parts = (splits.train, splits.validation, splits.test)
    assert max(Counter(name for part in parts for name in set(part.attributes["speaker"])).values()) == 1
    assert len(splits.files) == len(splits.test) == 13
    for row, path in splits.files.items():
        assert np.array_equal(splits.test.inputs["waveform"][row], load_tensor(SPEC, path))


def test_an_empty_recording_is_counted_and_named(copy):
    (copy / "yes" / "0a7c2a8d_nohash_1.wav").write_bytes(b"")
    found = find_speech_commands(copy, ALL_WORDS)
    with pytest.raises(ProjectError, match=r"1 of 36 files cannot be read[\s\S]*0a7c2a8d_nohash_1\.wav"):
        load_splits(found, SPEC, name="the authors'")
    assert len(load_splits(found, SPEC, name="the authors'", max_unreadable=0.05).train) == 35


@pytest.mark.parametrize("names", [["validation_list.txt"], ["testing_list.txt", "validation_list.txt"]])
def test_missing_lists_are_counted_and_named(copy, names):
    for name in names:
        (copy / name).unlink()
    with pytest.raises(ProjectError, match=f"found {len(names)} of them missing: .*{names[-1]}"):
        find_speech_commands(copy, ALL_WORDS)


def test_missing_recordings_of_a_list_are_counted_and_named(copy):
    (copy / "yes" / "0c40e715_nohash_1.wav").unlink()
    with pytest.raises(ProjectError, match=re.escape("found 1 that do not: yes/0c40e715_nohash_1.wav")):
        find_speech_commands(copy, ALL_WORDS)
    assert find_speech_commands(copy, ["no"])


def test_a_file_outside_the_layout_is_counted_and_named(copy):
    (copy / "yes" / "mine.wav").touch()
    (copy / "yes" / "yes_0a7c2a8d_nohash_0.wav").touch()
    with pytest.raises(ProjectError, match=r"found 2 outside this layout: mine\.wav, yes_0a7c2a8d_nohash_0\.wav"):
        find_speech_commands(copy, ALL_WORDS)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            ["yes", "backward"],
            "found none for backward; there are 12 folders of words: bed, down, go, left, marvin and",
        ),
        (["_silence_", "_unknown_"], "at least one, found none for any"),
    ],
)
def test_labels_that_are_no_words_are_refused(published, labels, message):
    with pytest.raises(ProjectError, match=message):
        find_speech_commands(published, labels)


def test_a_word_without_recordings_in_a_part_is_refused(copy):
    lists = copy / "testing_list.txt"
    lists.write_text("".join(f"{line}\n" for line in lists.read_text().split() if not line.startswith("yes/")))
    with pytest.raises(
        ProjectError, match=r"1 of 12 classes lacking in one, by number of recordings: yes \(5 / 2 / 0\)"
    ):
        find_speech_commands(copy, ALL_WORDS)


def test_noise_too_short_for_validation_is_refused(copy):
    public_sets.write_wav(copy / "_background_noise_" / "running_tap.wav", public_sets.tone(50, seconds=0.9))
    with pytest.raises(ProjectError, match=r"_silence_ \(9 / 0 / 0\)"):
        find_speech_commands(copy, SPEECH_COMMANDS_12)


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(ProjectError, match="there are 0 folders of words: none"):
        find_speech_commands(tmp_path, ALL_WORDS)
    with pytest.raises(ProjectError, match="expected the folder of a data set, found none"):
        find_speech_commands(tmp_path / "none", ALL_WORDS)


def test_silence_without_noise_is_refused(copy):
    (copy / "_background_noise_" / "running_tap.wav").unlink()
    with pytest.raises(ProjectError, match=r"expected the noise running_tap\.wav, found pink_noise\.wav, white_noise"):
        find_speech_commands(copy, SPEECH_COMMANDS_12)
    assert find_speech_commands(copy, ALL_WORDS)
    shutil.rmtree(copy / "_background_noise_")
    with pytest.raises(ProjectError, match="expected WAV files in _background_noise_"):
        find_speech_commands(copy, SPEECH_COMMANDS_12)


def test_damaged_noise_is_refused(copy):
    (copy / "_background_noise_" / "pink_noise.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"pink_noise\.wav"):
        find_speech_commands(copy, SPEECH_COMMANDS_12)


def test_an_incomplete_test_set_is_refused(published, test_set, tmp_path):
    copy = Path(shutil.copytree(test_set, tmp_path / "copy"))
    shutil.rmtree(copy / "_silence_")
    with pytest.raises(ProjectError, match="found none for 1: _silence_"):
        find_speech_commands(published, SPEECH_COMMANDS_12, test_set=copy)
