"""What slimming came to: kept with the run, so that the same network is built again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeml_train.slim.shape import NetworkShape

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BudgetStep", "SlimRequest", "SlimmedLayer", "Slimming"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlimRequest:
    """What is to be slimmed.

    Attributes:
        run_id: The run, by its id or the beginning of it; None for the latest finished one that is neither slimmed nor
            quantization-aware.
        profile: Device profile whose budgets are to be met; None for the share ``train.keep``.
    """

    run_id: str | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlimmedLayer:
    """One layer that lost channels.

    Attributes:
        path: Dotted path inside the fused model.
        before: Channels it made in the run that was slimmed.
        after: Channels it makes.
    """

    path: str
    before: int
    after: int

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"path": self.path, "before": self.before, "after": self.after}


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStep:
    """One share that was tried against the budgets of a profile.

    Attributes:
        keep: Share of the channels that stay.
        parameters: Trained parameters of the network.
        values: Budget → value found, in the unit its name states.
        met: Whether all of them are surely met.
    """

    keep: float
    parameters: int
    values: Mapping[str, float | None]
    met: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"keep": self.keep, "parameters": self.parameters, "values": dict(self.values), "met": self.met}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slimming:
    """A slimmed network and how it came about.

    Attributes:
        run_id: The run that was slimmed.
        profile: The device profile that decided how much is left, or None.
        keep: Share of the channels that stay.
        layers: The layers that lost channels.
        left_alone: Path of a layer → why its channels stay.
        parameters_before: Trained parameters of the run's network.
        steps: What was tried on the way to the profile's budgets.
        not_judged: Budgets of the profile that did not take part → why.
        shape: What is left of the network in task.py.
    """

    run_id: str
    profile: str | None
    keep: float
    layers: tuple[SlimmedLayer, ...]
    left_alone: Mapping[str, str]
    parameters_before: int
    steps: tuple[BudgetStep, ...]
    not_judged: Mapping[str, str]
    shape: NetworkShape

    def summary(self) -> dict[str, Any]:
        """JSON values without the shape; these keys stay."""
        return {
            "run_id": self.run_id,
            "profile": self.profile,
            "keep": self.keep,
            "layers": [layer.to_dict() for layer in self.layers],
            "left_alone": dict(self.left_alone),
            "parameters_before": self.parameters_before,
            "steps": [step.to_dict() for step in self.steps],
            "not_judged": dict(self.not_judged),
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**self.summary(), "shape": self.shape.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Slimming:
        """The inverse of :meth:`to_dict`."""
        rest = {key: value for key, value in values.items() if key not in ("layers", "steps", "shape")}
        return cls(
            **rest,
            layers=tuple(SlimmedLayer(**layer) for layer in values["layers"]),
            steps=tuple(BudgetStep(**step) for step in values["steps"]),
            shape=NetworkShape.from_dict(values["shape"]),
        )
