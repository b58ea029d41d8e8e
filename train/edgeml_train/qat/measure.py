"""Measuring a simulated model: its loss on the validation split, and how near it comes to the files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgeml_train.fused import to_tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeml_evaluate import LabelledData
    from edgeml_export.fakequant import SimulatedModel
    from edgeml_runtime.manifest import ModelFormat
    from edgeml_train.task import Task

__all__ = ["relative_rms", "simulated_outputs", "validation_loss"]

_BATCH = 64


def simulated_outputs(model: SimulatedModel, data: LabelledData, format_: ModelFormat | None) -> NDArray[Any]:
    """The deciding output for many items.

    Args:
        model: The simulated model.
        data: The items.
        format_: The format to compute as; None for float.

    Returns:
        [n, *shape] float32.
    """
    model.mode.format = format_
    parts = []
    with torch.inference_mode():
        for start in range(0, len(data), _BATCH):
            batch = data.take(slice(start, start + _BATCH))
            parts.append(model.logits(*to_tensors(batch.inputs, model.input_names)).numpy())
    return np.concatenate(parts)


def validation_loss(model: SimulatedModel, task: Task, data: LabelledData) -> float:
    """The task's loss as training measures it: item by item the mean, over all forms of the model the mean.

    Args:
        model: The simulated model.
        task: Gives the loss.
        data: The validation split.

    Returns:
        The loss.
    """
    total = 0.0
    for format_ in model.forms:
        outputs = torch.from_numpy(simulated_outputs(model, data, format_))
        targets = torch.from_numpy(np.ascontiguousarray(data.targets))
        for part, wanted in zip(torch.split(outputs, _BATCH), torch.split(targets, _BATCH), strict=True):
            total += float(task.loss(part, wanted)) * len(part)
    return total / (len(data) * len(model.forms))


def relative_rms(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Root mean square of a difference over the standard deviation of what is expected.

    Args:
        found: [n, *shape].
        expected: [n, *shape].

    Returns:
        The ratio.
    """
    difference = np.sqrt(np.square(found.astype(np.float64) - expected).mean())
    return float(difference / max(float(expected.std()), float(np.finfo(np.float32).tiny)))
