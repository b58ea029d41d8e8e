"""Random weights that behave: what distinguishes two items survives to the last layer, as in a trained network.

Plainly random layers wash items out: behind the 28 layers of MobileNetV1 every image looks alike, one class always
wins, and the rounding of int8 is larger than what is left of the differences. So separable kernels are drawn
around the identity, normalisation gets the statistics of its activations, and the last layer is solved for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["aim", "randomise", "settle"]

_RANDOM_SHARE = 0.3
_RIDGE = 0.3


def randomise(network: nn.Module, *, seed: int) -> None:
    """Draw weights: He's initialisation (arXiv 1502.01852), separable kernels around the identity (arXiv 1706.00388).

    Args:
        network: Changed in place.
        seed: The same seed gives the same weights.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear", generator=generator)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1, generator=generator)
            if isinstance(module, nn.Conv2d) and _is_separable(module):
                _towards_identity(module.weight.data)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, mean=0.8, std=0.3, generator=generator)


def _is_separable(convolution: nn.Conv2d) -> bool:
    pointwise = convolution.kernel_size == (1, 1) and convolution.stride == (1, 1)
    return pointwise or convolution.groups > 1


def _towards_identity(weight: Tensor) -> None:
    """Channel c mostly hands on input channel c, modulo their number; weight is [out, in, height, width]."""
    outputs, inputs, height, width = weight.shape
    channels = torch.arange(outputs)
    weight *= _RANDOM_SHARE
    weight[channels, channels % inputs, (height - 1) // 2, (width - 1) // 2] += 1.0


def settle(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the statistics of batch normalisation to those of some items, as training would have left them.

    Args:
        network: Changed in place, and left in evaluation mode.
        batches: What the feature pipeline gives for a few batches of items.
    """
    network.eval()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    momentums = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = None  # a plain average over the batches
    with torch.no_grad():
        for batch in batches:
            network(batch)
    for norm, momentum in zip(norms, momentums, strict=True):
        norm.momentum = momentum
    network.eval()


def aim(network: nn.Sequential, batches: Sequence[Tensor], scenes: Tensor) -> None:
    """Solve the last layer for telling scenes apart: least squares with a ridge, scene s being class s modulo classes.

    Classes without a scene keep their random weights, too small to win.

    Args:
        network: Ends in a linear layer, which is changed in place.
        batches: What the feature pipeline gives for a few batches of items.
        scenes: [items], the scene of each, from 0.
    """
    *body, head = network
    if not isinstance(head, nn.Linear):
        raise TypeError(f"expected a network that ends in a linear layer, found {type(head).__name__}")
    with torch.no_grad():
        pooled = torch.cat([nn.Sequential(*body)(batch) for batch in batches]).double()
        used = min(head.out_features, int(scenes.max()) + 1)
        wanted = nn.functional.one_hot(scenes % used, used).double() * 2 - 1
        x, y = pooled - pooled.mean(dim=0), wanted - wanted.mean(dim=0)
        ridge = _RIDGE * x.square().sum() / len(x) * torch.eye(x.shape[1], dtype=torch.float64)
        solved = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
        head.weight *= 0.5 * solved.std() / head.weight.std()
        head.weight[:used] = solved.T.float()
        head.bias.fill_(-1.0)
        head.bias[:used] = wanted.mean(dim=0).float()
        head.bias.sub_(head.weight @ pooled.mean(dim=0).float())
