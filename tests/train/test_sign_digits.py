"""The photographs of hand signs: who is on which, what is refused, and the template on a small set of this layout."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from edgeml_runtime.errors import EdgemlError, ProjectError
from edgeml_runtime.loaders import load_tensor
from edgeml_train import Project, init_project
from edgeml_train.checks import check_splits
from edgeml_train.data import find_photographs, grouped_parts
from edgeml_train.data.files import load_files
from edgeml_train.data.sign_digits import brightness_of, split_students, students_of
from edgeml_train.fit import build_fused

STUDENTS = 12
FIRST = 1118
TURNED = FIRST + 7
"""This file is full-size, and lies on its side but for its EXIF orientation."""


def picture(digit, student):
    """100 × 100: a bright wall, and a bar at a height that says the digit, so that up and down are told apart."""
    pixels = np.full((100, 100, 3), 140 + 5 * student, np.uint8)
    pixels[9 * digit : 9 * digit + 9, 20:60] = (90, 60, 40)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Twelve students with all ten digits each, one picture as the camera wrote it."""
    folder = tmp_path_factory.mktemp("signs")
    for student in range(STUDENTS):
        for digit in range(10):
            path = folder / str(digit) / f"IMG_{FIRST + 10 * student + digit}.JPG"
            path.parent.mkdir(exist_ok=True)
            image = picture(digit, student)
            if path.name == f"IMG_{TURNED}.JPG":
                exif = Image.Exif()
                exif[0x0112] = 6  # to be turned 90° clockwise for showing (EXIF 2.32, 4.6.4, Orientation)
                image.resize((1024, 1024), Image.Resampling.NEAREST).rotate(90).save(path, quality=95, exif=exif)
            else:
                image.save(path, quality=95)
    return folder


@pytest.fixture
def signs(tmp_path, photographs):
    """A project on a copy that may be damaged: files are links, to be replaced, not written to."""
    data = shutil.copytree(photographs, tmp_path / "data", copy_function=os.link)
    return init_project(tmp_path / "my-signs", "sign-digits", data)


def opened(folder, *overrides):
    return Project.open(folder, list(overrides))


def rewrite(path, content):
    path.unlink()
    path.write_bytes(content)


# Numbers and digits as the published files have them, around every irregularity; a bar is where a student ends.
SERIES = [
    ("regular", "1118:0123456789 | 1128:0123456789"),
    ("a number left out", "1250:2 1251:3 1253:456789 | 1260:01"),
    ("a digit twice", "1158:012345678 1167:89 | 1169:01"),
    ("the first out of order", "4039:5012346789 | 4049:01"),
    ("two digits swapped at the end", "4574:0123456798 | 4584:01"),
    ("two digits swapped at the start", "4694:0213456789 4704:"),
    ("the last missing", "4644:012345678 | 4668:456789 | 4674:01"),
    ("the end and the next one's start missing", "4806:102345678 | 4820:456789 | 4826:01"),
    ("a wrong digit in the middle", "5101:0123456389 | 5111:01"),
    ("a digit twice and one missing", "5173:0212456789 | 5183:01"),
    ("several numbers left out", "5547:0 5549:1 5554:23456789 | 5562:01"),
    ("no 9 before the next", "5281:567 5284:89 | 5286:01235 5292:46789 | 5297:01"),
    ("another day", "1322:0123456789 | 4040:012"),
]


@pytest.mark.parametrize(("case", "layout"), SERIES)
def test_series_are_told_apart(case, layout):
    numbers, digits, expected = [], [], []
    for student in layout.split("|"):
        files = []
        for piece in student.split():
            first, _, signed = piece.partition(":")
            files += [(int(first) + step, int(digit)) for step, digit in enumerate(signed)]
        numbers += [number for number, _ in files]
        digits += [digit for _, digit in files]
        expected += [str(files[0][0])] * len(files)
    assert numbers == sorted(numbers)
    assert list(students_of(numbers, digits)) == expected


def test_a_series_survives_the_loss_of_any_files_within_it():
    rng = np.random.default_rng(5)
    numbers, digits = np.arange(FIRST, FIRST + 200), np.arange(200) % 10
    whole = students_of(numbers.tolist(), digits.tolist())
    for _ in range(50):
        kept = np.sort(rng.permutation(200)[:140])
        found = students_of(numbers[kept].tolist(), digits[kept].tolist())
        truth = [whole[row] for row in kept]
        assert len(set(zip(found, truth, strict=True))) == len(set(truth)) == len(set(found))


