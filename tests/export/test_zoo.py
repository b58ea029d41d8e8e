"""The zoo of benchmarks/: the published sizes, repeatable weights and items, and that every network can be exported."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeml_export import export_bundle
from edgeml_train.networks.same_conv import SameConv, same_padding

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MODULES = ("zoo", "zoo_items", "zoo_networks", "zoo_weights")
NAMES = ("ds-cnn", "resnet8", "mobilenetv1", "autoencoder", "mobilenetv2")

# Trainable parameters, the same with the statistics of batch normalisation, and multiplications. Keras' summary of
# ds-cnn has 23,756 of 24,908; torchvision's documentation of MobileNetV2 has 3,504,872 and 0.30 G. Multiplications of
# the first four stand in the model summaries of github.com/SiliconLabs/mltk, mltk/models/tinyml. The parameters of the
# other three are what the layers of the references add up to.
PUBLISHED = {
    "ds-cnn": (23_756, 24_908, "2.657 M"),
    "resnet8": (78_186, 78_666, "12.502 M"),
    "mobilenetv1": (216_322, 221_794, "7.490 M"),
    "autoencoder": (267_928, 269_992, "0.264 M"),
    "mobilenetv2": (3_504_872, 3_538_984, "300.774 M"),
}


@pytest.fixture(scope="module")
def zoo():
    """benchmarks/zoo.py, which imports its neighbours as a script does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("zoo")
        for name in MODULES:
            patch.delitem(sys.modules, name, raising=False)


@pytest.fixture
def entry(zoo, request):
    """The entry that the test is parametrized with."""
    return next(entry for entry in zoo.ZOO if entry.name == request.param)


def test_the_zoo_has_all_five(zoo):
    assert tuple(entry.name for entry in zoo.ZOO) == NAMES


@pytest.mark.parametrize("entry", NAMES, indirect=True)
def test_sizes_are_the_published_ones(entry):
    with torch.device("meta"):
        network = entry.network()
        network = getattr(network, "autoencoder", network)
        parameters = sum(tensor.numel() for tensor in network.parameters())
        statistics = sum(tensor.numel() for name, tensor in network.named_buffers() if "running" in name)
        macs = count_macs(network, torch.zeros(1, *entry.bare_shape))
    assert (parameters, parameters + statistics, f"{macs / 1e6:.3f} M") == PUBLISHED[entry.name]
    assert (entry.parameters, entry.macs) == (parameters, macs)


def count_macs(network, example):
    """Multiplications of convolutions and linear layers for one item."""
    found = []

    def count(layer, _inputs, output):
        positions = output[0, 0].numel() if isinstance(layer, nn.Conv2d) else 1
        found.append(layer.weight.numel() * positions)

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    network.eval()(example)
    return sum(found)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [(96, 3, 2, (0, 1)), (49, 10, 2, (4, 5)), (10, 4, 2, (1, 1)), (32, 3, 1, (1, 1)), (32, 1, 2, (0, 0))],
)
def test_same_padding_is_that_of_keras(size, kernel, stride, padding):
    assert same_padding(size, kernel, stride) == padding
    layer = SameConv(1, 1, kernel=(kernel, kernel), stride=stride, size=(size, size))
    x = torch.arange(size * size, dtype=torch.float32).reshape(1, 1, size, size)
    before, behind = padding
    padded = nn.functional.pad(x, (before, behind, before, behind))
    expected = nn.functional.conv2d(padded, layer.weight, layer.bias, stride)
    assert torch.equal(layer(x), expected)
    assert layer(x).shape[-1] == -(-size // stride)


@pytest.mark.parametrize("entry", NAMES[:4], indirect=True)
def test_items_fit_the_contract_and_come_again(entry):
    spec = entry.contract.inputs[0]
    items, again, others = entry.items(40, 1), entry.items(40, 1), entry.items(40, 2)
    assert items.inputs[spec.name].shape == (40, *spec.shape)
    assert items.inputs[spec.name].dtype.name == spec.dtype.value
    np.testing.assert_array_equal(items.inputs[spec.name], again.inputs[spec.name])
    np.testing.assert_array_equal(items.targets, again.targets)
    assert not np.array_equal(items.inputs[spec.name], others.inputs[spec.name])


@pytest.mark.parametrize("entry", NAMES[:4], indirect=True)
def test_items_do_not_all_look_alike_to_the_network(entry):
    targets = entry.items(64, 1).targets
    if entry.name == "autoencoder":
        assert targets.std() > 0.1 * targets.mean()
    else:
        _, counts = np.unique(targets, return_counts=True)
        assert counts.max() < 0.7 * len(targets)


def test_the_targets_are_the_models_own_decisions(zoo):
    entry = zoo.ZOO[1]
    items = entry.items(16, 5)
    with torch.no_grad():
        outputs = entry.build()(torch.from_numpy(items.inputs["image"]))
    np.testing.assert_array_equal(outputs["scores"].argmax(dim=1).numpy(), items.targets)


def test_a_build_is_a_copy_with_the_same_weights(zoo):
    entry = zoo.ZOO[1]
    changed, kept = entry.build(), entry.build().state_dict()
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.zero_()
    zoo._built.cache_clear()
    afresh = entry.build().state_dict()
    assert all(torch.equal(tensor, afresh[name]) for name, tensor in kept.items())


def test_the_bare_network_is_the_fused_models_own(zoo):
    entry = zoo.ZOO[3]
    fused, bare = entry.build(), entry.bare()
    waveforms = torch.from_numpy(entry.items(3, 1).inputs["waveform"])
    with torch.no_grad():
        features = fused.features(waveforms).flatten(1)
        error = (features - bare(features)).square().mean(dim=1, keepdim=True)
        torch.testing.assert_close(fused(waveforms)["error"], error)
    assert features.shape[1:] == entry.bare_shape


@pytest.mark.long
@pytest.mark.parametrize("entry", NAMES, indirect=True)
def test_every_network_is_exported_in_every_variant(entry, tmp_path):
    count = 64 if entry.name == "mobilenetv2" else 200
    report = export_bundle(
        entry.build(),
        contract=entry.contract,
        calibration=entry.items(64, 1),
        validation=entry.items(32, 2),
        test=entry.items(count, 3),
        out=tmp_path / f"{entry.name}.edgeml",
    )
    assert {variant.id: variant.reason for variant in report.variants} == dict.fromkeys(entry.contract.export.variants)
