"""Fused models as users write them: any function as preprocessing, a small network behind it, and items for them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from edgeml_evaluate import LabelledData
from edgeml_export.prepared import prepare
from edgeml_export.scheme import CalibrationMethod, plan_variant, variant_spec
from edgeml_runtime.backends import load_backend
from edgeml_runtime.contract_parse import parse_contract

MEAN = (123.75, 116.25, 103.5)
STD = (58.4, 57.1, 57.4)
RANGES = {
    "uint8": [0, 255],
    "int16": [-32768, 32767],
    "int32": [0, 2**30],
    "int64": [0, 10**10],
    "float32": [-1e6, 1e6],
}


class Written(nn.Module):
    """Preprocessing that is one function of the module, for its buffers, and of the inputs."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.register_buffer("mean", torch.tensor(MEAN))
        self.register_buffer("std", torch.tensor(STD))

    def forward(self, *inputs):
        return self.function(self, *inputs)


class Fused(nn.Module):
    """Preprocessing and network."""

    def __init__(self, features, network):
        super().__init__()
        self.features = features
        self.network = network

    def forward(self, *inputs):
        values = self.features(*inputs)
        return {"scores": self.network(*values) if isinstance(values, tuple) else self.network(values)}


def contract(inputs, scores, **export):
    """A contract of inputs, name → (dtype, shape), and as many scores as the model gives."""
    return parse_contract(
        {
            "model": {"name": "written", "version": "1.0.0", "description": "As a user wrote it."},
            "inputs": [
                {
                    "name": name,
                    "dtype": dtype,
                    "shape": list(shape),
                    "range": RANGES[dtype],
                    "unit": "1",
                    "source": "sensor",
                }
                for name, (dtype, shape) in inputs.items()
            ],
            "outputs": [
                {
                    "name": "scores",
                    "role": "scores",
                    "shape": list(scores),
                    "labels": [str(index) for index in range(scores[-1])],
                }
            ],
            "target": {"name": "class", "kind": "classification"},
            "metric": {"primary": "accuracy", "floor": 0.5},
            "export": {"required": ["onnx-fp32"], **export},
        },
        source="test",
    )


def draw(inputs, count=6, *, seed=0):
    """Items over the whole range of whole numbers, or about 20 ± 5: name → [count, *shape]."""
    rng = np.random.default_rng(seed)
    drawn = {}
    for name, (dtype, shape) in inputs.items():
        low, high = RANGES[dtype]
        if dtype == "float32":
            drawn[name] = rng.normal(20, 5, (count, *shape)).astype(np.float32)
        else:
            drawn[name] = rng.integers(low, high, (count, *shape), endpoint=True).astype(dtype)
    return drawn


def make(function, network, inputs, *, data=None, **export):
    """A prepared model, and its items as :class:`LabelledData`."""
    features = function if isinstance(function, nn.Module) else Written(function)
    fused = Fused(features, network).eval()
    data = draw(inputs) if data is None else data
    with torch.no_grad():
        scores = fused(*(torch.from_numpy(array[:1].copy()) for array in data.values()))["scores"]
    items = LabelledData(inputs=data, targets=np.arange(len(next(iter(data.values())))) % 2)
    return prepare(fused, contract(inputs, scores.shape[1:], **export), items, items), items


def eager(prepared, data):
    """What PyTorch makes of the items, one by one: [n, ...]."""
    count = len(next(iter(data.values())))
    with torch.no_grad():
        outputs = [
            prepared.module(*(torch.from_numpy(array[index : index + 1].copy()) for array in data.values()))[0]
            for index in range(count)
        ]
    return torch.cat(outputs).numpy()


def plan(variant):
    """How a variant is made."""
    return plan_variant(variant_spec(variant), calibration=CalibrationMethod.MIN_MAX)


def run(converted, data, *, backend=None):
    """What a variant gives in the backend that devices use: [n, ...]."""
    loaded = load_backend(backend or converted.backend).create(
        converted.content,
        input_names=list(data),
        output_names=["scores"],
        threads=1,
        encodings=[converted.input_encodings.get(name) for name in data],
    )
    count = len(next(iter(data.values())))
    outputs = [loaded.run([array[index : index + 1] for array in data.values()])[0] for index in range(count)]
    loaded.close()
    return np.concatenate(outputs)


def corpus(folding, weights):
    """Every way of writing preprocessing that the tests of folding know: name → inputs, function, network.

    Those that neither format has an operator for are left out: bits read as another type.
    """
    cases = (
        {f"pixels: {name}": case[:3] for name, case in folding.PIXELS.items()}
        | {f"no pixels: {name}": (folding.IMAGE, *case[:2]) for name, case in folding.NO_PIXELS.items()}
        | {f"stops: {name}": (folding.IMAGE, *case[:2]) for name, case in folding.STOPS.items()}
        | {f"others: {name}": case[:3] for name, case in folding.OTHERS.items()}
        | {f"folded: {name}": case[:3] for name, case in weights.FOLDED.items()}
        | {f"kept: {name}": case[:3] for name, case in weights.KEPT.items()}
        | {"mixed": (folding.MIXED, folding.mixed, folding.Joined())}
    )
    impossible = ("stops: bits read as another type", "others: floats as integers")
    return {name: case for name, case in cases.items() if name not in impossible}
