"""The breast-cancer table bundled with scikit-learn, as the CSV file a user's own would be."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["write_breast_cancer"]


def write_breast_cancer(path: Path) -> None:
    """Write the Wisconsin diagnostic breast-cancer data as a table.

    569 fine-needle aspirates, 30 measures of the nuclei in their images (Street, Wolberg and Mangasarian, "Nuclear
    feature extraction for breast tumor diagnosis", SPIE 1905, 1993); CC BY 4.0 at the UCI repository,
    doi:10.24432/C5DW2B.

    Args:
        path: The CSV file; its columns are the measures and ``diagnosis``, malignant or benign.
    """
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*map(str, data.feature_names), "diagnosis"])
        for values, target in zip(data.data.tolist(), data.target.tolist(), strict=True):
            writer.writerow([*values, str(data.target_names[target])])
