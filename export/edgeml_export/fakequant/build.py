"""Building the simulated model: what each format's file rounds is asked of the converters, not written down twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeml_evaluate import decision_output
from edgeml_export.calibration import refuse_unbounded
from edgeml_export.converters import load_converter
from edgeml_export.fakequant.graph import node_keys, settle_norms, training_graph
from edgeml_export.fakequant.matching import KnownRange, KnownRanges, fits, match_names, signature_of
from edgeml_export.fakequant.model import ActivationRounder, Ends, Mode, Rounding, SimulatedModel, WeightRounder
from edgeml_export.graph.folding import finish
from edgeml_export.graph.input_chain import inputs_of, operator_name
from edgeml_export.graph.layers import find_layers, module_path
from edgeml_export.graph.running import run_nodes
from edgeml_export.prepared import prepare
from edgeml_export.scheme import Precision, plan_variant, variant_spec
from edgeml_export.scopes import within
from edgeml_export.tracing import trace
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.manifest import ModelFormat
from edgeml_runtime.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch.fx import GraphModule, Node

    from edgeml_evaluate import LabelledData
    from edgeml_export.calibration_ranges import Range
    from edgeml_export.fakequant.learned import LearnedRanges
    from edgeml_export.fakequant.matching import Signature
    from edgeml_export.prepared import Prepared
    from edgeml_export.scheme import QuantScheme, VariantPlan
    from edgeml_export.tracing import Traced
    from edgeml_runtime.contract import Contract

__all__ = ["int8_plans", "known_ranges", "simulate_int8"]

_PROBES = 8
_FEATURES = "features"
# What these compute has the scale of what they read, in both formats.
_SAME_SCALE = frozenset(
    {
        *(f"{kind}_pool{rank}d" for kind in ("max", "avg") for rank in (1, 2, 3)),
        *("slice", "select", "narrow", "split", "chunk", "index_select", "gather", "flip", "roll", "repeat", "expand"),
        *("upsample_nearest1d", "upsample_nearest2d", "upsample_bilinear2d", "amax", "amin", "pad"),
    }
)
# In TFLite, what these read has the scale of what they compute (quantization specification, CONCATENATION).
_JOINS = frozenset({"cat", "stack"})
_CLIPS = frozenset({"relu6", "hardtanh", "clamp"})


def int8_plans(contract: Contract) -> dict[ModelFormat, VariantPlan]:
    """The int8 variants of a contract, by the format whose quantizer makes them.

    Args:
        contract: The contract.

    Returns:
        Format → plan; an ``.ort`` file is an ONNX one.

    Raises:
        ProjectError: When the contract has none.
    """
    specs = [variant_spec(variant_id) for variant_id in contract.export.variants]
    formats = {
        ModelFormat.ONNX if spec.format is ModelFormat.ORT else spec.format
        for spec in specs
        if spec.precision is Precision.INT8
    }
    if not formats:
        raise ProjectError(
            f"edgeml.toml: export.variants: expected an int8 variant such as onnx-int8, found "
            f"{', '.join(contract.export.variants)}: quantization-aware training has nothing to train for"
        )
    rules = contract.export
    return {
        format_: plan_variant(
            variant_spec(f"{format_.value}-{Precision.INT8.value}"),
            calibration=rules.calibration,
            weights=rules.weights,
        )
        for format_ in (ModelFormat.ONNX, ModelFormat.TFLITE)
        if format_ in formats
    }


def simulate_int8(
    fused: torch.nn.Module,
    contract: Contract,
    *,
    calibration: LabelledData,
    test: LabelledData,
    validation: LabelledData | None = None,
    progress: Progress = silent,
) -> SimulatedModel:
    """Make a model that computes what the contract's int8 variants of a fused model compute, and that can be trained.

    Where a format rounds is read from the file that its quantizer makes; ranges begin as calibration finds them.

    Args:
        fused: As for :func:`edgeml_export.export.export_bundle`; it is not changed.
        contract: The contract.
        calibration: Items of the training split.
        test: The test split; its items are only compared with the contract.
        validation: The validation split, likewise.
        progress: Told about every step.

    Returns:
        The model, computing in float until its ``mode`` names a format.

    Raises:
        ProjectError: When there is no int8 variant, nothing in the model is quantized, or it cannot be exported.
    """
    plans = int8_plans(contract)
    prepared = prepare(fused, contract, calibration, test, validation)
    settle_norms(prepared)
    module, takes_batches = training_graph(prepared)
    activations = _Activations.of(module, prepared, _probe(calibration.inputs))
    traced = trace(prepared)
    for format_, plan in plans.items():
        _collect(activations, format_, plan, prepared, traced, calibration, progress)
    if not activations.ranges:
        raise ProjectError(
            "quantization-aware training: expected layers that the int8 variants round, found none: all of the model "
            "lies in export.float_scopes, or none of its operators has an int8 form"
        )
    mode = Mode()
    layers = find_layers(module)
    features = _features_node(module)
    ends = _insert_activations(module, activations, {format_: plan.scheme for format_, plan in plans.items()}, mode)
    for layer in layers:
        formats = activations.formats_of(layer.source)
        schemes = {format_: plan.scheme for format_, plan in plans.items() if format_ in formats and plan.scheme}
        if schemes and not within(layer.path, contract.export.float_scopes):
            rounder = WeightRounder(schemes, layer.channel_axis, mode)
            weight = layer.node.args[layer.weight_position]
            with module.graph.inserting_before(layer.node):
                rounded = _call(module, f"rounded_weight_{layer.node.name}", rounder, weight)  # type: ignore[arg-type]
            layer.node.update_arg(layer.weight_position, rounded)
    finish(module)
    for parameter in module.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return SimulatedModel(
        module,
        mode,
        formats=tuple(plans),
        activations=ends,
        settled={name: tensor.detach().clone() for name, tensor in prepared.module.model.state_dict().items()},
        deciding=prepared.output_names.index(decision_output(contract)),
        input_names=prepared.input_names,
        features=features,
        takes_batches=takes_batches,
    )


def known_ranges(prepared: Prepared, learned: LearnedRanges, calibration: LabelledData) -> KnownRanges:
    """Learned ranges with the values by which converters find them in their files.

    Args:
        prepared: The model that was trained.
        learned: Its ranges.
        calibration: Items of the training split, of which a few are run.

    Returns:
        What goes into a plan.

    Raises:
        ProjectError: When the ranges are of another model.
    """
    module, _ = training_graph(prepared)
    activations = _Activations.of(module, prepared, _probe(calibration.inputs))
    places = {key: node for node, key in activations.keys.items()}
    unknown = [entry.key for entry in learned.ranges if entry.key not in places]
    if unknown:
        raise ProjectError(
            f"the learned ranges are of another model: it has no {unknown[0]!r}. Train again: "
            "`edgeml train PROJECT --qat`."
        )
    ranges = [
        KnownRange(signature=activations.signatures[places[entry.key]], low=entry.low, high=entry.high)
        for entry in learned.ranges
    ]
    return KnownRanges(inputs=activations.probe, ranges=tuple(ranges))


@dataclass(slots=True, kw_only=True)
class _Activations:
    """The activations of a graph, told by their values for a few items, and which of them are rounded.

    Attributes:
        keys: Node → key.
        probe: Contract input name → [items, *shape].
        signatures: Node → signature, of what depends on the inputs and is float.
        ranges: Rounded node → range.
        formats: Rounded node → format → the range that calibration found; for pixels, which are exact, without range.
    """

    keys: Mapping[Node, str]
    probe: Mapping[str, NDArray[np.generic]]
    signatures: dict[Node, Signature]
    ranges: dict[Node, Range] = field(default_factory=dict)
    formats: dict[Node, set[ModelFormat]] = field(default_factory=dict)

    @classmethod
    def of(cls, module: GraphModule, prepared: Prepared, probe: Mapping[str, NDArray[np.generic]]) -> _Activations:
        keys = node_keys(module)
        values: dict[Node, list[NDArray[np.float32]]] = {}
        for index in range(len(next(iter(probe.values())))):
            item = tuple(torch.from_numpy(np.array(probe[name][index : index + 1])) for name in prepared.input_names)
            for node, value in run_nodes(module, item).items():
                if node in keys and isinstance(value, torch.Tensor) and value.is_floating_point():
                    values.setdefault(node, []).append(value.detach().numpy())
        reached = set(inputs_of(module))
        for node in module.graph.nodes:
            if not reached.isdisjoint(node.all_input_nodes):
                reached.add(node)
        signatures = {node: signature_of(found) for node, found in values.items() if node in reached}
        return cls(keys=keys, probe=probe, signatures=signatures)

    def first_like(self, own: Signature) -> Node | None:
        """The first activation with the same values."""
        nodes = list(self.signatures)
        fitting = fits(np.array([self.signatures[node] for node in nodes]), own)
        return nodes[int(np.argmax(fitting))] if fitting.any() else None

    def origin(self, node: Node) -> Node:
        """The first activation that has the values of a node, which layout alone may have changed."""
        own = self.signatures.get(node)
        return node if own is None else self.first_like(own) or node

    def formats_of(self, node: Node) -> set[ModelFormat]:
        """The formats that hand the values of a node on as integers."""
        return self.formats.get(self.origin(node), set())


def _probe(inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
    """A few items, spread over all."""
    total = len(next(iter(inputs.values())))
    places = np.unique(np.linspace(0, total - 1, min(_PROBES, total)).round().astype(int))
    return {name: values[places] for name, values in inputs.items()}


def _collect(
    activations: _Activations,
    format_: ModelFormat,
    plan: VariantPlan,
    prepared: Prepared,
    traced: Traced,
    calibration: LabelledData,
    progress: Progress,
) -> None:
    """Learn from a format's quantizer what it rounds, and from calibration the ranges to begin with."""
    converter = load_converter(format_)(prepared, traced)
    ranges = converter.ranges(plan, calibration, progress)
    nodes = list(activations.signatures)
    names = converter.rounded(plan)
    found = match_names(
        converter.activations(activations.probe), names, [activations.signatures[node] for node in nodes]
    )
    refuse_unbounded({name: ranges[name] for name in found})
    for name, place in found.items():
        node, (low, high) = nodes[place], ranges[name]
        before = activations.ranges.get(node, (0.0, 0.0))
        activations.ranges[node] = min(before[0], low), max(before[1], high)
        activations.formats.setdefault(node, set()).add(format_)
    for name, pixel in traced.graph.pixels.items():
        values = [pixel.normalised(torch.from_numpy(item)).numpy() for item in activations.probe[name]]
        exact = activations.first_like(signature_of(values))
        if exact is not None:
            activations.ranges.pop(exact, None)
            activations.formats.setdefault(exact, set()).add(format_)


