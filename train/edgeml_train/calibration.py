"""Which items calibrate the ranges of activations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeml_evaluate.data import LabelledData

if TYPE_CHECKING:
    from edgeml_runtime.contract import Contract
    from edgeml_train.task import Splits

__all__ = ["calibration_items"]


def calibration_items(contract: Contract, splits: Splits, seed: int) -> LabelledData:
    """Items that calibrate activation ranges: a random choice from the training split.

    An anomaly score is made for items that the training split has none of: a range of usual items alone would cut
    unusual ones off. So up to half the items are unusual ones of the validation split.

    Args:
        contract: ``export.calibration_items`` says how many; all when there are fewer.
        splits: The data; the test split is not read.
        seed: Seed of the choice.

    Returns:
        The items.
    """
    count = contract.export.calibration_items
    if contract.anomaly is None:
        return _choose(splits.train, count, seed)
    unusual = _choose(splits.validation.take(splits.validation.targets == 1), count // 2, seed)
    usual = _choose(splits.train, count - len(unusual), seed)
    return LabelledData(
        inputs={name: np.concatenate([array, unusual.inputs[name]]) for name, array in usual.inputs.items()},
        targets=np.concatenate([usual.targets, unusual.targets]),
    )


def _choose(data: LabelledData, count: int, seed: int) -> LabelledData:
    order = np.random.default_rng(seed).permutation(len(data))
    return data.take(np.sort(order[:count]))
