"""The model as the int8 variants compute it: a traced graph that rounds where each format's file rounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeml_export.fakequant.graph import parts_at
from edgeml_export.fakequant.kernel import fake_quantize, round_weights
from edgeml_export.fakequant.learned import LearnedRange, LearnedRanges

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch.fx import GraphModule, Node

    from edgeml_export.scheme import QuantScheme
    from edgeml_runtime.manifest import ModelFormat

__all__ = ["ActivationRounder", "Ends", "Mode", "Rounding", "SimulatedModel", "WeightRounder"]

# Ends are learned as logarithms, whose steps are relative ones whatever the activation's size, and ten times as fast as
# weights: an optimizer that normalises gradients, as Adam does, gives every number the same step (Jain et al. 2020,
# arXiv:1903.08066, train logarithms of thresholds by Adam for that reason, at a rate of their own).
_RATE = 10.0
# An activation that is zero for every calibration item gets a range all the same, should training bring it to life.
_NARROWEST = 1e-3


class Mode:
    """Which format is being computed; shared by everything that rounds. None computes in float."""

    def __init__(self) -> None:
        self.format: ModelFormat | None = None


class Ends(nn.Module):
    """The learned range of one activation, or of several that must share one.

    Zero stays inside: each end keeps its sign, and one that is zero stays zero, as padding and ReLU need it.

    Args:
        low: Lower end at the start, at most 0.
        high: Upper end at the start, at least 0.
        cap: What the upper end must not exceed, such as 6 behind ReLU6, because a file leaves that clipping to the
            range; None for nothing.
    """

    def __init__(self, low: float, high: float, cap: float | None) -> None:
        super().__init__()
        high = high if high - low >= _NARROWEST else max(high, low + _NARROWEST)
        self.register_buffer("start", torch.tensor([low, high], dtype=torch.float32))
        self.growth = nn.Parameter(torch.zeros(2))
        self.cap = math.inf if cap is None else cap

    def forward(self) -> tuple[Tensor, Tensor]:
        """Lower and upper end, scalars."""
        start: Tensor = self.start  # type: ignore[assignment]
        ends = start * torch.exp(_RATE * self.growth)
        return ends[0], ends[1] if math.isinf(self.cap) else ends[1].clamp(max=self.cap)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounding:
    """How one format rounds an activation.

    Attributes:
        ends: The range.
        steps: The largest integer; the smallest is 0.
    """

    ends: Ends
    steps: int


class ActivationRounder(nn.Module):
    """Rounds one activation in the formats whose files do.

    Args:
        roundings: Format → how; ranges may differ, because formats differ in what must share one.
        mode: The format that is computed.
    """

    def __init__(self, roundings: Mapping[ModelFormat, Rounding], mode: Mode) -> None:
        super().__init__()
        self.ends = nn.ModuleList(rounding.ends for rounding in roundings.values())
        self.roundings, self.mode = dict(roundings), mode

    def forward(self, values: Tensor) -> Tensor:
        """The values that an integer stands for."""
        rounding = self.roundings.get(self.mode.format) if self.mode.format is not None else None
        if rounding is None:
            return values
        low, high = rounding.ends()
        return fake_quantize(values, low, high, rounding.steps)


class WeightRounder(nn.Module):
    """Rounds the weights of one layer in the formats whose files do.

    Args:
        schemes: Format → how.
        channel_axis: Axis of the output channels.
        mode: The format that is computed.
    """

    def __init__(self, schemes: Mapping[ModelFormat, QuantScheme], channel_axis: int, mode: Mode) -> None:
        super().__init__()
        self.schemes, self.channel_axis, self.mode = dict(schemes), channel_axis, mode

    def forward(self, weight: Tensor) -> Tensor:
        """The weights that integers stand for."""
        scheme = self.schemes.get(self.mode.format) if self.mode.format is not None else None
        if scheme is None:
            return weight
        return round_weights(weight, self.channel_axis if scheme.per_channel else None, scheme.weight_max)


class SimulatedModel(nn.Module):
    """A fused model that computes what the int8 files of one format, or of another, will compute.

    Args:
        graph: The traced graph with rounding in it.
        mode: Which format is computed; what rounds in ``graph`` looks at it too.
        formats: The formats that are simulated.
        activations: Key of every rounded activation → its range, in the order of the graph.
        settled: Parameters and buffers of the fused model, its batch normalisations folded.
        deciding: Position of the deciding output among the graph's.
        input_names: Contract input names, in order.
        features: The node behind the feature pipeline, where one tensor leaves it.
        takes_batches: Whether the graph takes several items at once.
    """

    def __init__(
        self,
        graph: GraphModule,
        mode: Mode,
        *,
        formats: Sequence[ModelFormat],
        activations: Mapping[str, Ends],
        settled: Mapping[str, Tensor],
        deciding: int,
        input_names: tuple[str, ...],
        features: Node | None,
        takes_batches: bool,
    ) -> None:
        super().__init__()
        self.graph, self.mode = graph, mode
        self.formats = tuple(formats)
        self.input_names = input_names
        self._activations, self._settled = dict(activations), dict(settled)
        self._deciding, self._takes_batches = deciding, takes_batches
        # They refer to tensors of the graph, and are hidden from the registry of modules lest these count twice.
        self._parts = (None if features is None else parts_at(graph, features),)

    @property
    def forms(self) -> tuple[ModelFormat | None, ...]:
        """Everything that the weights are to serve: each format's int8, and float (None), which fp32 variants are."""
        return (*self.formats, None)

    @property
    def has_features(self) -> bool:
        """Whether features can be computed by themselves."""
        return self._parts[0] is not None

    def features(self, *inputs: Tensor) -> Tensor:
        """Features of a batch, as :attr:`mode` says.

        Args:
            inputs: One tensor [n, *shape] per input, in the contract's order.

        Returns:
            [n, …] float32.
        """
        assert self._parts[0] is not None
        return self._run(self._parts[0][0], inputs)

    def network(self, features: Tensor) -> Tensor:
        """The deciding output from features, as :attr:`mode` says.

        Args:
            features: As :meth:`features` gives them.

        Returns:
            [n, *shape of the output] float32.
        """
        assert self._parts[0] is not None
        return self._run(self._parts[0][1], (features,), self._deciding)

    def logits(self, *inputs: Tensor) -> Tensor:
        """The deciding output of a batch, as :attr:`mode` says.

        Args:
            inputs: One tensor [n, *shape] per input, in the contract's order.

        Returns:
            [n, *shape of the output] float32.
        """
        return self._run(self.graph, inputs, self._deciding)

    def fused_state(self) -> dict[str, Tensor]:
        """Parameters and buffers of the fused model as they stand, its batch normalisations folded."""
        trained = {
            name.removeprefix("model."): parameter.detach().clone()
            for name, parameter in self.graph.named_parameters()
            if name.startswith("model.")
        }
        return {**self._settled, **trained}

    def learned(self) -> LearnedRanges:
        """The ranges as they stand."""
        ranges = []
        with torch.no_grad():
            for key, ends in self._activations.items():
                low, high = ends()
                ranges.append(LearnedRange(key=key, low=float(low), high=float(high)))
        return LearnedRanges(ranges=tuple(ranges))

    def _run(self, graph: nn.Module, inputs: tuple[Tensor, ...], output: int | None = None) -> Tensor:
        if self._takes_batches:
            results = graph(*inputs)
            result: Tensor = results if output is None else results[output]
            return result
        singles = [graph(*(tensor[index : index + 1] for tensor in inputs)) for index in range(len(inputs[0]))]
        return torch.cat([single if output is None else single[output] for single in singles])
