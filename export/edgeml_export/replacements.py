"""What to write instead of an operator that a format does not have, or not in the form that a model uses.

Found out by converting: torch 2.13 with its ONNX exporter (operator set 18) and ONNX Runtime 1.32, and litert-torch
0.10 with the operators that TFLite's runtimes compute. The tests convert every replacement.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from edgeml_runtime.manifest import ModelFormat

__all__ = ["REPLACEMENTS", "Replacement", "replacement_for"]

_ONNX = frozenset({ModelFormat.ONNX, ModelFormat.ORT})
_TFLITE = frozenset({ModelFormat.TFLITE})
_BOTH = _ONNX | _TFLITE


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """Operators that formats lack, and what to write instead.

    Attributes:
        operators: Patterns of ATen names, such as ``linalg_*``; ``complex`` and ``half`` stand for every operator on
            numbers of such a type.
        formats: Formats that lack them, at least as models use them.
        code: A Python expression that the formats have, over a tensor ``x`` of which the first dimension is the batch.
        note: When it holds, and what its other names stand for.
    """

    operators: tuple[str, ...]
    formats: frozenset[ModelFormat]
    code: str
    note: str = ""

    @property
    def instead(self) -> str:
        """For a message."""
        return f"{self.code} {self.note}" if self.note else self.code


REPLACEMENTS = (
    Replacement(
        operators=("complex", "fft_*", "_fft_*", "stft", "istft", "polar", "angle", "view_as_*"),
        formats=_BOTH,
        code="torch.cat([x @ cosines, x @ sines], -1)",
        note=(
            "with both matrices in buffers, for the two parts of a Fourier transform: a complex number is kept as two "
            "real ones; torch.fft.rfft(x).abs() over the last dimension is there in both formats"
        ),
    ),
    Replacement(
        operators=("half",),
        formats=_BOTH,
        code="x.to(torch.float32)",
        note="in forward; fp16 variants store weights in 16 bits by themselves",
    ),
    Replacement(
        operators=("cumprod",),
        formats=_BOTH,
        code="torch.exp(torch.cumsum(torch.log(x), 1))",
        note="for positive x",
    ),
    Replacement(
        operators=("cummax", "cummin"),
        formats=_BOTH,
        code="torch.stack([x[:, : i + 1].amax(1) for i in range(n)], 1)",
        note="with the fixed size n",
    ),
    Replacement(
        operators=("logcumsumexp",),
        formats=_TFLITE,
        code="torch.log(torch.cumsum(torch.exp(x), 1))",
        note="where exp does not overflow",
    ),
    Replacement(
        operators=("searchsorted", "bucketize"),
        formats=_BOTH,
        code="(x.unsqueeze(-1) > edges).sum(-1)",
        note="with the sorted edges in a buffer",
    ),
    Replacement(
        operators=("histc", "histogram*", "bincount"),
        formats=_BOTH,
        code="((x.unsqueeze(-1) >= edges[:-1]) & (x.unsqueeze(-1) < edges[1:])).sum(1)",
        note="with the edges in a buffer",
    ),
    Replacement(
        operators=("median", "nanmedian", "kthvalue", "mode"),
        formats=_ONNX,
        code="torch.sort(x, 1).values[:, k]",
        note="with the position k",
    ),
    Replacement(
        operators=("sort", "argsort", "msort", "topk", "median", "nanmedian", "kthvalue", "mode", "*quantile"),
        formats=_TFLITE,
        code="x.amax(1)",
        note="or x.amin(1), where an end is wanted; leave other sorting to what reads the outputs",
    ),
    Replacement(
        operators=("unique*", "_unique*", "nonzero*", "argwhere", "masked_select", "index"),
        formats=_BOTH,
        code="torch.where(x > low, x, 0.0).sum(1)",
        note="or another reduction that keeps the shape: mask values, do not pick them",
    ),
    Replacement(
        operators=("index_put*", "_unsafe_index_put", "index_fill*", "masked_scatter*"),
        formats=_BOTH,
        code="torch.where(mask, value, x)",
    ),
    Replacement(
        operators=("scatter*", "index_add*", "index_copy*", "index_reduce*"),
        formats=_BOTH,
        code="(x.unsqueeze(-1) * (index.unsqueeze(-1) == torch.arange(n))).sum(-2)",
        note="with the number n of places",
    ),
    Replacement(operators=("one_hot",), formats=_BOTH, code="(i.unsqueeze(-1) == torch.arange(n)).float()"),
    Replacement(
        operators=("eye*", "affine_grid*"),
        formats=_TFLITE,
        code="x @ matrix",
        note="with a matrix or grid that does not change kept in a buffer, not made in forward",
    ),
    Replacement(
        operators=(
            "linalg_*",
            "_linalg_*",
            "inverse",
            "pinverse",
            "det",
            "logdet",
            "slogdet",
            "cholesky*",
            "qr",
            "svd",
        ),
        formats=_BOTH,
        code="x @ matrix",
        note=(
            "with the inverse, factor or decomposition computed when the model is built and kept in a buffer; one of "
            "the item itself cannot be had on the device"
        ),
    ),
    Replacement(
        operators=("special_*", "i0", "lgamma", "mvlgamma", "digamma", "polygamma", "erfinv", "igamma*"),
        formats=_BOTH,
        code="table[((x - low) / step).clamp(0, n - 1).long()]",
        note="with n values of the function from low on in a buffer",
    ),
    Replacement(operators=("erfc",), formats=_TFLITE, code="1 - torch.erf(x)"),
    Replacement(operators=("hypot",), formats=_BOTH, code="torch.sqrt(x * x + y * y)"),
    Replacement(operators=("copysign",), formats=_BOTH, code="torch.where(y < 0, -x.abs(), x.abs())"),
    Replacement(operators=("ldexp", "frexp"), formats=_BOTH, code="x * 2.0**k", note="with the whole number k"),
    Replacement(
        operators=("cdist", "_cdist_forward", "dist"),
        formats=_BOTH,
        code="(x.unsqueeze(-2) - y.unsqueeze(-3)).square().sum(-1).sqrt()",
    ),
    Replacement(
        operators=("bilinear", "_trilinear"),
        formats=_BOTH,
        code="torch.einsum('bi,oij,bj->bo', x, weight, y)",
    ),
    Replacement(operators=("embedding_bag", "_embedding_bag*"), formats=_BOTH, code="F.embedding(i, table).mean(1)"),
    Replacement(
        operators=("adaptive_max_pool1d", "adaptive_max_pool2d", "fractional_max_pool2d", "max_pool2d*"),
        formats=_BOTH,
        code="F.max_pool2d(x, 2)",
        note="with a window that divides the size and no dilation, or x.amax((2, 3)) for a single value",
    ),
    Replacement(
        operators=("*_pool3d*",),
        formats=_BOTH,
        code="F.avg_pool2d(F.avg_pool2d(x.flatten(1, 2), 2).unflatten(1, (c, d)).flatten(3), (2, 1))",
        note=(
            "over height and width, then over depth, for c channels and d slices, likewise with max_pool2d; for "
            "LocalResponseNorm a BatchNorm2d"
        ),
    ),
    Replacement(operators=("max_unpool*",), formats=_BOTH, code="F.interpolate(x, scale_factor=2)"),
    Replacement(
        operators=("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
        formats=_BOTH,
        code="F.conv2d(F.interpolate(x, scale_factor=2), weight, padding=1)",
        note=(
            "or conv3d likewise; a transposed convolution without dilation and output_padding is there for images: "
            "kernel 4, stride 2, padding 1 doubles the size"
        ),
    ),
    Replacement(
        operators=("col2im",),
        formats=_TFLITE,
        code="F.conv_transpose2d(x.unflatten(-1, (h, w)), patches)",
        note="with patches = torch.eye(k * k).reshape(k * k, 1, k, k) in a buffer, for one channel",
    ),
    Replacement(
        operators=("_upsample_*_aa", "upsample_*"),
        formats=_BOTH,
        code="F.adaptive_avg_pool2d(x, size)",
        note="to make images smaller, or the contract's loader, which resizes before the model",
    ),
    Replacement(
        operators=("__and__", "__or__", "__xor__", "__*shift__", "bitwise_*", "logical_xor"),
        formats=_BOTH,
        code="torch.remainder(torch.div(i, 4, rounding_mode='floor'), 4)",
        note="for bits of whole numbers; a != b for the exclusive or of booleans",
    ),
    Replacement(
        operators=("rrelu*",),
        formats=_BOTH,
        code="F.leaky_relu(x, (lower + upper) / 2)",
        note="which is the same in evaluation mode",
    ),
    Replacement(
        operators=("cond", "while_loop", "scan", "map_impl", "associative_scan", "lazy_load_decompositions"),
        formats=_BOTH,
        code="torch.where(condition, x * 2, x * 3)",
        note="for a branch, a Python loop with a fixed count for a loop, and operators over whole batches for vmap",
    ),
    Replacement(
        operators=("item", "_local_scalar_dense"),
        formats=_BOTH,
        code="x * x.amax(1, keepdim=True)",
        note="or what else is needed, as a tensor without .item()",
    ),
)


def replacement_for(operator: str, format_: ModelFormat) -> Replacement | None:
    """Look up what to write instead of an operator.

    Args:
        operator: ATen name, such as ``cumprod``, or one of the words that :attr:`Replacement.operators` explains.
        format_: The format that lacks it.

    Returns:
        The replacement, or None where none is known.
    """
    for item in REPLACEMENTS:
        if format_ in item.formats and any(fnmatchcase(operator, pattern) for pattern in item.operators):
            return item
    return None
