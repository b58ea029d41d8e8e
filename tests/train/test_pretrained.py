"""Weights trained elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgeml_runtime.errors import ProjectError
from edgeml_train.networks import load_pretrained


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def make(width=3):
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.Linear(width, 2))


def prefixed(state, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


SHAPES = [
    lambda state: state,
    lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}},
    lambda state: {"model": state},
    lambda state: prefixed(state, "module."),
    lambda state: {"state_dict": prefixed(state, "model.module.")},
    lambda state: prefixed(state, "_orig_mod."),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_state_dicts_as_programs_write_them(tmp_path, shape):
    trained, fresh = make(), make()
    torch.save(shape(trained.state_dict()), tmp_path / "weights.pt")
    assert load_pretrained(fresh, tmp_path / "weights.pt") is fresh
    assert all(
        torch.equal(a, b) for a, b in zip(trained.state_dict().values(), fresh.state_dict().values(), strict=True)
    )


def test_safetensors(tmp_path):
    trained, fresh = make(), make()
    save_file(trained.state_dict(), tmp_path / "weights.safetensors")
    load_pretrained(fresh, tmp_path / "weights.safetensors")
    assert torch.equal(fresh[0].weight, trained[0].weight)


def test_a_prefix_that_the_network_has_itself_stays(tmp_path):
    trained, fresh = (nn.ModuleDict({"model": make()}) for _ in range(2))
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    load_pretrained(fresh, tmp_path / "weights.pt")
    assert torch.equal(fresh["model"][0].weight, trained["model"][0].weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if "0." not in k}, r"found 2 missing \(0\.bias, 0\.weight\)"),
        (lambda s: {**s, "3.weight": torch.zeros(1)}, r"found 1 unknown to the network \(3\.weight\)"),
        (lambda s: make(5).state_dict(), r"found 7 of another shape \(0\.bias \[5\] instead of \[3\], "),
        (lambda s: {"a": 1}, "expected a state dict, names → tensors, found dict"),
        (lambda s: [1, 2], "expected a state dict, names → tensors, found list"),
        (lambda s: {}, "found dict"),
    ],
)
def test_weights_of_another_network_are_named(tmp_path, change, message):
    torch.save(change(make().state_dict()), tmp_path / "weights.pt")
    with pytest.raises(ProjectError, match=message):
        load_pretrained(make(), tmp_path / "weights.pt")


@pytest.mark.parametrize("whole", [True, False])
def test_a_pickled_model_is_refused_unread(tmp_path, whole):
    torch.save(make() if whole else {"state_dict": {}, "x": Trap(tmp_path / "sprung")}, tmp_path / "weights.pt")
    with pytest.raises(ProjectError, match=r"holds more than tensors .*torch\.save\(model\.state_dict\(\)"):
        load_pretrained(make(), tmp_path / "weights.pt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04", b"not weights"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ProjectError, match=rf"{name}: expected weights"):
        load_pretrained(make(), tmp_path / name)
