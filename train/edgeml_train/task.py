"""The task: the user's Python object with data, preprocessing, model and loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgeml_runtime.contract import Contract, TargetKind
from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeml_evaluate.data import LabelledData
    from edgeml_train.augment import Augmentation

__all__ = ["Splits", "Task", "Yardstick"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Yardstick:
    """What a simple rule gives for the items, for an anomaly score to beat.

    Attributes:
        validation: [n] its score of every validation item, larger where more unusual; its threshold comes from these.
        test: [m] the same of every test item.
    """

    validation: NDArray[Any]
    test: NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """The data, split.

    Attributes:
        train: Fits the preprocessing and the weights, and calibrates int8 variants.
        validation: Decides when to stop and which weights are kept.
        test: Measures; read by nothing before the weights are fixed.
        name: Which split this is, in words that every report repeats, such as ``"held-out speakers: theo"``.
        files: Position in ``test`` → the encoded file it was decoded from, where there is one; the bundle's golden
            vectors take some of them.
        shared_groups: Whether the contract's group is known to cross this split. Without this statement a group that
            is in two parts is refused.
        unreadable: What is wrong with each file or reading that was left out of the data; every message names its file.
        yardsticks: Name of a simple rule → its scores, for anomaly tasks.
    """

    train: LabelledData
    validation: LabelledData
    test: LabelledData
    name: str
    files: Mapping[int, Path] = field(default_factory=dict)
    shared_groups: bool = False
    unreadable: tuple[str, ...] = ()
    yardsticks: Mapping[str, Yardstick] = field(default_factory=dict)


class Task(ABC):
    """Base class of the task in ``task.py``; there is exactly one subclass in a project.

    Args:
        contract: What stands in edgeml.toml.
        data: Its ``[data]`` table, overrides applied.
        folder: The project's folder; relative paths are relative to it.

    Attributes:
        table: Whether the inputs are columns of a table, integers being categories. Gradient boosting is a third
            baseline then, and the linear model is trained on items as :meth:`augment` changes them: with the unknown
            among them.
    """

    table: bool = False

    def __init__(self, contract: Contract, data: Mapping[str, Any], folder: Path) -> None:
        self.contract = contract
        self.data = data
        self.folder = folder

    @abstractmethod
    def splits(self) -> Splits:
        """Load the data and split it; the same settings must give the same arrays every time."""

    @abstractmethod
    def features(self) -> nn.Module:
        """The preprocessing: inputs in the contract's order → features; it becomes part of the exported model.

        Where it has a method ``fit``, that is called with the training inputs by name before anything is trained.
        """

    @abstractmethod
    def network(self) -> nn.Module:
        """The network with fresh weights: features [n, …] → logits [n, classes], or a value or anomaly score [n, 1]."""

    def augment(self) -> Augmentation | None:
        """Random changes to training items; none by default."""
        return None

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss that training minimises.

        Args:
            logits: [n, classes] float32, or [n, 1] or [n] values for regression, or anomaly scores.
            targets: [n] int64 class index, or [n] float32 value, or [n] 1 where an item is unusual.

        Returns:
            Scalar: cross-entropy for classification, mean squared error for regression, the mean score of usual items
            for an anomaly score.
        """
        if self.contract.target.kind is TargetKind.CLASSIFICATION:
            return nn.functional.cross_entropy(logits, targets)
        if self.contract.target.kind is TargetKind.ANOMALY:
            usual = (targets == 0).to(torch.float32)
            return (logits.reshape(len(targets)) * usual).sum() / usual.sum().clamp(min=1)
        return nn.functional.mse_loss(logits.reshape(len(targets)), targets.to(torch.float32))

    def path(self, key: str) -> Path:
        """A folder or file named in ``[data]``.

        Args:
            key: Key in ``[data]`` whose value is a path; a relative one starts at the project's folder.

        Returns:
            The absolute path, which exists.

        Raises:
            ProjectError: When the key is missing, or there is nothing at the path.
        """
        value = self.data.get(key)
        toml = self.folder / "edgeml.toml"
        if not isinstance(value, str) or not value:
            raise ProjectError(
                f"{toml}: expected data.{key} to be a path, found {value!r}. "
                f'Write {key} = "..." under [data], or pass --set data.{key}=PATH.'
            )
        path = (self.folder / Path(value).expanduser()).resolve()
        if not path.exists():
            raise ProjectError(
                f"{toml}: data.{key} names {path}, which does not exist. "
                f"Correct it there, or pass --set data.{key}=PATH."
            )
        return path

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """A setting in ``[data]`` that is one of a few words.

        Args:
            key: Key in ``[data]``; when it is missing the first choice holds.
            choices: The words allowed.

        Returns:
            The chosen word.

        Raises:
            ProjectError: When it is another one.
        """
        value = self.data.get(key, choices[0])
        if value not in choices:
            raise ProjectError(
                f"{self.folder / 'edgeml.toml'}: expected data.{key} to be one of {', '.join(choices)}, found {value!r}"
            )
        return str(value)

    @property
    def cache(self) -> Path:
        """A folder for files the task makes itself; may be deleted at any time."""
        return self.folder / ".edgeml" / "cache"
