"""Weights as safetensors: a file that holds tensors and nothing that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

__all__ = ["load_weights", "save_weights"]


def save_weights(module: nn.Module, path: Path) -> None:
    """Write all parameters and buffers.

    Args:
        module: The model.
        path: The file.
    """
    save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in module.state_dict().items()}, path)


def load_weights(module: nn.Module, path: Path) -> None:
    """Read all parameters and buffers.

    Args:
        module: A model of the same shape.
        path: The file.

    Raises:
        ProjectError: When the file is broken or is of another model.
    """
    try:
        module.load_state_dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise ProjectError(f"{path}: expected weights, found a broken file: {error}. Train again.") from error
    except RuntimeError as error:
        raise ProjectError(
            f"{path}: expected weights of the model in task.py, found those of another one: {error}. Train again."
        ) from error
