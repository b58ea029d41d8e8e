"""Weights that were trained elsewhere: a ``.pt`` file, or one of safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["load_pretrained"]

_Module = TypeVar("_Module", bound=nn.Module)

# Under which key training programs keep the weights beside an optimizer's state and the like.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network")
# What torch.nn.parallel and torch.compile, and the usual names of a LightningModule's attribute, put before every name.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
_NAMED = 3


def load_pretrained(network: _Module, path: Path) -> _Module:
    """Give a network the weights in a file.

    Tensors only are read: a pickled model, which could run any program, is refused. A state dict inside a checkpoint is
    found, and prefixes such as ``module.`` are taken off.

    Args:
        network: The network that the weights are of.
        path: A state dict, ``torch.save(network.state_dict(), path)``, or a ``.safetensors`` file.

    Returns:
        The network itself.

    Raises:
        ProjectError: When the file cannot be read, holds more than tensors, or is of another network; the message
            counts and names what differs.
    """
    state = _unprefixed(_state(path), set(network.state_dict()))
    expected = network.state_dict()
    missing = sorted(set(expected) - set(state))
    unexpected = sorted(set(state) - set(expected))
    shapes = [
        f"{name} {list(state[name].shape)} instead of {list(expected[name].shape)}"
        for name in sorted(set(state) & set(expected))
        if state[name].shape != expected[name].shape
    ]
    if missing or unexpected or shapes:
        faults = [("missing", missing), ("unknown to the network", unexpected), ("of another shape", shapes)]
        found = "; ".join(f"{len(names)} {what} ({_some(names)})" for what, names in faults if names)
        raise ProjectError(
            f"{path}: expected the {len(expected)} tensors of {type(network).__name__}, found {found}. Build the "
            "network in task.py as it was built where these weights were trained."
        )
    network.load_state_dict(state)
    return network


def _state(path: Path) -> dict[str, Tensor]:
    """The state dict in a file."""
    try:
        content: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except UnpicklingError as error:
        raise ProjectError(
            f"{path}: expected weights, found a file that holds more than tensors and is not read, because loading it "
            "could run any program. Where the model was trained, write its weights alone: "
            'torch.save(model.state_dict(), "weights.pt").'
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ProjectError(
            f'{path}: expected weights written by torch.save(model.state_dict(), "weights.pt") or by safetensors, '
            f"found a file that cannot be read: {error}"
        ) from error
    if isinstance(content, Mapping):
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), content)
        if inner and all(isinstance(value, Tensor) for value in inner.values()):
            return dict(inner)
    raise ProjectError(
        f"{path}: expected a state dict, names → tensors, found {type(content).__name__}. Write it by "
        'torch.save(model.state_dict(), "weights.pt").'
    )


def _unprefixed(state: dict[str, Tensor], expected: set[str]) -> dict[str, Tensor]:
    """Without what stands before every name but not before the network's own."""
    before = (
        prefix
        for prefix in _PREFIXES
        if all(name.startswith(prefix) for name in state) and not any(name.startswith(prefix) for name in expected)
    )
    prefix = next(before, None)
    if prefix is None:
        return state
    return _unprefixed({name.removeprefix(prefix): value for name, value in state.items()}, expected)


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
