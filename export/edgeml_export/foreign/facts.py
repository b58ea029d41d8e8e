"""What is known of a foreign model file before it runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edgeml_export.inventory import Inventory, OperatorCount
from edgeml_export.scheme import Precision

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ForeignFacts", "ForeignTensor", "Quantization"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """How a tensor of integers stands for real numbers: ``scale`` · (q - ``zero_point``).

    Attributes:
        scale: Distance of two neighbours.
        zero_point: The integer of zero.
    """

    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignTensor:
    """An input or output as the file declares it.

    Attributes:
        name: By which a backend finds it.
        dtype: Element type by its numpy name; the file's own word where numpy has none.
        shape: With the batch dimension; the name of a dimension that is left open, ``"?"`` where it has none.
        quantization: How its integers are meant, where the file says so and all elements share it.
        index: Position among the tensors of the graph; 0 where a format finds tensors by name alone.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    quantization: Quantization | None = None
    index: int = 0

    def __str__(self) -> str:
        return f"{self.name!r} {self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignFacts:
    """A file as it is.

    Attributes:
        inputs: In the order of the file.
        outputs: In the order of the file.
        precision: How its numbers are represented.
        inventory: Its weights and operators.
        notes: What a reader of the report should know, one sentence each.
        refused_by: Package that must not run it → why.
    """

    inputs: tuple[ForeignTensor, ...]
    outputs: tuple[ForeignTensor, ...]
    precision: Precision
    inventory: Inventory
    notes: tuple[str, ...]
    refused_by: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"precision": self.precision.value}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ForeignFacts:
        """The inverse of :meth:`to_dict`."""
        inventory = dict(values["inventory"])
        return cls(
            inputs=tuple(map(_tensor, values["inputs"])),
            outputs=tuple(map(_tensor, values["outputs"])),
            precision=Precision(values["precision"]),
            inventory=Inventory(**inventory | {"operators": OperatorCount(**inventory["operators"])}),
            notes=tuple(values["notes"]),
            refused_by=dict(values["refused_by"]),
        )


def _tensor(values: Mapping[str, Any]) -> ForeignTensor:
    quantization = values["quantization"]
    return ForeignTensor(
        **dict(values)
        | {
            "shape": tuple(values["shape"]),
            "quantization": None if quantization is None else Quantization(**quantization),
        }
    )
