"""Several feature pipelines, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from edgeml_runtime.errors import ProjectError
from edgeml_train.features.base import FeaturePipeline, single_input

if TYPE_CHECKING:
    from edgeml_train.features.base import Inputs

__all__ = ["Chain"]

_BATCH = 256


class Chain(FeaturePipeline):
    """Each pipeline is fitted on what the ones before it make of the training split.

    Args:
        pipelines: At least one, in order.

    Raises:
        ProjectError: None is given.
    """

    def __init__(self, *pipelines: FeaturePipeline) -> None:
        super().__init__()
        if not pipelines:
            raise ProjectError("Chain: expected at least one pipeline, found none")
        self.steps = nn.ModuleList(pipelines)

    def fit(self, inputs: Inputs) -> None:
        """Fit every pipeline.

        Args:
            inputs: One array [items, *shape], or a mapping with one entry.
        """
        values = single_input(inputs, pipeline="Chain")
        for position, step in enumerate(self.steps):
            if not isinstance(step, FeaturePipeline):
                raise ProjectError(
                    f"Chain: expected a FeaturePipeline at position {position}, found {type(step).__name__}"
                )
            step.fit(values)
            if position + 1 < len(self.steps):
                with torch.no_grad():
                    starts = range(0, len(values), _BATCH)
                    values = np.concatenate(
                        [step(torch.from_numpy(np.ascontiguousarray(values[i : i + _BATCH]))).numpy() for i in starts]
                    )

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Run the pipelines in order.

        Args:
            values: What the first pipeline takes.

        Returns:
            What the last one gives.
        """
        for step in self.steps:
            values = step(values)
        return values
