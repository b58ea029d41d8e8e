"""What a profile counts is what the export counts, and what the networks' authors say."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

from edgeml_devices.operators import OperatorProfile
from edgeml_devices.profilers.job import profile
from edgeml_export.graph.layers import find_layers

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MODULES = ("zoo", "zoo_items", "zoo_networks", "zoo_weights")

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def zoo():
    """benchmarks/zoo.py, which imports its neighbours as a script does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield {entry.name: entry for entry in importlib.import_module("zoo").ZOO}
        for name in MODULES:
            patch.delitem(sys.modules, name, raising=False)


def write(network, example, path):
    if path.suffix == ".onnx":
        torch.onnx.export(network, example, path, dynamo=True, external_data=False, verbose=False)
    else:
        importlib.import_module("litert_torch").convert(network, example).export(str(path))


def counted(path):
    request = {"path": str(path), "variant": None, "threads": 1, "backend": None, "seconds": 0.1}
    return OperatorProfile.from_answer(path.name, profile(request)).macs


@pytest.mark.filterwarnings("ignore")  # of the converters
@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
@pytest.mark.parametrize("name", ["ds-cnn", "resnet8", "autoencoder"])
def test_totals_agree(zoo, tmp_path, name, suffix):
    entry = zoo[name]
    network, example = entry.network().eval(), (torch.zeros(1, *entry.bare_shape),)
    layers = find_layers(torch.export.export(network, example).module())
    path = tmp_path / f"{name}{suffix}"
    write(network, example, path)
    assert sum(layer.macs for layer in layers) == entry.macs == counted(path)


@pytest.mark.filterwarnings("ignore")
def test_channels_that_onnx_runtime_pads_count(zoo, tmp_path):
    """Its kernels take blocks of 8 or 16 channels, and the first layer of this network has 8."""
    entry = zoo["mobilenetv1"]
    network, example = entry.network().eval(), (torch.zeros(1, *entry.bare_shape),)
    path = tmp_path / "mobilenetv1.onnx"
    write(network, example, path)
    assert entry.macs <= counted(path) <= 1.1 * entry.macs
