"""Feature pipelines of several inputs, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from edgeml_runtime.errors import ProjectError
from edgeml_train.features.base import FeaturePipeline

if TYPE_CHECKING:
    from edgeml_train.features.base import Inputs

__all__ = ["Join"]


class Join(FeaturePipeline):
    """Each input goes through a pipeline of its own; what they give is joined along the last axis.

    Args:
        pipelines: Contract input name → its pipeline, in the contract's order.

    Raises:
        ProjectError: None is given.
    """

    def __init__(self, pipelines: Mapping[str, FeaturePipeline]) -> None:
        super().__init__()
        if not pipelines:
            raise ProjectError("Join: expected at least one pipeline, found none")
        self.names = tuple(pipelines)
        self.pipelines = nn.ModuleList(pipelines.values())

    def fit(self, inputs: Inputs) -> None:
        """Fit every pipeline on its own input.

        Args:
            inputs: Contract input name → [items, *shape].

        Raises:
            ProjectError: The inputs are not those the pipelines are named after.
        """
        if not isinstance(inputs, Mapping) or set(inputs) != set(self.names):
            found = ", ".join(map(repr, inputs)) if isinstance(inputs, Mapping) else "one array"
            raise ProjectError(f"Join.fit: expected the inputs {', '.join(map(repr, self.names))}, found {found}")
        for name, pipeline in zip(self.names, self.pipelines, strict=True):
            if not isinstance(pipeline, FeaturePipeline):
                raise ProjectError(f"Join: expected a FeaturePipeline for {name!r}, found {type(pipeline).__name__}")
            pipeline.fit(inputs[name])

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Run every pipeline and join.

        Args:
            inputs: One tensor per pipeline, in their order.

        Returns:
            What the pipelines give, joined along the last axis.
        """
        parts = [pipeline(values) for pipeline, values in zip(self.pipelines, inputs, strict=True)]
        return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]