def _insert_activations(
    module: GraphModule,
    activations: _Activations,
    schemes: Mapping[ModelFormat, QuantScheme | None],
    mode: Mode,
) -> dict[str, Ends]:
    """Put rounding behind the activations that are rounded; returns the range of each by its key."""
    links = {format_: _links(module, activations, format_) for format_ in schemes}
    ends: dict[Node, Ends] = {}

    def ends_of(node: Node, format_: ModelFormat) -> Ends:
        root = node
        while links[format_].get(root, root) in activations.ranges and root in links[format_]:
            root = links[format_][root]
        if root not in ends:
            ends[root] = Ends(*activations.ranges[root], _cap(root))
        return ends[root]

    found = {}
    for node in [node for node in module.graph.nodes if node in activations.ranges]:
        formats = sorted(activations.formats[node], key=lambda item: item.value)
        own = {
            format_: Rounding(ends=ends_of(node, format_), steps=scheme.activation_max)
            for format_ in formats
            if (scheme := schemes[format_]) is not None
        }
        rounder = ActivationRounder(own, mode)
        with module.graph.inserting_after(node):
            rounded = _call(module, f"rounded_{node.name}", rounder, node)
        node.replace_all_uses_with(rounded, delete_user_cb=lambda user, new=rounded: user is not new)
        found[activations.keys[node]] = own[formats[0]].ends
    return found


