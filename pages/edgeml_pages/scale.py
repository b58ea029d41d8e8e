"""Values to places on an axis, with ticks at round values; linear or logarithmic."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeml_pages.charts import place

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Scale", "tick_step"]

_WIDER = 1.06
_FACTORS = (1, 2, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """An axis.

    Attributes:
        low: Value at its start.
        high: Value at its end, above ``low``.
        ticks: Round values between both.
        start: Place of ``low``.
        end: Place of ``high``.
        logarithmic: Whether equal ratios are equally far apart.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    start: float
    end: float
    logarithmic: bool = False

    @classmethod
    def around(cls, values: Sequence[float], *, start: float, end: float) -> Scale:
        """The linear scale whose ticks hold all values, from the first tick to the last.

        Args:
            values: Finite, at least one.
            start: Place of the first tick.
            end: Place of the last one.
        """
        step = tick_step(max(values) - min(values))
        first = math.floor(min(values) / step + 1e-9)
        last = max(first + 1, math.ceil(max(values) / step - 1e-9))
        ticks = tuple(index * step for index in range(first, last + 1))
        return cls(low=ticks[0], high=ticks[-1], ticks=ticks, start=start, end=end)

    @classmethod
    def ratios(cls, values: Sequence[float], *, start: float, end: float) -> Scale:
        """The logarithmic scale that ends a little beyond the values.

        Args:
            values: Finite and above 0, at least one.
            start: Place of the lower end.
            end: Place of the upper one.
        """
        low, high = min(values) / _WIDER, max(values) * _WIDER
        return cls(low=low, high=high, ticks=_round_ratios(low, high), start=start, end=end, logarithmic=True)

    def at(self, value: float) -> float:
        """Place of a value."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (self.end - self.start) * (value - low) / (high - low)

    def __call__(self, value: float, shift: float = 0.0) -> str:
        """Place of a value as SVG writes it."""
        return place(self.at(value) + shift)


def _round_ratios(low: float, high: float) -> tuple[float, ...]:
    """Ticks at 1, 2 and 5 times powers of ten; only the powers where that is too many, linear ones where too few."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [factor * 10.0**exponent for exponent in exponents for factor in _FACTORS]
    inside = [tick for tick in fine if low <= tick <= high]
    if len(inside) > 6:
        powers = [10.0**exponent for exponent in exponents if low <= 10.0**exponent <= high]
        return tuple(powers[:: math.ceil(len(powers) / 6)])
    if len(inside) >= 3:
        return tuple(inside)
    step = tick_step(high - low)
    return tuple(index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1))


def tick_step(span: float) -> float:
    """A round step, 1, 2 or 5 times a power of ten, that divides a span into at most five parts.

    Args:
        span: Difference of the ends, 0 or more.
    """
    if span <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(span / 5))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= span / 5 * (1 - 1e-9))
