"""Rounding to integers and back, with gradients: what an int8 file computes, in float.

Values inside a range pass their gradient on as if nothing had been rounded ("straight-through", Bengio et al. 2013,
arXiv:1308.3432), clipped ones pass none. Scale and zero point have the gradients of LSQ+ (Bhalgat et al. 2020,
arXiv:2004.09576), which extend those of LSQ (Esser et al. 2020, arXiv:1902.08153) to ranges about any zero point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["fake_quantize", "round_weights"]

_TINY = torch.finfo(torch.float32).tiny


def fake_quantize(values: Tensor, low: Tensor, high: Tensor, steps: int) -> Tensor:
    """Round activations to the integers of a range, and back.

    scale = (high − low) / steps, zero point = round(−low / scale), x̂ = (clip(round(x / scale) + zero point, 0, steps) −
    zero point) · scale, as ONNX Runtime's and the TFLite quantizer compute it.

    Args:
        values: float32, of any shape.
        low: float32 scalar, at most 0.
        high: float32 scalar, above ``low`` and at least 0.
        steps: The largest integer, such as 255; the smallest is 0.

    Returns:
        float32, of the same shape; gradients reach values and both ends.
    """
    scale = (high - low) / steps
    rounded: Tensor = _FakeQuantize.apply(values, scale, -low / scale, steps)  # type: ignore[no-untyped-call]
    return rounded


def round_weights(weight: Tensor, channel_axis: int | None, largest: int) -> Tensor:
    """Round weights to symmetric integers, and back: round(w / s) · s with s = max |w| / largest.

    Args:
        weight: float32, of any shape.
        channel_axis: Axis whose positions have a scale each; None for one scale.
        largest: The largest integer, such as 127.

    Returns:
        float32, of the same shape; the gradient passes straight through.
    """
    with torch.no_grad():
        others = [axis for axis in range(weight.ndim) if channel_axis is None or axis != channel_axis % weight.ndim]
        scale = torch.clamp(weight.abs().amax(dim=others, keepdim=True) / largest, min=_TINY)
        error = torch.round(weight / scale) * scale - weight
    return weight + error


class _FakeQuantize(torch.autograd.Function):
    """In few passes over memory, because activations are large beside the sums that a small network computes."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, zero_point: Tensor, steps: int) -> Tensor:
        zero = torch.round(zero_point)
        ctx.save_for_backward(values, scale, zero)
        ctx.steps = steps
        return (values / scale).round_().clamp_(-zero, steps - zero).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        values, scale, zero = ctx.saved_tensors
        gradient = gradients[0]
        ratio = values / scale
        rounded = torch.round(ratio)
        clipped = rounded.clamp(-zero, ctx.steps - zero)
        inside = clipped == rounded
        passed = gradient * inside
        # ∂x̂/∂scale: round(x/s) − x/s inside, the clipped integer outside.
        by_scale = (gradient * (clipped - ratio * inside)).sum()
        by_zero = (passed.sum() - gradient.sum()) * scale
        return passed, by_scale, by_zero, None
