"""How much each layer loses when it alone is quantized, measured on calibration items.

The layer's weights, the activations it reads and those it gives are rounded as the scheme says, everything else stays
float. What the model's deciding output loses is told by its signal-to-quantization-noise ratio (SQNR) in decibels,
10 · log₁₀(Σ x² / Σ (x − x̂)²) (Jayant and Noll, "Digital Coding of Waveforms", 1984, chapter 4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.fx import Node

from edgeml_export.graph.layers import find_layers
from edgeml_export.graph.running import call_node, run_nodes
from edgeml_export.parity import decibels
from edgeml_runtime.progress import Progress, ProgressEvent, silent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor
    from torch.fx import GraphModule

    from edgeml_export.graph.layers import Layer
    from edgeml_export.scheme import QuantScheme

__all__ = ["LayerLoss", "measure_sensitivity"]

_MAX_ITEMS = 32
_MIN_ITEMS = 4
# Multiplications that all layers' turns together may take; about half a minute of one core.
_MACS = 30e9
_BINS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLoss:
    """One layer, and what quantizing it alone loses.

    Attributes:
        path: Dotted path of its module.
        operator: ATen names of what it computes.
        macs: Multiplications with additions for one item.
        parameters: Weights.
        weight_range: Smallest and largest weight.
        weight_histogram: Weights in 64 equal bins over that range.
        activation_range: Smallest and largest value it gave for the items.
        activation_histogram: Those values in 64 equal bins over that range.
        sqnr_db: Of its own output; NaN where the layer gives values that are NaN or infinite.
        output_sqnr_db: Of the model's deciding output; infinite where nothing was lost.
        in_float_scope: Whether the contract keeps it in float; the losses are then those it would have.
    """

    path: str
    operator: str
    macs: int
    parameters: int
    weight_range: tuple[float, float]
    weight_histogram: tuple[int, ...]
    activation_range: tuple[float, float]
    activation_histogram: tuple[int, ...]
    sqnr_db: float
    output_sqnr_db: float
    in_float_scope: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON values; ratios that are not finite are null."""
        return {
            "path": self.path,
            "operator": self.operator,
            "macs": self.macs,
            "parameters": self.parameters,
            "weight_bytes": {"fp32": 4 * self.parameters, "fp16": 2 * self.parameters, "int8": self.parameters},
            "in_float_scope": self.in_float_scope,
            "weight_range": list(self.weight_range),
            "activation_range": list(self.activation_range),
            "sqnr_db": self.sqnr_db if math.isfinite(self.sqnr_db) else None,
            "output_sqnr_db": self.output_sqnr_db if math.isfinite(self.output_sqnr_db) else None,
        }


def measure_sensitivity(
    module: GraphModule,
    layers: Sequence[Layer],
    items: Sequence[tuple[Tensor, ...]],
    scheme: QuantScheme,
    *,
    output: int,
    in_float_scope: bool = False,
    progress: Progress = silent,
) -> tuple[LayerLoss, ...]:
    """Quantize every layer in turn.

    Args:
        module: The traced model, for a batch of one.
        layers: Those of its layers that are to be measured.
        items: Calibration items: one tensor [1, *shape] per input of ``module`` each; as many are used as half a minute
            allows.
        scheme: Bits of weights and activations, and whether weights have a scale per channel.
        output: Position of the deciding output among the model's.
        in_float_scope: What the entries are to say of the layers.
        progress: Told about every item.

    Returns:
        One entry per module path, in the order of the graph.
    """
    groups: dict[str, list[Layer]] = {}
    for layer in layers:
        groups.setdefault(layer.path, []).append(layer)
    if not groups:
        return ()
    used = list(items)[: _affordable_items(module, len(groups))]
    tallies = {path: _Tally() for path in groups}
    ranges: dict[Node, tuple[float, float]] = {}
    for index, item in enumerate(used):
        _widen(ranges, run_nodes(module, item), layers)
        progress(ProgressEvent(step="ranges of layers", done=index + 1, total=len(used)))
    for index, item in enumerate(used):
        values = run_nodes(module, item)
        for path, group in groups.items():
            tallies[path].count(values, group, _activation_range(group, ranges))
            _try_quantized(module, values, group, scheme, ranges, output, tallies[path])
        progress(ProgressEvent(step="sensitivity of layers", done=index + 1, total=len(used)))
    return tuple(
        _loss(path, group, _activation_range(group, ranges), tallies[path], in_float_scope=in_float_scope)
        for path, group in groups.items()
    )


def _affordable_items(module: GraphModule, turns: int) -> int:
    """How many items half a minute allows where each runs the model that many times."""
    macs = sum(layer.macs for layer in find_layers(module)) * turns
    return max(_MIN_ITEMS, min(_MAX_ITEMS, int(_MACS / max(1, macs))))


class _Tally:
    """Sums over items: signal and noise of a layer's output and of the model's, and how its values are spread."""

    def __init__(self) -> None:
        self.own = [0.0, 0.0]
        self.final = [0.0, 0.0]
        self.counts = np.zeros(_BINS, np.int64)

    def add(self, sums: list[float], exact: Tensor, found: Tensor) -> None:
        sums[0] += float(exact.double().square().sum())
        sums[1] += float((exact.double() - found.double()).square().sum())

    def count(self, values: Mapping[Node, Any], group: Sequence[Layer], ends: tuple[float, float]) -> None:
        if math.isfinite(ends[1] - ends[0]):
            for layer in group:
                self.counts += np.histogram(values[layer.node].float().numpy(), _BINS, ends)[0]


