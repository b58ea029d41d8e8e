"""The roofline of a machine, and where the operators of a model lie below it.

An operator that does ``macs`` multiply-accumulates on ``bytes`` has the operational intensity ``macs / bytes``. It
cannot be faster than the arithmetic, ``peak``, nor than its bytes can be moved, so it attains at most::

    min(peak, intensity × bandwidth)

(Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore architectures",
Communications of the ACM 52(4), 2009; with multiply-accumulates in place of floating-point operations.) Bytes are those
of every tensor once, see :func:`~edgeml_devices.operator_macs.count_bytes`. What lies in a cache need not be moved, so
operators on small tensors may lie above the sloping roof.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeml_devices.ceilings import Ceiling
    from edgeml_devices.operators import OperatorProfile, OperatorRow

__all__ = ["Bound", "Roofline", "RooflineModel", "RooflinePoint", "roofline_of"]

_SLACK = 1.05
_PEAKS = {"float32": "fp32_gmac_per_s", "int8": "int8_gmac_per_s"}


class Bound(Enum):
    """What the roof above an operator is made of."""

    ARITHMETIC = "arithmetic"
    BANDWIDTH = "bandwidth"


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflinePoint:
    """An operator on the chart.

    Attributes:
        name: The operator's.
        type: The operator's.
        precision: ``float32`` or ``int8``.
        intensity: Multiply-accumulates per byte.
        gmac_per_s: 10⁹ multiply-accumulates per second that it attained at least while it was profiled.
        roof_gmac_per_s: What it could at most attain.
        bound: By what.
        share: Of the time of all operators.
    """

    name: str
    type: str
    precision: str
    intensity: float
    gmac_per_s: float
    roof_gmac_per_s: float
    bound: Bound
    share: float

    @property
    def of_roof(self) -> float:
        """How near it is to its roof: 1 is on it."""
        return self.gmac_per_s / self.roof_gmac_per_s

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "name": self.name,
            "type": self.type,
            "precision": self.precision,
            "intensity": self.intensity,
            "gmac_per_s": self.gmac_per_s,
            "roof_gmac_per_s": self.roof_gmac_per_s,
            "of_roof": self.of_roof,
            "bound": self.bound.value,
            "share": self.share,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflineModel:
    """One variant below the roof.

    Attributes:
        variant: Its id.
        points: The operators whose place is known.
        least_ms: Milliseconds that its operators need at least, each at its roof; None where that of one is not known.
        plain_ms: What a run takes, without a profiler.
        bound: What most of ``least_ms`` is due to, or None.
        left_out: How many operators multiply, but have no place on the chart.
    """

    variant: str
    points: tuple[RooflinePoint, ...]
    least_ms: float | None
    plain_ms: float
    bound: Bound | None
    left_out: int

    @property
    def of_roof(self) -> float | None:
        """How near the whole run is to the roof: 1 is on it."""
        return None if self.least_ms is None else self.least_ms / self.plain_ms

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "variant": self.variant,
            "points": [point.to_dict() for point in self.points],
            "least_ms": self.least_ms,
            "plain_ms": self.plain_ms,
            "of_roof": self.of_roof,
            "bound": None if self.bound is None else self.bound.value,
            "left_out": self.left_out,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """The ceilings of one machine, measured beside the profile, and the variants below them.

    Attributes:
        threads: Threads that the ceilings were measured with.
        ceilings: What was measured.
        models: The variants that were profiled with that many threads.
    """

    threads: int
    ceilings: tuple[Ceiling, ...]
    models: tuple[RooflineModel, ...]

    @property
    def bandwidth_gb_per_s(self) -> float:
        """10⁹ bytes read or written per second while copying; see :func:`roofline_of`."""
        return _bandwidth(self.ceilings)

    @property
    def peaks(self) -> dict[str, float]:
        """Precision → 10⁹ multiply-accumulates per second."""
        return _peaks(self.ceilings)

    @property
    def noisy(self) -> bool:
        """Whether a ceiling is doubtful, because the machine was busy or its clock moved."""
        return any(one.is_noisy for one in self.ceilings)

    @property
    def too_low(self) -> bool:
        """Whether an operator is faster than the arithmetic allows: the machine can do more than was measured."""
        points = (point for model in self.models for point in model.points)
        return any(point.bound is Bound.ARITHMETIC and point.of_roof > _SLACK for point in points)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "threads": self.threads,
            "bandwidth_gb_per_s": self.bandwidth_gb_per_s,
            "peaks_gmac_per_s": self.peaks,
            "noisy": self.noisy,
            "too_low": self.too_low,
            "ceilings": [one.to_dict() for one in self.ceilings],
            "models": [model.to_dict() for model in self.models],
        }


def roofline_of(ceilings: Sequence[Ceiling], profiles: Iterable[OperatorProfile]) -> Roofline:
    """Place the operators of profiled variants below the ceilings of the machine they were profiled on.

    The bandwidth is twice that of ``memcpy``, whose bytes are counted once though each is read and written (as STREAM
    counts a copy; McCalpin, "Memory Bandwidth and Machine Balance in Current High Performance Computers", 1995).

    Args:
        ceilings: Of that machine, with the threads of the profiles.
        profiles: Those that failed are left out.

    Returns:
        The roofline.
    """
    ceilings = tuple(ceilings)
    models = (_model(profile, ceilings) for profile in profiles if profile.rows)
    return Roofline(threads=ceilings[0].threads, ceilings=ceilings, models=tuple(models))


def _bandwidth(ceilings: Iterable[Ceiling]) -> float:
    return 2 * next(one.value for one in ceilings if one.name == "memcpy_gb_per_s")


def _peaks(ceilings: Sequence[Ceiling]) -> dict[str, float]:
    known = {one.name: one.value for one in ceilings}
    return {precision: known[name] for precision, name in _PEAKS.items() if name in known}


def _roof(row: OperatorRow, ceilings: Sequence[Ceiling]) -> tuple[float, Bound] | None:
    """The roof above an operator in 10⁹ MAC/s, and what it is made of; None where its place is not known."""
    peak = _peaks(ceilings).get(row.precision or "")
    if peak is None or not row.macs or not row.bytes:
        return None
    sloping = row.macs / row.bytes * _bandwidth(ceilings)
    return (peak, Bound.ARITHMETIC) if peak <= sloping else (sloping, Bound.BANDWIDTH)


def _model(profile: OperatorProfile, ceilings: Sequence[Ceiling]) -> RooflineModel:
    assert profile.plain_ms is not None
    multiplying = [row for row in profile.rows if row.macs is None or row.macs > 0]
    points, least_ms = [], dict.fromkeys(Bound, 0.0)
    unknown = 0
    for row in multiplying:
        found = _roof(row, ceilings)
        if found is None or row.macs is None or row.bytes is None:
            unknown += 1
            continue
        roof, bound = found
        least_ms[bound] += row.macs / roof / 1e6
        if row.gmac_per_s is not None and row.precision is not None:
            points.append(
                RooflinePoint(
                    name=row.name,
                    type=row.type,
                    precision=row.precision,
                    intensity=row.macs / row.bytes,
                    gmac_per_s=row.gmac_per_s,
                    roof_gmac_per_s=roof,
                    bound=bound,
                    share=row.share,
                )
            )
    known = bool(multiplying) and not unknown
    return RooflineModel(
        variant=profile.variant,
        points=tuple(points),
        least_ms=sum(least_ms.values()) if known else None,
        plain_ms=profile.plain_ms,
        bound=max(least_ms, key=lambda bound: least_ms[bound]) if known else None,
        left_out=len(multiplying) - len(points),
    )
