"""Images sorted into a folder for each class, as Visual Wake Words is published for MLPerf Tiny.

A. Chowdhery and others, "Visual Wake Words Dataset", 2019, arXiv:1906.05721: photographs of COCO 2014, sorted by
whether a person is to be seen. MLPerf Tiny's copy ``vw_coco2014_96``
(https://github.com/mlcommons/tiny/tree/master/benchmark/training/visual_wake_words) holds the folders ``person`` and
``non_person`` of 96×96 JPEGs. Folders within ``train``, ``validation`` (or ``val``) and ``test`` are read as well, and
text files that list the files of a part.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from edgeml_runtime.errors import ProjectError
from edgeml_train.data.classes import check_classes
from edgeml_train.data.files import (
    LabelledFile,
    Part,
    matching_files,
    name_some,
    part_by_hash,
    parts_by_list,
    subfolders,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["find_images"]

# What the runtime's loader `image` reads.
_IMAGE = re.compile(r".+\.(jpe?g|png|bmp|gif|tiff?|webp|ppm)", re.IGNORECASE)
_EXAMPLE = "COCO_train2014_000000000009.jpg"
_PART_FOLDERS = {
    Part.TRAIN: ("train",),
    Part.VALIDATION: ("validation", "val"),
    Part.TEST: ("test",),
}


def find_images(
    folder: Path,
    labels: Sequence[str],
    *,
    lists: Mapping[Part, Path] | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    group: Callable[[Path], str] | None = None,
) -> tuple[LabelledFile, ...]:
    """List images; none is decoded.

    The split is that of the folders ``train``, ``validation`` and ``test`` where there are such; or of ``lists``; or
    else by a hash of each file's name, so that adding images moves none.

    Args:
        folder: Holds a folder for each label, or the three folders that do.
        labels: The contract's labels, which are the folders' names; the position of one is its target.
        lists: Text file of each part that has one: lines like ``person/COCO_train2014_000000000009.jpg``. Files in no
            list are for training, or are left out where training has a list.
        validation: Share of validation, without folders or lists.
        test: Share of test, without folders or lists.
        group: File → name of what must not be split, such as who took the picture. It becomes the attribute ``group``,
            and the hash is taken of it.

    Returns:
        Ordered by class and name within each part.

    Raises:
        ProjectError: When a class has no folder or no image, a folder of images is no label, another file lies among
            the images, a list does not fit, or a part lacks a class; the message counts and names them.
    """
    places = _part_folders(folder, labels)
    if places and lists:
        raise ProjectError(
            f"{folder}: expected either lists or the folders {', '.join(place.name for place in places.values())} to "
            "say how it is split, found both. Leave out the lists, or sort the images into folders by class alone."
        )
    parts: dict[Path, Part] = {}
    if places:
        for part, place in places.items():
            parts |= dict.fromkeys(_images(place, labels), part)
    else:
        images = {f"{path.parent.name}/{path.name}": path for path in _images(folder, labels)}
        if lists:
            by_name = parts_by_list(images, lists, rest=None if Part.TRAIN in lists else Part.TRAIN)
        else:
            by_name = {
                name: part_by_hash(group(path) if group else name, validation=validation, test=test)
                for name, path in images.items()
            }
        parts = {images[name]: part for name, part in by_name.items()}
    check_classes(
        str(folder),
        Counter((labels.index(path.parent.name), part) for path, part in parts.items()),
        labels,
        items="images",
        remedy="Add images, split by lists, or take the labels out of edgeml.toml.",
    )
    return tuple(
        LabelledFile(
            path=path,
            part=part,
            target=labels.index(path.parent.name),
            attributes={"group": group(path)} if group else {},
        )
        for path, part in parts.items()
    )


def _part_folders(folder: Path, labels: Sequence[str]) -> dict[Part, Path]:
    """The folders of the parts, or none where the classes lie at the top."""
    there = {name: path for name, path in subfolders(folder).items() if name not in labels}
    found = {part: [there[name] for name in names if name in there] for part, names in _PART_FOLDERS.items()}
    if not any(found.values()):
        return {}
    if any(len(places) != 1 for places in found.values()):
        names = [place.name for places in found.values() for place in places]
        raise ProjectError(
            f"{folder}: expected one folder each for train, validation (or val) and test, found {', '.join(names)}. "
            "Complete them, or put the folders of the classes at the top and split by lists."
        )
    return {part: place for part, (place,) in found.items()}


def _images(folder: Path, labels: Sequence[str]) -> list[Path]:
    """All images of all classes, in the order of labels and names."""
    folders = subfolders(folder)
    missing = [label for label in labels if label not in folders]
    if missing:
        raise ProjectError(
            f"{folder}: expected a folder for each of {len(labels)} labels, found none for {len(missing)}: "
            f"{name_some(missing)}; there are {name_some(list(folders)) or 'no folders'}. Correct the labels or the "
            "path in edgeml.toml."
        )
    strangers = {
        name: count
        for name, path in folders.items()
        if name not in labels and (count := sum(_IMAGE.fullmatch(file.name) is not None for file in path.iterdir()))
    }
    if strangers:
        counts = [f"{name} ({count} images)" for name, count in strangers.items()]
        raise ProjectError(
            f"{folder}: expected only classes that are labels in edgeml.toml, found {len(strangers)} besides: "
            f"{name_some(counts)}. Add the labels, or move the folders out."
        )
    return [path for label in labels for path, _ in matching_files(folders[label], _IMAGE, _EXAMPLE)]
