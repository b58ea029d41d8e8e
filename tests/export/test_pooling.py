"""Global average pooling in the traced graph."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeml_export.graph.input_chain import operator_name
from edgeml_export.graph.pooling import write_global_pools
from edgeml_export.quiet import quiet


class Pooled(nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 8, 3), pool

    def forward(self, pixels):
        return self.pool(self.conv(pixels.permute(0, 3, 1, 2))).flatten(1)


@pytest.mark.parametrize(
    ("pool", "written"),
    [
        (nn.AdaptiveAvgPool2d(1), True),
        (nn.AdaptiveAvgPool2d((1, 1)), True),
        (nn.AdaptiveAvgPool2d((1, 2)), False),
        (nn.AdaptiveMaxPool2d(1), False),
        (nn.AvgPool2d(6), False),
    ],
)
def test_only_pooling_to_one_pixel_is_written_as_a_mean(pool, written):
    model = Pooled(pool).eval().requires_grad_(False)
    pixels = torch.rand(1, 8, 8, 3)
    with torch.no_grad():
        module = torch.export.export(model, (pixels,), strict=False).module(check_guards=False)
    write_global_pools(module)
    operators = [operator_name(node) for node in module.graph.nodes]
    assert ("mean" in operators) is written
    torch.testing.assert_close(module(pixels), model(pixels))


def test_no_gather_is_left_behind_pixels():
    """What made the difference: ONNX of a network that reads transposed pixels."""
    model = Pooled(nn.AdaptiveAvgPool2d(1)).eval().requires_grad_(False)
    pixels = torch.rand(1, 8, 8, 3)
    with torch.no_grad(), quiet():
        module = torch.export.export(model, (pixels,), strict=False).module(check_guards=False)
        write_global_pools(module)
        program = torch.export.export(module, (pixels,), strict=False)
        converted = torch.onnx.export(program, dynamo=True, verbose=False).model_proto
    assert "Gather" not in {node.op_type for node in converted.graph.node}
