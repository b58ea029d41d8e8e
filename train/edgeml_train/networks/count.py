"""Counting parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = ["count_parameters"]


def count_parameters(module: nn.Module) -> int:
    """Return the number of trainable parameters.

    Args:
        module: Any module.
    """
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
