"""The scans of handwritten digits that are bundled with scikit-learn.

1,797 scans by 13 people, reduced to 8×8 counts of ink from 0 to 16 (E. Alpaydin and C. Kaynak, "Optical Recognition of
Handwritten Digits", UCI Machine Learning Repository, 1998, CC BY 4.0). Who wrote which digit is not part of the copy.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_evaluate.data import LabelledData

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["handwritten_digits", "write_pngs"]

_LEVELS = 16


def handwritten_digits(input_name: str = "image") -> LabelledData:
    """All scans.

    The counts 0 to 16 are spread over the 8 bits of a grey image (0 paper, 255 ink), so that they can be stored as
    picture files and read with the loader ``image``; no two counts fall together.

    Args:
        input_name: Name of the contract's input.

    Returns:
        uint8 [1797, 8, 8, 1], targets int64 [1797] from 0 to 9.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / _LEVELS)).astype(np.uint8)[..., None]
    return LabelledData(inputs={input_name: images}, targets=digits.target.astype(np.int64))


def write_pngs(images: NDArray[Any], targets: NDArray[Any], folder: Path, *, per_class: int = 2) -> dict[int, Path]:
    """Write some images as PNG files, which hold the pixels unchanged.

    Args:
        images: uint8 [n, height, width, 1].
        targets: [n] class index.
        folder: Where to; made when missing. Files that are there already are written again.
        per_class: How many of each class, the first ones.

    Returns:
        Position → file, named after class and position.
    """
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for label in np.unique(targets):
        for position in np.flatnonzero(targets == label)[:per_class].tolist():
            path = folder / f"digit-{label}-{position}.png"
            partial = path.with_suffix(".partial")
            Image.fromarray(images[position, ..., 0]).save(partial, format="PNG")
            os.replace(partial, path)
            files[position] = path
    return files