def test_photographs_are_found_in_order(photographs):
    found = find_photographs(photographs)
    assert [photo.number for photo in found] == list(range(FIRST, FIRST + 10 * STUDENTS))
    assert [photo.digit for photo in found] == list(range(10)) * STUDENTS
    assert [photo.student for photo in found[::10]] == [str(FIRST + 10 * student) for student in range(STUDENTS)]
    assert len({photo.student for photo in found}) == STUDENTS


def test_the_subfolder_of_the_data_set_is_found(signs):
    data = signs.parent / "data"
    (data / "Dataset").mkdir()
    for digit in range(10):
        (data / str(digit)).rename(data / "Dataset" / str(digit))
    (data / "README.md").write_text("beside it")
    assert len(find_photographs(data)) == 10 * STUDENTS


def test_nobody_is_in_two_parts_and_every_file_is_in_one(signs):
    project = opened(signs)
    splits = project.task.splits()
    check_splits(project.contract, splits)
    parts = (splits.train, splits.validation, splits.test)
    students = [set(part.attributes["student"]) for part in parts]
    assert [len(names) for names in students] == [8, 2, 2]
    assert len(set.union(*students)) == STUDENTS
    assert [np.bincount(part.targets).tolist() for part in parts] == [[8] * 10, [2] * 10, [2] * 10]
    assert splits.name == "held-out students (a fifth, seed 0)"
    assert not splits.shared_groups
    other = opened(signs, "data.seed=1").task.splits()
    assert set(other.test.attributes["student"]) != students[2]


