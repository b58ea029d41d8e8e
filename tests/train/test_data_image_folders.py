"""Folders of images by class, split by hash, by lists and by folders."""

from __future__ import annotations

import importlib.util
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgeml_runtime.errors import ProjectError
from edgeml_runtime.loaders import load_tensor
from edgeml_runtime.tensors import DType, InputSpec, LoaderSpec
from edgeml_train.data import Part, find_images, load_splits, part_by_hash


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


public_sets = load("public_sets")
LABELS = ("non_person", "person")
SPEC = InputSpec(
    name="image",
    dtype=DType.UINT8,
    shape=(96, 96, 3),
    range=(0, 255),
    unit="RGB level",
    source="camera",
    loader=LoaderSpec(name="image", version=1, options={}),
)


@pytest.fixture
def published(tmp_path):
    return public_sets.write_images(tmp_path / "vw_coco2014_96")


def relative(item):
    return f"{item.path.parent.name}/{item.path.name}"


def test_folders_are_classes_in_the_order_of_the_labels(published):
    for labels in (LABELS, LABELS[::-1]):
        found = find_images(published, labels)
        assert len(found) == 80
        assert all(labels[item.target] == item.path.parent.name for item in found)


def test_the_split_by_hash_moves_no_image_when_others_are_added(published):
    before = {relative(item): item.part for item in find_images(published, LABELS)}
    assert before == {name: part_by_hash(name) for name in before}
    shutil.copyfile(next(published.glob("person/*.jpg")), published / "person" / "COCO_train2014_999999999999.JPEG")
    after = {relative(item): item.part for item in find_images(published, LABELS)}
    assert len(after) == 81
    assert {name: after[name] for name in before} == before


def test_groups_are_not_split(published):
    found = find_images(published, LABELS, validation=0.3, test=0.3, group=lambda path: path.stem[-2:])
    parts = {}
    for item in found:
        assert item.attributes == {"group": item.path.stem[-2:]}
        assert parts.setdefault(item.attributes["group"], item.part) is item.part


def test_images_load_as_the_loader_reads_them(published):
    splits = load_splits(find_images(published, LABELS), SPEC, name="by hash")
    assert splits.train.inputs["image"].shape[1:] == (96, 96, 3)
    for row, path in splits.files.items():
        assert np.array_equal(splits.test.inputs["image"][row], load_tensor(SPEC, path))
        assert LABELS[splits.test.targets[row]] == path.parent.name


def write_lists(folder, found, *parts):
    lists = {}
    for part in parts:
        lists[part] = folder.parent / f"{part.value}.txt"
        lists[part].write_text("".join(f"{relative(item)}\n" for item in found if item.part is part))
    return lists


def test_lists_decide_and_the_rest_is_for_training(published):
    chosen = find_images(published, LABELS, validation=0.3, test=0.3)
    lists = write_lists(published, chosen, Part.VALIDATION, Part.TEST)
    assert find_images(published, LABELS, lists=lists) == chosen


def test_with_a_list_for_training_the_rest_is_left_out(published):
    chosen = find_images(published, LABELS, validation=0.3, test=0.3)
    lists = write_lists(published, [item for item in chosen if not item.path.stem.endswith("7")], *Part)
    found = find_images(published, LABELS, lists=lists)
    assert found == tuple(item for item in chosen if not item.path.stem.endswith("7"))
    assert len(found) == 72


@pytest.mark.parametrize("validation", ["validation", "val"])
def test_folders_of_parts_decide(tmp_path, validation):
    for name, images in (("train", 5), (validation, 3), ("test", 2)):
        public_sets.write_images(tmp_path / "set" / name, per_class=images)
    found = find_images(tmp_path / "set", LABELS)
    assert [Counter(item.part for item in found)[part] for part in Part] == [10, 6, 4]
    assert {item.part: item.path.parent.parent.name for item in found} == {
        Part.TRAIN: "train",
        Part.VALIDATION: validation,
        Part.TEST: "test",
    }
    with pytest.raises(ProjectError, match="found both"):
        find_images(tmp_path / "set", LABELS, lists={Part.TEST: tmp_path / "list.txt"})
    shutil.rmtree(tmp_path / "set" / validation)
    with pytest.raises(ProjectError, match="found train, test"):
        find_images(tmp_path / "set", LABELS)


def test_a_class_may_be_called_like_a_part(tmp_path):
    folder = public_sets.write_images(tmp_path / "vehicles", classes=("bus", "train"))
    assert len(find_images(folder, ("bus", "train"))) == 80


def test_unreadable_images_are_counted_and_named(published):
    broken = [item.path for item in find_images(published, LABELS) if item.part is Part.TRAIN][:2]
    broken[0].write_bytes(b"")
    broken[1].write_bytes(broken[1].read_bytes()[:400])
    found = find_images(published, LABELS)
    with pytest.raises(ProjectError, match=r"2 of .* files cannot be read") as caught:
        load_splits(found, SPEC, name="by hash")
    assert all(str(path) in str(caught.value) for path in broken)
    splits = load_splits(found, SPEC, name="by hash", max_unreadable=0.05)
    assert len(splits.train) == sum(item.part is Part.TRAIN for item in found) - 2


def test_a_class_without_a_folder_is_refused(published):
    with pytest.raises(ProjectError, match="found none for 1: dog; there are non_person, person"):
        find_images(published, (*LABELS, "dog"))


def test_images_of_another_class_are_counted_and_named(published):
    shutil.copytree(published / "person", published / "Person")
    (published / "splits").mkdir()
    (published / "splits" / "train.txt").touch()
    with pytest.raises(ProjectError, match=r"found 1 besides: Person \(40 images\)"):
        find_images(published, LABELS)


def test_other_files_among_the_images_are_counted_and_named(published):
    (published / "person" / "labels.csv").touch()
    (published / "person" / "more").mkdir()
    (published / "person" / "Thumbs.db").touch()
    with pytest.raises(ProjectError, match=r"found 3 outside this layout: Thumbs\.db, labels\.csv, more"):
        find_images(published, LABELS)


@pytest.mark.parametrize(("images", "counts"), [(0, "0 / 0 / 0"), (1, "1 / 0 / 0")])
def test_a_class_with_too_few_images_is_refused(published, images, counts):
    for path in sorted((published / "person").iterdir())[images:]:
        path.unlink()
    with pytest.raises(ProjectError, match=rf"found 1 of 2 classes lacking in one.*: person \({counts}\)"):
        find_images(published, LABELS)
