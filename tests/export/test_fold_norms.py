"""Batch normalisation folded into the layer before it, on the traced graph."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeml_export.graph.fold_norms import fold_batch_norms
from edgeml_export.graph.layers import find_layers


def statistics(norm, *, seed=0):
    """Statistics and weights that are nowhere trivial."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        norm.running_mean.copy_(torch.randn(norm.num_features, generator=generator))
        norm.running_var.copy_(torch.rand(norm.num_features, generator=generator) + 0.1)
        if norm.affine:
            norm.weight.copy_(torch.randn(norm.num_features, generator=generator))
            norm.bias.copy_(torch.randn(norm.num_features, generator=generator))
    return norm


def traced(model, x):
    model.eval().requires_grad_(False)
    with torch.no_grad():
        return torch.export.export(model, (x,), strict=False).module(check_guards=False)


def norms_in(module):
    return [node for node in module.graph.nodes if "batch_norm" in str(node.target)]


@pytest.mark.parametrize(
    ("layer", "norm", "x"),
    [
        (nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), torch.randn(1, 3, 9, 9)),
        (nn.Conv2d(4, 8, 3, stride=2, groups=4), nn.BatchNorm2d(8), torch.randn(1, 4, 9, 9)),
        (nn.Conv2d(3, 8, 3, padding="same"), nn.BatchNorm2d(8, affine=False), torch.randn(1, 3, 9, 9)),
        (nn.Conv1d(3, 8, 5), nn.BatchNorm1d(8), torch.randn(1, 3, 20)),
        (nn.Linear(6, 8), nn.BatchNorm1d(8, eps=0.1), torch.randn(1, 6)),
        (nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), torch.randn(1, 6)),
    ],
)
def test_a_norm_goes_into_the_layer_before_it(layer, norm, x):
    torch.manual_seed(1)
    model = nn.Sequential(layer, statistics(norm), nn.ReLU())
    module = traced(model, x)
    expected = model(x)
    assert len(norms_in(module)) == 1
    fold_batch_norms(module)
    assert norms_in(module) == []
    torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-5)
    (found,) = find_layers(module)
    factor = (1 if norm.weight is None else norm.weight) / torch.sqrt(norm.running_var + norm.eps)
    folded = layer.weight * factor.reshape([-1] + [1] * (layer.weight.ndim - 1))
    torch.testing.assert_close(found.weight, folded)
    assert torch.export.export(module, (x,), strict=False) is not None


class ReadTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), statistics(nn.BatchNorm2d(8))

    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) + y


class NormFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), statistics(nn.BatchNorm2d(3))

    def forward(self, x):
        return self.conv(self.norm(torch.relu(x)))


@pytest.mark.parametrize("model", [ReadTwice(), NormFirst()], ids=lambda model: type(model).__name__)
def test_a_norm_that_has_no_layer_of_its_own_stays(model):
    x = torch.randn(1, 3, 8, 8)
    module = traced(model, x)
    fold_batch_norms(module)
    assert len(norms_in(module)) == 1
    torch.testing.assert_close(module(x), model(x))