def _links(module: GraphModule, activations: _Activations, format_: ModelFormat) -> dict[Node, Node]:
    """Activation → another one whose range it takes in a format."""
    links: dict[Node, Node] = {}
    for node in module.graph.nodes:
        sources = [activations.origin(source) for source in node.all_input_nodes if source in activations.signatures]
        own = activations.origin(node)
        if operator_name(node) in _SAME_SCALE and sources and sources[0] is not own:
            links[own] = sources[0]
        if operator_name(node) in _JOINS and format_ is ModelFormat.TFLITE:
            for source in sources:
                root = source
                while root in links:
                    root = links[root]
                if root is not own:
                    links[root] = own
    return links


def _cap(node: Node) -> float | None:
    """What a clipping leaves at most."""
    if operator_name(node) == "relu6":
        return 6.0
    upper = node.args[2] if operator_name(node) in _CLIPS and len(node.args) > 2 else None
    if operator_name(node) == "hardtanh" and upper is None:
        return 1.0
    return float(upper) if isinstance(upper, int | float) and upper > 0 else None


def _call(module: GraphModule, name: str, rounder: torch.nn.Module, source: Node) -> Node:
    module.add_submodule(name, rounder)
    return module.graph.call_module(name, (source,))


def _features_node(module: GraphModule) -> Node | None:
    """The node of the feature pipeline that alone is read by what follows."""
    inside = {node for node in module.graph.nodes if within(module_path(node), (_FEATURES,))}
    read = {
        node
        for node in inside
        if node.op == "call_function"
        and any(user not in inside and operator_name(user) != "sym_size" for user in node.users)
    }
    return read.pop() if len(read) == 1 else None