def test_pixels_are_what_the_loader_gives_and_upright(signs):
    project = opened(signs)
    spec = project.contract.inputs[0]
    photos = find_photographs(signs.parent / "data")
    turned = next(photo for photo in photos if photo.number == TURNED)
    loaded = load_files(split_students(photos, (0.7, 0.1), seed=0), spec)
    row = [item.path for item in loaded.files].index(turned.path)
    upright = np.asarray(picture(7, 0).resize((96, 96), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(loaded.data.inputs["image"][row].astype(int) - upright).mean() < 4
    with Image.open(turned.path) as stored:
        assert stored.size == (1024, 1024)
    splits = project.task.splits()
    assert len(splits.files) == len(splits.test) == 20
    for row, path in splits.files.items():
        np.testing.assert_array_equal(load_tensor(spec, path), splits.test.inputs["image"][row])
        assert path.parent.name == str(splits.test.targets[row])


def test_decoded_pictures_are_kept_until_a_file_changes(signs, monkeypatch):
    first = opened(signs).task.splits()
    calls = []

    def counted(files, *args, **kwargs):
        calls.append(len(files))
        return load_files(files, *args, **kwargs)

    monkeypatch.setattr("edgeml_train.data.decoded.load_files", counted)
    again = opened(signs).task.splits()
    assert calls == []
    for part in ("train", "validation", "test"):
        before, after = getattr(first, part), getattr(again, part)
        np.testing.assert_array_equal(before.inputs["image"], after.inputs["image"])
        np.testing.assert_array_equal(before.targets, after.targets)
        np.testing.assert_array_equal(before.attributes["student"], after.attributes["student"])
    assert again.files == first.files

    path = next(iter(first.files.values()))
    other = next(file for file in path.parent.iterdir() if file != path)
    rewrite(path, other.read_bytes())
    changed = opened(signs).task.splits()
    assert calls == [10 * STUDENTS]
    assert not np.array_equal(changed.test.inputs["image"][0], first.test.inputs["image"][0])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", None])
def test_a_damaged_cache_is_made_again(signs, content):
    first = opened(signs).task.splits()
    kept = signs / ".edgeml" / "cache" / "decoded.npz"
    kept.write_bytes(kept.read_bytes()[:-5000] if content is None else content)
    again = opened(signs).task.splits()
    np.testing.assert_array_equal(first.test.inputs["image"], again.test.inputs["image"])
    assert [path.name for path in kept.parent.iterdir()] == ["decoded.npz"]
    assert kept.stat().st_size > 10 * STUDENTS * 96 * 96 * 3


def test_without_a_place_to_keep_them_pictures_are_decoded_every_time(signs, caplog):
    (signs / ".edgeml" / "cache").write_text("no folder")
    for _ in range(2):
        caplog.clear()
        assert len(opened(signs).task.splits().test) == 20
        assert "cannot keep the decoded files" in caplog.text


BROKEN = {"zero bytes": b"", "truncated": None, "no picture": b"hello"}


def break_files(signs, count, kind="zero bytes"):
    for student in range(count):
        path = signs.parent / "data" / "3" / f"IMG_{FIRST + 3 + 10 * student}.JPG"
        content = BROKEN[kind]
        rewrite(path, path.read_bytes()[:300] if content is None else content)


@pytest.mark.parametrize("kind", BROKEN)
def test_unreadable_files_are_counted_named_and_refused(signs, kind):
    break_files(signs, 2, kind)
    with pytest.raises(ProjectError, match=r"2 of 120 files cannot be read, expected at most 1\.00% ") as caught:
        opened(signs).task.splits()
    assert "IMG_1121.JPG" in str(caught.value)
    assert "IMG_1131.JPG" in str(caught.value)
    assert not (signs / ".edgeml" / "cache" / "decoded.npz").exists()


def test_a_few_unreadable_files_are_left_out_and_named(signs, caplog):
    whole = opened(signs).task.splits()
    assert whole.unreadable == ()
    break_files(signs, 1)
    for _ in range(2):  # decoded, then kept
        caplog.clear()
        splits = opened(signs).task.splits()
        (message,) = splits.unreadable
        assert "IMG_1121.JPG: expected an encoded file, found 0 bytes" in message
        assert message in caplog.text
        assert sum(len(getattr(splits, part)) for part in ("train", "validation", "test")) == 119
        for part in ("train", "validation", "test"):
            before, after = (set(getattr(s, part).attributes["student"]) for s in (whole, splits))
            assert before == after
    with pytest.raises(ProjectError, match="1 of 120 files cannot be read, expected at most 0"):
        opened(signs, "data.max_unreadable=0").task.splits()
    break_files(signs, 5)
    assert len(opened(signs, "data.max_unreadable=0.05").task.splits().test.targets) >= 15


@pytest.mark.parametrize("share", ["1.5", "-0.1", "true", "many", "nan"])
def test_a_tolerance_that_is_no_share(signs, share):
    with pytest.raises(ProjectError, match="expected max_unreadable to be a share of the files from 0 to 1, found"):
        opened(signs, f"data.max_unreadable={share}").task.splits()


@pytest.mark.parametrize("seed", ["-1", "1.5", "true", "first"])
def test_a_seed_that_is_none(signs, seed):
    with pytest.raises(ProjectError, match="expected the seed of the split to be an integer of 0 or more, found"):
        opened(signs, f"data.seed={seed}").task.splits()


def test_labels_that_the_contract_does_not_have_are_refused(signs):
    toml = signs / "edgeml.toml"
    fewer = toml.read_text().replace(', "8", "9"]', "]").replace("shape = [10]", "shape = [8]")
    toml.write_text(fewer)
    project = opened(signs)
    with pytest.raises(ProjectError, match=r"targets from 0 to 7 in train, .* has 8 labels, found 0 to 9"):
        check_splits(project.contract, project.task.splits())


def test_the_network_fits_the_size_in_the_contract(signs):
    toml = signs / "edgeml.toml"
    toml.write_text(toml.read_text().replace("shape = [96, 96, 3]", "shape = [65, 48, 3]"))
    project = opened(signs)
    pixels = project.task.splits().test.inputs["image"]
    assert pixels.shape == (20, 65, 48, 3)
    fused = build_fused(project.task, seed=0)
    with torch.inference_mode():
        assert fused.logits(torch.from_numpy(pixels)).shape == (20, 10)
    stem = fused.network[0]
    assert stem.padding == (0, 0)
    assert stem.around == (0, 1, 1, 1)


def without(data, digit, keep):
    for path in sorted((data / str(digit)).iterdir())[keep:]:
        path.unlink()


def with_folder(data, name):
    (data / name).mkdir()
    shutil.copy(data / "0" / "IMG_1118.JPG", data / name)


def few_students(data):
    for path in data.glob("*/*.JPG"):
        if int(path.stem[4:]) >= FIRST + 20:
            path.unlink()


LAYOUTS = [
    (shutil.rmtree, r"data\.path names .*data, which does not exist"),
    (lambda data: [shutil.rmtree(path) for path in data.iterdir()], "found none for 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
    (lambda data: shutil.rmtree(data / "4"), r"found none for 4\. Point data\.path"),
    (lambda data: without(data, 6, 0), "found none for 6"),
    (lambda data: without(data, 6, 1), "photographs of the digit 6 by at least 3 students, .* found 1"),
    (lambda data: without(data, 6, 3), "expected photographs of every digit in .*, found none of 6 by"),
    (few_students, "photographs of the digit 0 by at least 3 students, .* found 2"),
    (lambda data: with_folder(data, "10"), "found also 10"),
    (lambda data: with_folder(data, "thumb"), "found also thumb"),
    (lambda data: (data / "0" / "hand.JPG").write_bytes(b""), r"IMG_1118\.JPG, found 1 outside .*hand\.JPG"),
    (lambda data: (data / "0" / "IMG_1.png").write_bytes(b""), r"IMG_1118\.JPG, found 1 outside .*IMG_1\.png"),
    (lambda data: shutil.copy(data / "0" / "IMG_1118.JPG", data / "5"), r"number once, .*found the same in .*IMG_1118"),
]


@pytest.mark.parametrize(("damage", "message"), LAYOUTS)
def test_a_data_folder_that_cannot_be_used(signs, damage, message):
    damage(signs.parent / "data")
    with pytest.raises(EdgemlError, match=f"(?s){message}"):
        opened(signs).task.splits()
    assert not (signs / ".edgeml" / "cache").exists()


def test_hidden_files_are_passed_over(signs):
    data = signs.parent / "data"
    (data / ".DS_Store").write_bytes(b"x")
    (data / "3" / ".DS_Store").write_bytes(b"x")
    assert len(find_photographs(data)) == 10 * STUDENTS


def test_brightness_is_by_mean_luma_at_fixed_thresholds():
    def plain(*colour):
        return np.full((2, 2, len(colour)), colour, np.uint8)

    grey = np.stack([plain(level, level, level) for level in (0, 159, 160, 171, 172, 255)])
    expected = ["dark", "dark", "medium", "medium", "bright", "bright"]
    assert brightness_of(grey).tolist() == expected
    assert brightness_of(grey[..., :1]).tolist() == expected
    assert brightness_of(grey[..., 0]).tolist() == expected
    # 0.299 R + 0.587 G + 0.114 B: 226, 178 and 105.
    colours = np.stack([plain(255, 255, 0), plain(0, 255, 255), plain(255, 0, 255)])
    assert brightness_of(colours).tolist() == ["bright", "bright", "dark"]
    half = np.concatenate([plain(100, 100, 100), plain(230, 230, 230)])
    assert brightness_of(half[None]).tolist() == ["medium"]


def test_the_slices_are_by_digit_and_brightness(signs):
    project = opened(signs)
    assert project.contract.slices.by == ("label", "brightness")
    assert project.contract.group == "student"
    splits = project.task.splits()
    values = set.union(*(set(part.attributes["brightness"]) for part in (splits.train, splits.validation, splits.test)))
    assert values == {"dark", "medium", "bright"}


@pytest.mark.parametrize(("groups", "shares"), [(20, (0.7, 0.1)), (3, (0.7, 0.1)), (3, (0.0, 0.0)), (5, (1.0, 0.0))])
def test_grouped_parts_cover_everything_and_leave_no_part_empty(groups, shares):
    keys = np.random.default_rng(0).permutation(np.repeat([f"g{number}" for number in range(groups)], 4))
    parts = grouped_parts(keys, shares, seed=3)
    assert sorted(np.concatenate(parts).tolist()) == list(range(4 * groups))
    members = [set(keys[part]) for part in parts]
    assert sum(map(len, members)) == groups
    assert min(map(len, members)) >= 1
    if groups == 20:
        assert list(map(len, members)) == [14, 2, 4]
        assert not np.array_equal(parts[2], grouped_parts(keys, shares, seed=4)[2])
        assert np.array_equal(parts[2], grouped_parts(keys, shares, seed=3)[2])


def test_grouped_parts_need_a_group_for_every_part():
    with pytest.raises(ProjectError, match="expected at least 3 groups, one for each part of the split, found 2"):
        grouped_parts(np.array(["a", "b", "a"]), (0.7, 0.1), seed=0)
