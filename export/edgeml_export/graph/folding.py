"""Preprocessing that costs nothing, or as little as it can: what a traced graph does to its inputs, shortened.

Where the graph maps uint8 values by one scale and a whole zero point, ``scale · (x − zero_point)``, whatever module the
user wrote it in, that map is a quantization of the input in the sense of ONNX's DequantizeLinear and of TFLite. It is
cut off the graph, and each format puts its cheapest form of it in front. Any other affine map is written as one cast,
one addition and one multiplication at most; :mod:`edgeml_export.graph.fold_weights` can go further where weights are
float.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.fx import GraphModule, Node

from edgeml_export.graph.first_layer import first_layer
from edgeml_export.graph.input_chain import input_chain, inputs_of, is_layout, operator_name
from edgeml_export.graph.layers import WEIGHTED_OPERATORS
from edgeml_export.graph.rewriting import Remainder, rewrite
from edgeml_runtime.errors import DefectError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor
    from torch.export import ExportedProgram

    from edgeml_export.graph.first_layer import FirstLayer
    from edgeml_export.graph.input_chain import InputChain

__all__ = [
    "Folding",
    "ModelGraph",
    "PixelQuantization",
    "cut_pixels",
    "finish",
    "remaining_operators",
    "unlifted",
]

_ATEN = torch.ops.aten
_PIXEL_MAX = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelQuantization:
    """A normalisation of uint8 values that is a quantization: ``scale · (x − zero_point)``.

    Attributes:
        scale: Step between two neighbouring values after normalisation.
        zero_point: The value, 0 to 255, that is normalised to zero.
    """

    scale: float
    zero_point: int

    @property
    def range(self) -> tuple[float, float]:
        """The normalised values of the smallest and the largest pixel."""
        return (0 - self.zero_point) * self.scale, (255 - self.zero_point) * self.scale

    def normalised(self, pixels: Tensor) -> Tensor:
        """The values that pixels stand for.

        Args:
            pixels: uint8, of any shape.

        Returns:
            float32, of the same shape.
        """
        return (pixels.to(torch.float32) - self.zero_point) * self.scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Folding:
    """What became of the preprocessing of one input.

    Attributes:
        input: Name of the input.
        folded: What happened, in words for the report.
        remaining: Operators that still touch every value of the input before the first layer, by ATen name.
    """

    input: str
    folded: str
    remaining: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"input": self.input, "folded": self.folded, "remaining": list(self.remaining)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelGraph:
    """A traced model with its preprocessing folded.

    Attributes:
        module: The graph; positional inputs and outputs in the contract's order.
        example: One item [1, *shape] of every input, float32 where pixels were cut.
        pixels: Input name → the normalisation that was cut off; such an input takes the normalised values.
        foldings: What became of each input's preprocessing.
    """

    module: GraphModule
    example: tuple[Tensor, ...]
    pixels: Mapping[str, PixelQuantization]
    foldings: tuple[Folding, ...]

    def feed(self, names: tuple[str, ...], inputs: Mapping[str, NDArray[Any]], index: int) -> tuple[Tensor, ...]:
        """One item as the graph takes it.

        Args:
            names: Names of the inputs, in order.
            inputs: Input name → [n, *shape], raw.
            index: Which item.

        Returns:
            One tensor [1, *shape] per input, normalised where pixels were cut.
        """
        tensors = []
        for name in names:
            tensor = torch.from_numpy(np.array(inputs[name][index : index + 1], order="C"))
            pixel = self.pixels.get(name)
            tensors.append(tensor if pixel is None else pixel.normalised(tensor))
        return tuple(tensors)


def cut_pixels(program: ExportedProgram, names: tuple[str, ...], example: tuple[Tensor, ...]) -> ModelGraph:
    """Cut normalisations of uint8 inputs that are quantizations, and shorten other affine maps of inputs.

    Args:
        program: The traced model.
        names: Names of its inputs, in order.
        example: One item of every input.

    Returns:
        A graph of its own.
    """
    module = unlifted(program)
    pixels: dict[str, PixelQuantization] = {}
    changed = list(example)
    foldings = []
    for position, (name, source) in enumerate(zip(names, list(inputs_of(module)), strict=True)):
        text, pixel = _fold_input(module, source)
        if pixel is not None:
            pixels[name] = pixel
            changed[position] = pixel.normalised(example[position])
        foldings.append(Folding(input=name, folded=text, remaining=remaining_operators(module, source)))
    finish(module)
    return ModelGraph(module=module, example=tuple(changed), pixels=pixels, foldings=tuple(foldings))


def finish(module: GraphModule) -> None:
    """Check a changed graph, and compile it again.

    Args:
        module: The graph.
    """
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()


def remaining_operators(module: GraphModule, source: Node) -> tuple[str, ...]:
    """ATen names of the operators that compute with the values of an input before a layer does, in order.

    Args:
        module: The traced model.
        source: One of its inputs.

    Returns:
        The names; changes of layout are left out, and what needs the output of a layer as well, such as the error of
        an autoencoder, which compares it with the features.
    """
    before, behind, names = {source}, set[Node](), []
    for node in module.graph.nodes:
        name = operator_name(node)
        if name in WEIGHTED_OPERATORS or not behind.isdisjoint(node.all_input_nodes):
            behind.add(node)
        elif name != "sym_size" and not before.isdisjoint(node.all_input_nodes):
            before.add(node)
            if name and not is_layout(node):
                names.append(name)
    return tuple(names)


def unlifted(program: ExportedProgram) -> GraphModule:
    """The program as a module with a graph of its own, without what tracing leaves and inference has no use for.

    These are checks of types and shapes, and the detaching of constants that are written in ``forward``.

    Args:
        program: The traced model.

    Returns:
        A module that refers to the program's tensors.
    """
    module = program.module(check_guards=False)
    if not isinstance(module, GraphModule):
        raise DefectError(f"torch.export gave a {type(module).__name__}, not a GraphModule")
    for node in list(module.graph.nodes):
        if node.target is _ATEN._assert_tensor_metadata.default:
            module.graph.erase_node(node)
        elif node.target is _ATEN.detach_.default:
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
    return module


def _fold_input(module: GraphModule, source: Node) -> tuple[str, PixelQuantization | None]:
    """Cut or shorten what is done to an input; returns what was done, and the quantization where one was cut off."""
    chain = input_chain(module, source)
    if source.meta["val"].dtype != torch.uint8:
        return _shorten(module, chain), None
    layer, zero = first_layer(module, chain), chain.affine.zero()
    obstacle = _pixel_obstacle(chain, zero, layer)
    if zero is None or obstacle is not None:
        return f"{_shorten(module, chain)}; the pixel is not the quantized input, because {obstacle}", None
    pixel = PixelQuantization(scale=float(chain.affine.scale.reshape(-1)[0]), zero_point=round(zero))
    source.meta["val"] = source.meta["val"].to(torch.float32)
    rewrite(module, chain, Remainder.NOTHING)
    text = f"the pixel is the quantized input: scale {pixel.scale:.6g}, zero point {pixel.zero_point}"
    rest = pixel.scale * (pixel.zero_point - zero)
    if rest == 0 or layer is None:
        return text, pixel
    layer.add_to_bias(module, torch.tensor(rest, dtype=torch.float64))
    return f"{text}; {rest:.6g} is added to it in the bias of the first {operator_name(layer.node)}", pixel


def _pixel_obstacle(chain: InputChain, zero: float | None, layer: FirstLayer | None) -> str | None:
    """Why a chain of an input of uint8 is no quantization of pixels; None where it is one."""
    if chain.end.meta["val"].dtype != torch.float32:
        return "what reads it is not one affine map in float32"
    if zero is None:
        return "its elements are not normalised alike"
    if bool((chain.affine.scale < 0).any()):
        return "its scale is negative"
    if not 0 <= round(zero) <= _PIXEL_MAX:
        return f"its zero is {zero:.6g}, which is no pixel"
    if zero == round(zero) or (layer is not None and layer.obstacle is None):
        return None
    why = "no layer follows whose bias could take the rest" if layer is None else layer.obstacle
    return f"its zero is {zero:.6g}, which is no whole number, and {why}"


def _shorten(module: GraphModule, chain: InputChain) -> str:
    """Write the chain's map in as few operators as it can be; returns what was done."""
    before = remaining_operators(module, chain.source)
    if not chain.nodes or chain.end.meta["val"].dtype != torch.float32:
        return "nothing"
    rewrite(module, chain, Remainder.WHOLE)
    after = remaining_operators(module, chain.source)
    return f"{', '.join(before)} written as {', '.join(after) or 'nothing'}" if len(after) < len(before) else "nothing"