def _try_quantized(
    module: GraphModule,
    values: Mapping[Node, Any],
    group: Sequence[Layer],
    scheme: QuantScheme,
    ranges: Mapping[Node, tuple[float, float]],
    output: int,
    tally: _Tally,
) -> None:
    """Run the part of the graph behind a layer again, with the layer quantized."""
    changed: dict[Node, Any] = {}
    quantized = {layer.node: layer for layer in group}
    with torch.inference_mode():
        for node in module.graph.nodes:
            if node.op != "call_function":
                continue
            layer = quantized.get(node)
            if layer is None and not any(source in changed for source in node.all_input_nodes):
                continue
            seen = _Overlay(values, changed)
            if layer is None:
                changed[node] = call_node(node, seen)
                continue
            changed[node] = _quantized_layer(layer, seen, scheme, ranges)
            tally.add(tally.own, values[node], changed[node])
    result = next(node for node in module.graph.nodes if node.op == "output").args[0][output]
    tally.add(tally.final, values[result], changed.get(result, values[result]))


class _Overlay(dict[Node, Any]):
    """Changed values before unchanged ones."""

    def __init__(self, values: Mapping[Node, Any], changed: Mapping[Node, Any]) -> None:
        super().__init__()
        self._values, self._changed = values, changed

    def __missing__(self, node: Node) -> Any:
        return self._changed[node] if node in self._changed else self._values[node]


def _quantized_layer(
    layer: Layer, values: Mapping[Node, Any], scheme: QuantScheme, ranges: Mapping[Node, tuple[float, float]]
) -> Tensor:
    arguments: list[Any] = [values[item] if isinstance(item, Node) else item for item in layer.node.args]
    arguments[layer.weight_position] = _rounded_weight(layer, scheme)
    if scheme.activation_bits is None:
        result: Tensor = layer.node.target(*arguments, **layer.node.kwargs)  # type: ignore[operator]
        return result
    place = list(layer.node.args).index(layer.source)
    arguments[place] = _rounded(arguments[place], ranges[layer.source], scheme.activation_bits)
    result = layer.node.target(*arguments, **layer.node.kwargs)  # type: ignore[operator]
    return _rounded(result, ranges[layer.node], scheme.activation_bits)


def _rounded_weight(layer: Layer, scheme: QuantScheme) -> Tensor:
    """Symmetric integers: round(w / s) · s, s = max |w| / the largest; per output channel as the scheme says."""
    weight = layer.weight.float()
    axis = layer.channel_axis % weight.ndim
    others = [index for index in range(weight.ndim) if index != axis]
    largest = weight.abs().amax(dim=others, keepdim=True) if scheme.per_channel else weight.abs().max()
    step = torch.clamp(largest / scheme.weight_max, min=torch.finfo(torch.float32).tiny)
    return torch.round(weight / step) * step


def _rounded(values: Tensor, ends: tuple[float, float], bits: int) -> Tensor:
    """Asymmetric integers over a range that holds zero."""
    low, high = min(ends[0], 0.0), max(ends[1], 0.0)
    if not math.isfinite(high - low):
        return torch.full_like(values, math.nan)
    step = max((high - low) / (2**bits - 1), float(np.finfo(np.float32).tiny))
    zero_point = round(-low / step)
    integers = torch.clamp(torch.round(values / step) + zero_point, 0, 2**bits - 1)
    rounded: Tensor = (integers - zero_point) * step
    return rounded


def _widen(ranges: dict[Node, tuple[float, float]], values: Mapping[Node, Any], layers: Sequence[Layer]) -> None:
    for node in {item for layer in layers for item in (layer.node, layer.source)}:
        low, high = ranges.get(node, (0.0, 0.0))
        found = values[node]
        ranges[node] = (min(low, float(found.min())), max(high, float(found.max())))


def _activation_range(group: Sequence[Layer], ranges: Mapping[Node, tuple[float, float]]) -> tuple[float, float]:
    found = [ranges[layer.node] for layer in group]
    return min(low for low, _ in found), max(high for _, high in found)


def _loss(
    path: str, group: Sequence[Layer], activations: tuple[float, float], tally: _Tally, *, in_float_scope: bool
) -> LayerLoss:
    weights = np.concatenate([layer.weight.float().numpy().ravel() for layer in group])
    return LayerLoss(
        path=path,
        operator=", ".join(dict.fromkeys(layer.operator for layer in group)),
        macs=sum(layer.macs for layer in group),
        parameters=weights.size,
        weight_range=(float(weights.min()), float(weights.max())),
        weight_histogram=tuple(int(n) for n in np.histogram(weights, _BINS)[0]),
        activation_range=activations,
        activation_histogram=tuple(int(n) for n in tally.counts),
        sqnr_db=_ratio(*tally.own),
        output_sqnr_db=_ratio(*tally.final),
        in_float_scope=in_float_scope,
    )


def _ratio(power: float, noise: float) -> float:
    """In decibels; NaN where values were not finite."""
    return decibels(power, noise) if math.isfinite(power) and math.isfinite(noise) else math.nan
