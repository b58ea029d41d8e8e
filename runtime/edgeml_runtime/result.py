"""What a prediction gives back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeml_runtime.tensors import OutputRole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from edgeml_runtime.tensors import OutputSpec

__all__ = ["Result", "ResultLayout"]


class ResultLayout:
    """What all results of a model have in common.

    Attributes:
        names: Names of the outputs.
        labels: One per class; empty where no output has the role ``scores`` and one axis.
        scores: Position of the output that holds the scores; not used without labels.
        variant: Id of the variant that runs.
        anomaly: Whether the one output is an anomaly score.
    """

    __slots__ = ("anomaly", "labels", "names", "scores", "variant")

    def __init__(self, outputs: Sequence[OutputSpec], variant: str, *, anomaly: bool = False) -> None:
        self.anomaly = anomaly
        self.names = tuple(spec.name for spec in outputs)
        self.variant = variant
        self.labels: tuple[str, ...] = ()
        self.scores = 0
        for position, spec in enumerate(outputs):
            if spec.role is OutputRole.SCORES and len(spec.shape) == 1:
                self.labels = spec.labels
                self.scores = position


class Result:
    """The outputs of one prediction. The arrays are its own: later predictions do not change them.

    Everything is worked out when it is asked for, so what an application does not read costs nothing. A plain class: a
    frozen dataclass takes half a microsecond longer to build.

    Args:
        arrays: One per output of the layout, each with the batch dimension of 1 in front.
        layout: Of the model.
    """

    __slots__ = ("_arrays", "_layout")

    def __init__(self, arrays: list[NDArray[Any]], layout: ResultLayout) -> None:
        self._arrays = arrays
        self._layout = layout

    @property
    def label(self) -> str | None:
        """Label of the highest score, the first one of equals; None without labels, or where a score is NaN."""
        layout = self._layout
        if not layout.labels:
            return None
        scores = self._arrays[layout.scores]
        best = scores.argmax()  # the position of a NaN, where there is one
        value = scores.item(best)
        return layout.labels[best] if value == value else None  # noqa: PLR0124 - NaN is not equal to itself

    @property
    def score(self) -> float | None:
        """The highest score, or the anomaly score in thresholds; NaN where one is NaN, None without either."""
        layout = self._layout
        if not layout.labels:
            return float(self._arrays[0].item()) if layout.anomaly else None
        scores = self._arrays[layout.scores]
        return float(scores.item(scores.argmax()))

    @property
    def alarm(self) -> bool | None:
        """Whether the anomaly score is above its threshold, or NaN; None without one."""
        return not self._arrays[0].item() <= 1.0 if self._layout.anomaly else None

    @property
    def scores(self) -> dict[str, float] | None:
        """Label → score, in the contract's order; None without labels."""
        layout = self._layout
        if not layout.labels:
            return None
        return dict(zip(layout.labels, map(float, self._arrays[layout.scores][0].tolist()), strict=True))

    @property
    def outputs(self) -> dict[str, NDArray[Any]]:
        """Output name → array of the contract's dtype and shape, without the batch dimension; a new dict each time."""
        return {name: array[0, ...] for name, array in zip(self._layout.names, self._arrays, strict=True)}

    @property
    def variant(self) -> str:
        """Id of the variant that gave this result."""
        return self._layout.variant

    def __repr__(self) -> str:
        if self._layout.labels:
            return f"Result(label={self.label!r}, score={self.score:.4g}, variant={self.variant!r})"
        if self._layout.anomaly:
            return f"Result(score={self.score:.4g}, alarm={self.alarm}, variant={self.variant!r})"
        return f"Result(outputs={self.outputs!r}, variant={self.variant!r})"
