"""A made-up table with numbers, categories and missing values, whose answer is known: machines that wear out."""

from __future__ import annotations

import csv
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

NUMBERS = ("temperature_c", "vibration_mm_s", "load")
CATEGORIES = {"site": ("north", "south"), "shift": ("early", "late", "night")}
LABELS = ("ok", "worn")
UNIT = "index; site: north 0, south 1; shift: early 0, late 1, night 2"


class Law(Enum):
    """What the state depends on."""

    ADDITIVE = "the sum of vibration and shift: a linear model is as good as it gets"
    CROSSED = "vibration in the north, stillness in the south: a linear model sees nothing of it"


def mixed_rows(count: int = 900, *, law: Law = Law.CROSSED, seed: int = 5) -> list[dict[str, str]]:
    """Rows as a CSV file holds them; about 8 % of the vibrations and 5 % of the sites are missing.

    Args:
        count: Rows.
        law: What the state depends on.
        seed: Seed of every draw.

    Returns:
        Column → text; a few rows are of the site ``lab``, which is too rare to be learned.
    """
    rng = np.random.default_rng(seed)
    site = rng.choice(["north", "south", "lab"], count, p=[0.5, 0.495, 0.005])
    shift = rng.choice(CATEGORIES["shift"], count)
    vibration, temperature, load = rng.normal(2.0, 0.5, count), rng.normal(60, 8, count), rng.uniform(0, 1, count)
    wear = (vibration - 2.0) / 0.5
    wear = wear + (shift == "night") - 0.3 if law is Law.ADDITIVE else np.where(site == "south", -wear, wear)
    worn = wear + rng.normal(0, 0.4, count) > 0
    lost = rng.random((2, count)) < np.array([[0.08], [0.05]])
    return [
        {
            "temperature_c": f"{temperature[row]:.4f}",
            "vibration_mm_s": "" if lost[0, row] else f"{vibration[row]:.3f}",
            "load": f"{load[row]:.3f}",
            "site": "NA" if lost[1, row] else str(site[row]),
            "shift": str(shift[row]),
            "machine": f"m{row % 30:02d}",
            "taken_at": f"2025-01-{1 + row // 48:02d}T{row % 48 // 2:02d}:{row % 2 * 30:02d}",
            "state": LABELS[int(worn[row])],
        }
        for row in range(count)
    ]


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    """Write rows as a CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def mixed_contract(data_path: str, *, extra: str = "", data: str = "") -> str:
    """The contract of the mixed table, as the template would be filled in by hand.

    Args:
        data_path: The table.
        extra: Further tables of the contract, such as ``[groups]``.
        data: Further keys of ``[data]``.

    Returns:
        TOML.
    """
    listed = "\n".join(f"{column} = {list(names)}" for column, names in CATEGORIES.items())
    return f"""
[model]
name = "wear"
version = "1.0.0"
description = "Tells worn machines from those in order."

[[inputs]]
name = "numbers"
dtype = "float32"
shape = [3]
range = [-1000, 1000]
unit = "°C, mm/s, share"
source = "sensors"
allow_missing = true

[[inputs]]
name = "categories"
dtype = "int32"
shape = [2]
range = [-1, 2]
unit = "{UNIT}"
source = "configuration"

[[outputs]]
name = "logits"
role = "logits"
dtype = "float32"
shape = [2]

[[outputs]]
name = "scores"
role = "scores"
dtype = "float32"
shape = [2]
labels = {list(LABELS)}

[target]
name = "state"
kind = "classification"

[metric]
primary = "accuracy"
floor = 0.6

[slices]
by = ["label", "site"]
min_items = 20
{extra}
[export]
required = ["onnx-fp32", "onnx-int8", "tflite-fp32", "tflite-int8"]

[data]
path = "{data_path}"
seed = 0
numbers = {list(NUMBERS)}
{data}
[data.categories]
{listed}

[train]
epochs = 20
batch_size = 64
learning_rate = 0.01
prefer_simpler = true
"""
