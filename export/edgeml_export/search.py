"""The precision search: as few float layers as keep the metric.

A decision over callables: converting and judging happen elsewhere, on validation items and never on the test split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeml_evaluate import PairedLoss, SliceLoss

__all__ = ["SearchResult", "SearchStep", "ValidationLoss", "search_precision"]

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationLoss:
    """What an attempt lost on the validation items.

    Attributes:
        overall: Over all of them.
        slices: On every slice.
    """

    overall: PairedLoss
    slices: tuple[SliceLoss, ...]

    @property
    def within(self) -> bool:
        """Whether the contract's promise holds, on every slice too."""
        return self.overall.within and all(loss.within for loss in self.slices)

    def to_dict(self) -> dict[str, Any]:
        """JSON values: the loss over all items, and the slices that lose too much."""
        missed = [loss.name for loss in self.slices if not loss.within]
        return {**self.overall.to_dict(), "within": self.within, "slices_missed": missed}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchStep:
    """One attempt.

    Attributes:
        float_layers: Dotted paths of the layers that stayed float.
        loss: What it lost on the validation items.
    """

    float_layers: tuple[str, ...]
    loss: ValidationLoss

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"float_layers": list(self.float_layers), "validation_loss": self.loss.to_dict()}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult(Generic[Made]):
    """What the search came to.

    Attributes:
        made: The last attempt that kept the metric; where none did, the one with every layer in float.
        float_layers: The layers that stay float in it, the most sensitive first.
        found: Whether it keeps the metric.
        steps: Every attempt, in order.
    """

    made: Made
    float_layers: tuple[str, ...]
    found: bool
    steps: tuple[SearchStep, ...]


def search_precision(
    ranking: Sequence[str], make: Callable[[tuple[str, ...]], Made], judge: Callable[[Made], ValidationLoss]
) -> SearchResult[Made]:
    """Find few layers to keep in float.

    Everything quantized is tried first. Then the most sensitive layers are given back: the smallest number of them that
    keeps the metric is found by doubling and halving; afterwards each of them is tried without, beginning with the
    least sensitive one, because an order by one layer at a time does not see what layers do together.

    Args:
        ranking: Dotted paths of the layers, the most sensitive first.
        make: Float layers → the converted variant.
        judge: Converted variant → its loss on validation items.

    Returns:
        The result.
    """
    attempts = _Attempts(make, judge)
    if attempts.keeps(()):
        return attempts.result((), found=True)
    total = len(ranking)
    enough, too_few = 1, 0
    while enough < total and not attempts.keeps(tuple(ranking[:enough])):
        too_few, enough = enough, min(total, enough * 2)
    if not total or not attempts.keeps(tuple(ranking[:enough])):
        return attempts.result(tuple(ranking), found=False)
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if attempts.keeps(tuple(ranking[:middle])):
            enough = middle
        else:
            too_few = middle
    chosen = tuple(ranking[:enough])
    for layer in reversed(chosen[:-1]):
        without = tuple(other for other in chosen if other != layer)
        if attempts.keeps(without):
            chosen = without
    return attempts.result(chosen, found=True)


class _Attempts(Generic[Made]):
    """Attempts that were made, each once."""

    def __init__(self, make: Callable[[tuple[str, ...]], Made], judge: Callable[[Made], ValidationLoss]) -> None:
        self._make, self._judge = make, judge
        self._made: dict[tuple[str, ...], Made] = {}
        self._steps: dict[tuple[str, ...], SearchStep] = {}

    def keeps(self, float_layers: tuple[str, ...]) -> bool:
        if float_layers not in self._steps:
            made = self._make(float_layers)
            self._made[float_layers] = made
            self._steps[float_layers] = SearchStep(float_layers=float_layers, loss=self._judge(made))
        return self._steps[float_layers].loss.within

    def result(self, float_layers: tuple[str, ...], *, found: bool) -> SearchResult[Made]:
        self.keeps(float_layers)
        return SearchResult(
            made=self._made[float_layers], float_layers=float_layers, found=found, steps=tuple(self._steps.values())
        )
