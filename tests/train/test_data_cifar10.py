"""CIFAR-10's binary version; the pickled one is refused without being opened."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest

from edgeml_runtime.errors import ProjectError
from edgeml_train.data import CIFAR10_LABELS, load_cifar10


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


public_sets = load("public_sets")
IMAGES = 20


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def published(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    return folder, *public_sets.write_cifar10(folder, images=IMAGES)


@pytest.mark.parametrize("inner", [True, False])
def test_pixels_and_classes_are_those_written(published, inner):
    folder, pixels, classes = published
    splits = load_cifar10(folder if inner else folder.parent, images_per_file=IMAGES)
    assert np.array_equal(splits.test.inputs["image"], pixels[5 * IMAGES :])
    assert splits.test.targets.tolist() == classes[5 * IMAGES :].tolist()
    together = np.concatenate([splits.train.inputs["image"], splits.validation.inputs["image"]])
    assert together.dtype == np.uint8
    assert sorted(image.tobytes() for image in together) == sorted(image.tobytes() for image in pixels[: 5 * IMAGES])
    rows = {image.tobytes(): row for row, image in enumerate(pixels)}
    assert [classes[rows[image.tobytes()]] for image in splits.train.inputs["image"]] == splits.train.targets.tolist()


def test_validation_is_stratified_and_seeded(published):
    folder = published[0]
    first, again, other = (load_cifar10(folder, images_per_file=IMAGES, seed=seed) for seed in (0, 0, 1))
    assert np.bincount(first.validation.targets, minlength=10).tolist() == [1] * 10
    assert np.array_equal(first.validation.inputs["image"], again.validation.inputs["image"])
    assert not np.array_equal(first.validation.inputs["image"], other.validation.inputs["image"])
    assert "10% of its training images" in first.name


def test_labels_are_those_of_the_data_set(published):
    assert (published[0] / "batches.meta.txt").read_text().split() == list(CIFAR10_LABELS)


@pytest.mark.parametrize("inner", [True, False])
def test_the_python_version_is_refused_unread(tmp_path, inner):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(ProjectError, match=r"pickled.*Fetch the binary version, cifar-10-binary\.tar\.gz"):
        load_cifar10(folder if inner else tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_missing_files_are_counted_and_named(published):
    folder = published[0]
    (folder / "data_batch_3.bin").unlink()
    (folder / "test_batch.bin").unlink()
    with pytest.raises(ProjectError, match=r"found 2 of 6 missing: data_batch_3\.bin, test_batch\.bin"):
        load_cifar10(folder, images_per_file=IMAGES)


def test_the_published_length_is_expected(published):
    with pytest.raises(ProjectError, match=r"data_batch_1\.bin: expected 30730000 bytes .*, found 61460"):
        load_cifar10(published[0])


@pytest.mark.parametrize("cut", [1, 3073, 20 * 3073])
def test_a_truncated_file_is_refused(published, cut):
    path = published[0] / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ProjectError, match=rf"data_batch_2\.bin: expected 61460 bytes .*, found {61460 - cut}"):
        load_cifar10(published[0], images_per_file=IMAGES)


def test_classes_beyond_nine_are_refused(published):
    path = published[0] / "test_batch.bin"
    data = bytearray(path.read_bytes())
    data[3 * 3073] = data[7 * 3073] = 77
    path.write_bytes(data)
    with pytest.raises(ProjectError, match="found 2 of 20 records beyond, the first being record 3 with 77"):
        load_cifar10(published[0], images_per_file=IMAGES)


def test_a_class_with_one_image_is_refused(published):
    folder = published[0]
    for number in range(1, 6):
        path = folder / f"data_batch_{number}.bin"
        records = np.fromfile(path, np.uint8).reshape(IMAGES, -1)
        records[np.flatnonzero(records[:, 0] == 0)[number == 1 :], 0] = 1
        records.tofile(path)
    with pytest.raises(
        ProjectError, match=r"1 of 10 classes lacking in one, by number of images: airplane \(1 / 0 / 2\)"
    ):
        load_cifar10(folder, images_per_file=IMAGES)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_a_validation_share_that_leaves_a_part_empty_is_refused(published, share):
    with pytest.raises(ProjectError, match="validation_share"):
        load_cifar10(published[0], images_per_file=IMAGES, validation_share=share)
