"""CIFAR-10: 60,000 colour images of 32×32 pixels in ten classes, in their binary version.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009;
https://www.cs.toronto.edu/~kriz/cifar.html. ``data_batch_1.bin`` to ``data_batch_5.bin`` for training and
``test_batch.bin``, each 10,000 records of one byte for the class and 3,072 for the pixels: all red ones row by row,
then the green, then the blue. The data set's Python version is pickled, and reading a pickle runs whatever program
somebody has put into it; it is refused.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_evaluate.data import LabelledData
from edgeml_runtime.errors import ProjectError
from edgeml_train.data.classes import check_classes
from edgeml_train.data.files import Part
from edgeml_train.data.stratified import stratified_parts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeml_train.task import Splits

__all__ = ["CIFAR10_LABELS", "load_cifar10"]

CIFAR10_LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""The classes, in the order of ``batches.meta.txt``."""

_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST = ("test_batch",)
_SUBFOLDER, _SUFFIX = "cifar-10-batches-bin", ".bin"
_SIDE, _CHANNELS = 32, 3
_RECORD_BYTES = 1 + _CHANNELS * _SIDE * _SIDE


def load_cifar10(
    folder: Path,
    *,
    input_name: str = "image",
    validation_share: float = 0.1,
    seed: int = 0,
    images_per_file: int = 10_000,
) -> Splits:
    """Read the data set, with its own test and a stratified share of its training images for validation.

    Args:
        folder: The unpacked ``cifar-10-binary.tar.gz``, or its folder ``cifar-10-batches-bin``.
        input_name: Name of the contract's input, which is uint8 [32, 32, 3].
        validation_share: Share of the training images, between 0 and 1.
        seed: Seed of the choice of validation images.
        images_per_file: Records in each file; files of any other length are damaged.

    Returns:
        uint8 [n, 32, 32, 3] RGB and int64 targets; nothing is known about who took which picture.

    Raises:
        ProjectError: When files are missing or only the Python version is there, or a file has another length or
            classes beyond 9, or a class is missing from a part; the message counts and names them.
    """
    from edgeml_train.task import Splits

    if not 0.0 < validation_share < 1.0:
        raise ProjectError(f"expected a validation_share between 0 and 1, found {validation_share}")
    if (folder / _SUBFOLDER).is_dir():
        folder = folder / _SUBFOLDER
    _check_files(folder)
    everything = _read(folder, _TRAIN, input_name, images_per_file)
    validation, train = stratified_parts(everything.targets, (validation_share,), seed=seed)
    test = _read(folder, _TEST, input_name, images_per_file)
    targets = {
        Part.TRAIN: everything.targets[train],
        Part.VALIDATION: everything.targets[validation],
        Part.TEST: test.targets,
    }
    check_classes(
        str(folder),
        Counter((int(target), part) for part, values in targets.items() for target in values),
        CIFAR10_LABELS,
        items="images",
        remedy="Unpack cifar-10-binary.tar.gz again, or choose a larger validation_share.",
    )
    return Splits(
        train=everything.take(train),
        validation=everything.take(validation),
        test=test,
        name=f"CIFAR-10's own test; {validation_share:.0%} of its training images, stratified, for validation",
    )


def _check_files(folder: Path) -> None:
    names = [name + _SUFFIX for name in (*_TRAIN, *_TEST)]
    missing = [name for name in names if not (folder / name).is_file()]
    if not missing:
        return
    expected = f"{folder}: expected {', '.join(names)}, found {len(missing)} of {len(names)} missing"
    places = (folder, folder / "cifar-10-batches-py")
    if any((place / name).is_file() for place in places for name in (*_TRAIN, *_TEST)):
        raise ProjectError(
            f"{expected}, and the Python version instead. That one is pickled, and unpickling runs whatever program "
            "the file holds, so it is not read. Fetch the binary version, cifar-10-binary.tar.gz, from "
            "https://www.cs.toronto.edu/~kriz/cifar.html."
        )
    raise ProjectError(
        f"{expected}: {', '.join(missing)}. Unpack cifar-10-binary.tar.gz from "
        "https://www.cs.toronto.edu/~kriz/cifar.html there, or correct the path in edgeml.toml."
    )


def _read(folder: Path, names: Sequence[str], input_name: str, images_per_file: int) -> LabelledData:
    records = np.concatenate([_records(folder / (name + _SUFFIX), images_per_file) for name in names])
    planes = records[:, 1:].reshape(-1, _CHANNELS, _SIDE, _SIDE)
    images = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    return LabelledData(inputs={input_name: images}, targets=records[:, 0].astype(np.int64))


def _records(path: Path, images: int) -> NDArray[Any]:
    try:
        size = path.stat().st_size
        expected = images * _RECORD_BYTES
        if size != expected:
            raise ProjectError(
                f"{path}: expected {expected} bytes ({images} records of {_RECORD_BYTES}), found {size}. The file is "
                "damaged or truncated; unpack cifar-10-binary.tar.gz again."
            )
        records = np.fromfile(path, np.uint8).reshape(images, _RECORD_BYTES)
    except OSError as error:
        raise ProjectError(f"{path}: the file cannot be read: {error}") from error
    wrong = records[:, 0] >= len(CIFAR10_LABELS)
    if wrong.any():
        raise ProjectError(
            f"{path}: expected classes from 0 to {len(CIFAR10_LABELS) - 1}, found {wrong.sum()} of {images} records "
            f"beyond, the first being record {np.flatnonzero(wrong)[0]} with {records[wrong][0, 0]}. The file is "
            "damaged, or that of another data set (CIFAR-100 has two bytes for the class)."
        )
    return records
