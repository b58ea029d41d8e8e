"""The table of replacements: every one converts and computes the same, and what it replaces does not convert."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgeml_evaluate import LabelledData
from edgeml_export.onnx_model import convert_onnx
from edgeml_export.prepared import prepare
from edgeml_export.quiet import quiet
from edgeml_export.replacements import REPLACEMENTS, replacement_for
from edgeml_export.tflite_model import SIGNATURE, convert_tflite
from edgeml_export.tracing import trace
from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.manifest import ModelFormat

CONVERTERS = {ModelFormat.ONNX: convert_onnx, ModelFormat.TFLITE: convert_tflite}
# 16 positive numbers of an item, as the examples below take them: [b, 16], [b, 4, 4] and images.
ROW, SQUARE = (lambda x: x), (lambda x: x.unflatten(1, (4, 4)))
IMAGE, VOLUME = (lambda x: x.unflatten(1, (1, 4, 4))), (lambda x: x.unflatten(1, (1, 4, 2, 2)))
ANGLES = 2 * torch.pi * torch.outer(torch.arange(16), torch.arange(9)) / 16
EDGES = torch.linspace(0, 2, 9)
MATRIX = torch.arange(16).reshape(4, 4).float() / 16 + torch.eye(4)


def case(original, take=ROW, *, lacking=("onnx", "tflite"), equal=True, **names):
    """What a replacement stands for: the original, the formats that lack it, and the names in the replacement's code.

    ``equal`` is False where the replacement is another way to the same end, or stands for several operators.
    """
    return SimpleNamespace(original=original, take=take, lacking=lacking, equal=equal, names=names)


def integers(x):
    return (x * 9).long()


# The first operator of a replacement → its example.
CASES = {
    "complex": case(
        lambda x: torch.view_as_real(torch.fft.rfft(x)).transpose(1, 2).flatten(1),
        lacking=("tflite",),
        cosines=torch.cos(ANGLES),
        sines=-torch.sin(ANGLES),
    ),
    "half": case(lambda x: (x.to(torch.bfloat16) * 1.5).to(torch.float32), lacking=("onnx",), equal=False),
    "cumprod": case(lambda x: torch.cumprod(x, 1)),
    "cummax": case(lambda x: torch.cummax(x, 1).values, n=16),
    "logcumsumexp": case(lambda x: torch.logcumsumexp(x, 1), lacking=("tflite",)),
    "searchsorted": case(lambda x: torch.searchsorted(EDGES, x), edges=EDGES),
    "histc": case(lambda x: torch.stack([torch.histc(row, 8, 0, 2) for row in x]), lacking=("tflite",), edges=EDGES),
    "median": case(lambda x: torch.median(x, 1).values, lacking=("onnx",), k=7),
    "sort": case(lambda x: torch.sort(x, 1).values[:, -1], lacking=("tflite",)),
    "unique*": case(lambda x: x[x > 0.5].sum().reshape(1, 1), lacking=("tflite",), low=0.5),
    "index_put*": case(
        lambda x: x.index_put((torch.arange(1), torch.tensor([2])), torch.tensor(7.0)),
        lacking=("tflite",),
        mask=torch.arange(16) == 2,
        value=7.0,
    ),
    "scatter*": case(
        lambda x: torch.zeros(1, 20).scatter_add(1, integers(x)[:1] * 0 + torch.arange(16) % 5, x[:1]),
        lacking=("tflite",),
        index=torch.arange(16) % 5,
        n=20,
    ),
    "one_hot": case(lambda x: F.one_hot(integers(x), 20), lacking=("tflite",), n=20),
    "eye*": case(lambda x: x @ torch.eye(16), lacking=("tflite",), matrix=torch.eye(16)),
    "linalg_*": case(lambda x: x @ torch.linalg.inv(MATRIX), SQUARE, matrix=torch.linalg.inv(MATRIX)),
    "special_*": case(
        torch.special.i0,
        equal=False,
        table=torch.special.i0(torch.linspace(0, 2, 2001)),
        low=0.0,
        step=0.001,
        n=2001,
    ),
    "erfc": case(torch.erfc, lacking=("tflite",)),
    "hypot": case(lambda x: torch.hypot(x, x.flip(1)), y=lambda x: x.flip(1)),
    "copysign": case(lambda x: torch.copysign(x, x.flip(1) - 0.5), y=lambda x: x.flip(1) - 0.5),
    "ldexp": case(lambda x: torch.ldexp(x, torch.tensor(3)), lacking=("tflite",), k=3),
    "cdist": case(lambda x: torch.cdist(x, MATRIX), SQUARE, lacking=("onnx",), y=MATRIX),
    "bilinear": case(
        lambda x: F.bilinear(x, x, torch.ones(3, 16, 16)), lacking=("tflite",), weight=torch.ones(3, 16, 16), y=ROW
    ),
    "embedding_bag": case(
        lambda x: F.embedding_bag(integers(x), torch.arange(80).reshape(20, 4) / 8),
        lacking=("tflite",),
        table=torch.arange(80).reshape(20, 4) / 8,
    ),
    "adaptive_max_pool1d": case(lambda x: F.adaptive_max_pool2d(x, 2), IMAGE, lacking=("tflite",)),
    "*_pool3d*": case(lambda x: F.avg_pool3d(x, 2), VOLUME, lacking=("tflite",), c=1, d=4),
    "max_unpool*": case(
        lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2), IMAGE, lacking=("tflite",), equal=False
    ),
    "conv_transpose1d": case(
        lambda x: F.conv_transpose2d(x, torch.ones(1, 1, 3, 3), stride=2, padding=1, output_padding=1),
        IMAGE,
        lacking=("tflite",),
        equal=False,
        weight=torch.ones(1, 1, 3, 3),
    ),
    "col2im": case(
        lambda x: F.fold(x, (3, 3), 2),
        SQUARE,
        lacking=("tflite",),
        h=2,
        w=2,
        patches=torch.eye(4).reshape(4, 1, 2, 2),
    ),
    "_upsample_*_aa": case(
        lambda x: F.interpolate(x, size=2, mode="bilinear", antialias=True),
        IMAGE,
        lacking=("tflite",),
        equal=False,
        size=2,
    ),
    "__and__": case(lambda x: integers(x) >> 2 & 3, lacking=("tflite",)),
    "rrelu*": case(lambda x: F.rrelu(x - 0.5), equal=False, lower=1 / 8, upper=1 / 3),
    "cond": case(
        lambda x: torch.cond(x[0, 0] > 0.5, lambda y: y * 2, lambda y: y * 3, (x,)),
        lacking=("tflite",),
        condition=lambda x: x[:, :1] > 0.5,
    ),
    "item": case(lambda x: x * x.amax().item(), lacking=("tflite",)),
}


class Values(nn.Module):
    """An expression over a tensor, with tensors of its own as buffers, so that it is what a user would write."""

    def __init__(self, compute, names):
        super().__init__()
        self.compute, self.plain = compute, {}
        for name, value in names.items():
            if isinstance(value, torch.Tensor):
                self.register_buffer(name, value)
            else:
                self.plain[name] = value

    def forward(self, x):
        known = {name: value(x) if callable(value) else value for name, value in self.plain.items()}
        return self.compute({"torch": torch, "F": F, "x": x, "i": integers(x), **known, **dict(self.named_buffers())})


class Model(nn.Module):
    """All examples side by side, as logits."""

    def __init__(self, parts, takes):
        super().__init__()
        self.parts, self.takes = nn.ModuleList(parts), takes

    def forward(self, x):
        results = [part(take(x)) for part, take in zip(self.parts, self.takes, strict=True)]
        logits = torch.cat([result.to(torch.float32).reshape(len(x), -1) for result in results], 1)
        logits = torch.cat([logits, x[:, :2]], 1)
        return {"logits": logits, "scores": torch.softmax(logits, 1)}


def made_ready(model, count=3):
    """The model prepared and traced with a contract that fits, and so many items."""
    values = np.random.default_rng(0).uniform(0.1, 1, (count, 16)).astype(np.float32)
    with torch.no_grad():
        width = model(torch.from_numpy(values[:1]))["logits"].shape[1]
    contract = parse_contract(
        {
            "model": {"name": "operators", "version": "1.0.0"},
            "inputs": [
                {"name": "x", "dtype": "float32", "shape": [16], "range": [0, 2], "unit": "V", "source": "probe"}
            ],
            "outputs": [
                {"name": "logits", "role": "logits", "shape": [width]},
                {"name": "scores", "role": "scores", "shape": [width], "labels": [str(n) for n in range(width)]},
            ],
            "target": {"name": "kind", "kind": "classification"},
            "metric": {"primary": "accuracy", "floor": 0.1},
            "export": {"float_scopes": []},
        },
        source="test",
    )
    items = LabelledData(inputs={"x": values}, targets=np.zeros(len(values), np.int64))
    prepared = prepare(model.eval(), contract, items, items)
    return prepared, trace(prepared), values


def run(format_, converted, values):
    if format_ is ModelFormat.ONNX:
        import onnxruntime

        session = onnxruntime.InferenceSession(converted.model.SerializeToString())
        return np.concatenate([session.run(["logits"], {"x": values[n : n + 1]})[0] for n in range(len(values))])
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        runner = Interpreter(model_content=converted.content).get_signature_runner(SIGNATURE)
        return np.concatenate([runner(args_0=values[n : n + 1])["output_0"] for n in range(len(values))])


def test_every_replacement_has_an_example():
    assert list(CASES) == [item.operators[0] for item in REPLACEMENTS]


@pytest.mark.parametrize("item", REPLACEMENTS, ids=lambda item: item.operators[0])
def test_replacement_is_what_it_stands_for(item):
    example = CASES[item.operators[0]]
    if not example.equal:
        return
    values = torch.from_numpy(np.random.default_rng(1).uniform(0.1, 1, (1, 16)).astype(np.float32))
    x = example.take(values)
    expected = example.original(x).float().reshape(1, -1)
    found = Values(lambda names: eval(item.code, names), example.names)(x).float().reshape(1, -1)
    assert found.numpy() == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("format_", CONVERTERS, ids=lambda format_: format_.value)
def test_every_replacement_converts(format_):
    """In one model; sums of float32 come out in another order."""
    fitting = [item for item in REPLACEMENTS if format_ in item.formats]
    examples = [CASES[item.operators[0]] for item in fitting]
    parts = [
        Values(lambda names, code=item.code: eval(code, names), example.names)
        for item, example in zip(fitting, examples, strict=True)
    ]
    model = Model(parts, [example.take for example in examples])
    prepared, traced, values = made_ready(model)
    found = run(format_, CONVERTERS[format_](prepared, traced, traced.graph), values)
    with torch.no_grad():
        expected = model(torch.from_numpy(values))["logits"].numpy()
    assert found.shape[1] > 300
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)


LACKING = [(name, format_) for name, example in CASES.items() for format_ in example.lacking]


@pytest.mark.long
@pytest.mark.parametrize(("name", "format_"), LACKING, ids=lambda value: value)
def test_what_is_replaced_does_not_convert(name, format_):
    """Should a converter learn an operator, this says that its replacement is not needed any more."""
    example, format_ = CASES[name], ModelFormat(format_)
    original = Values(lambda names: example.original(names["x"]), {})
    prepared, traced, _ = made_ready(Model([original], [example.take]), count=1)
    with pytest.raises(ProjectError, match=r"no counterpart for \w+ as used in module 'parts.0'") as caught:
        CONVERTERS[format_](prepared, traced, traced.graph)
    item = next(item for item in REPLACEMENTS if item.operators[0] == name and format_ in item.formats)
    assert f"; instead: {item.code}" in str(caught.value)


@pytest.mark.parametrize(
    ("operator", "format_", "code"),
    [
        ("linalg_svdvals", ModelFormat.ORT, "x @ matrix"),
        ("median", ModelFormat.ONNX, "torch.sort(x, 1).values[:, k]"),
        ("median", ModelFormat.TFLITE, "x.amax(1)"),
        ("erfc", ModelFormat.ONNX, None),
        ("conv2d", ModelFormat.TFLITE, None),
    ],
)
def test_lookup_by_operator_and_format(operator, format_, code):
    found = replacement_for(operator, format_)
    assert (found.code if found else None) == code
