"""What each layer loses when it alone is quantized, on the tiny model."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from edgeml_export.graph.layers import find_layers
from edgeml_export.prepared import prepare
from edgeml_export.scheme import QuantScheme, variant_spec
from edgeml_export.sensitivity import measure_sensitivity
from edgeml_export.tracing import trace
from edgeml_export.variant_maker import VariantMaker
from edgeml_runtime.progress import silent

LAYERS = ["features", "network.0", "network.3", "network.9"]


@pytest.fixture
def measure(trained, make_contract, items):
    """Losses of a model's layers, quantized as a variant quantizes them."""

    def run(variant_id="onnx-int8", model=None, contract=None):
        contract = contract or make_contract()
        prepared = prepare(model or trained, contract, items.train, items.test)
        maker = VariantMaker(prepared, trace(prepared), calibration=items.train, validation=None, progress=silent)
        return maker.sensitivity(variant_spec(variant_id))

    return run


def test_every_layer_is_there_and_those_of_float_scopes_are_marked(measure, make_contract):
    losses = measure()
    assert [loss.path for loss in losses] == LAYERS
    assert [loss.in_float_scope for loss in losses] == [True, False, False, False]
    assert [loss.operator for loss in losses] == ["matmul", "conv2d", "conv2d", "linear"]
    assert [loss.parameters for loss in losses] == [256, 72, 32 * 72, 128]
    assert [loss.macs for loss in losses] == [16 * 256, 256 * 72, 49 * 32 * 72, 128]
    inside = measure(contract=make_contract(float_scopes=["features", "network.3"]))
    assert [loss.in_float_scope for loss in inside] == [True, False, True, False]
    assert [(loss.path, loss.sqnr_db) for loss in inside] == [(loss.path, loss.sqnr_db) for loss in losses]


def test_weights_alone_lose_less_and_float_has_nothing_to_lose(measure):
    int8, weights, wide = measure("tflite-int8"), measure("tflite-w8"), measure("tflite-int16x8")
    for loss, of_weights, of_wide in zip(int8, weights, wide, strict=True):
        assert 15 < loss.sqnr_db < of_weights.sqnr_db
        assert loss.sqnr_db < of_wide.sqnr_db
    assert measure("onnx-fp32") == ()


def test_a_layer_with_an_outlier_loses_more(measure, trained):
    """One weight of the linear layer, far from the rest of its channel, takes the resolution from them."""
    spoiled = copy.deepcopy(trained)
    with torch.no_grad():
        spoiled.network[9].weight[0, 0] = 50.0
    before, after = measure()[3], measure(model=spoiled)[3]
    assert after.weight_range[1] == 50.0
    assert after.sqnr_db < before.sqnr_db - 3


def test_histograms_are_of_all_items_over_the_range(measure, items, trained):
    loss = measure()[3]
    count = sum(loss.activation_histogram)
    assert count % 4 == 0
    logits = trained.eval()(torch.from_numpy(items.train.inputs["waveform"][: count // 4]))["logits"].detach().numpy()
    trained.train()
    low, high = min(0.0, float(logits.min())), max(0.0, float(logits.max()))
    assert loss.activation_range == pytest.approx((low, high), abs=1e-4)
    expected = np.histogram(logits, 64, (low, high))[0]
    assert np.abs(np.cumsum(expected) - np.cumsum(loss.activation_histogram)).max() <= 1
    assert sum(loss.weight_histogram) == loss.parameters == 128


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e38])
def test_values_without_bounds_are_told(value):
    """Missing values live inside float scopes, and no scale expresses them."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 2)).requires_grad_(False)
    torch.nn.init.constant_(model[0].weight, 10.0)
    module = torch.export.export(model, (torch.zeros(1, 4),)).module(check_guards=False)
    items = [(torch.full((1, 4), value),)]
    scheme = QuantScheme(weight_bits=8, activation_bits=8, activation_signed=False, per_channel=True)
    (loss,) = measure_sensitivity(module, find_layers(module), items, scheme, output=0)
    assert math.isnan(loss.sqnr_db)
    assert math.isnan(loss.output_sqnr_db)
    assert sum(loss.activation_histogram) == 0
    assert loss.to_dict()["sqnr_db"] is None


def test_nothing_to_measure(trained, make_contract, items):
    traced = trace(prepare(trained, make_contract(), items.train, items.test))
    scheme = QuantScheme(weight_bits=8, activation_bits=8, activation_signed=False, per_channel=True)
    assert measure_sensitivity(traced.graph.module, [], [], scheme, output=0) == ()
