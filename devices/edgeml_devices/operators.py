"""A model by its operators: what each one takes, computes and moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeml_devices.operator_macs import count_bytes, count_macs, precision_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["OperatorProfile", "OperatorRow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRow:
    """One operator as the backend executes it.

    Attributes:
        name: What the backend calls this one.
        type: What kind it is: its name in the file's format, else the kernel's.
        kernel: The kernel's own name, or None where the profiler does not tell it.
        precision: See :func:`~edgeml_devices.operator_macs.precision_of`; None where it is not known.
        time_ms: Milliseconds in one profiled run.
        share: Of the time of all operators.
        macs: Multiply-accumulates in one run, or None where they are not known.
        bytes: Of its inputs, weights and outputs, or None where they are not known.
        gmac_per_s: 10⁹ multiply-accumulates per second that it attains at least: as if it took one unit of the profiler
            longer, because times are rounded down. None where there are none.
        calls: How often it is called in one run.
    """

    name: str
    type: str
    kernel: str | None
    precision: str | None
    time_ms: float
    share: float
    macs: int | None
    bytes: int | None
    gmac_per_s: float | None = None
    calls: int = 1

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "name": self.name,
            "type": self.type,
            "kernel": self.kernel,
            "precision": self.precision,
            "time_ms": self.time_ms,
            "share": self.share,
            "macs": self.macs,
            "bytes": self.bytes,
            "gmac_per_s": self.gmac_per_s,
            "calls": self.calls,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorProfile:
    """One variant by its operators, or why it is not.

    Attributes:
        variant: Its id; for a bare model the file's name.
        backend: What ran it, or None where it was not profiled.
        backend_version: Release of that.
        threads: Threads it was given.
        profiler: Where the times are from, in words.
        resolution_us: Microseconds that the profiler counts in; times are rounded down to them.
        runs: How many runs were profiled.
        plain_ms: Median of a run of the backend without the profiler.
        profiled_ms: Median of a run with it.
        rows: The operators, in the order of execution.
        notes: What a reader should know besides, one sentence each.
        reason: Why there is no profile, or None.
    """

    variant: str
    backend: str | None = None
    backend_version: str | None = None
    threads: int | None = None
    profiler: str | None = None
    resolution_us: float | None = None
    runs: int = 0
    plain_ms: float | None = None
    profiled_ms: float | None = None
    rows: tuple[OperatorRow, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str | None = None

    @property
    def operators_ms(self) -> float:
        """The times of all operators together."""
        return sum(row.time_ms for row in self.rows)

    @property
    def macs(self) -> int | None:
        """All multiply-accumulates, or None where those of an operator are not known."""
        counted = [row.macs for row in self.rows if row.macs is not None]
        return sum(counted) if self.rows and len(counted) == len(self.rows) else None

    @classmethod
    def from_answer(cls, variant: str, answer: Mapping[str, Any]) -> OperatorProfile:
        """What a profiler found, counted.

        Args:
            variant: Id of the variant.
            answer: What ``python -m edgeml_devices.profilers`` printed.

        Returns:
            The profile.

        Raises:
            KeyError: A key is missing.
            TypeError: A value is of another type than expected.
        """
        if "error" in answer:
            return cls(variant=variant, reason=str(answer["error"]))
        return cls(
            variant=variant,
            backend=answer["backend"],
            backend_version=answer["backend_version"],
            threads=answer["threads"],
            profiler=answer["profiler"],
            resolution_us=answer["resolution_us"],
            runs=answer["runs"],
            plain_ms=answer["plain_ms"],
            profiled_ms=answer["profiled_ms"],
            rows=_rows(answer["operators"], answer["resolution_us"]),
            notes=tuple(answer["notes"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "variant": self.variant,
            "backend": self.backend,
            "backend_version": self.backend_version,
            "threads": self.threads,
            "profiler": self.profiler,
            "resolution_us": self.resolution_us,
            "runs": self.runs,
            "plain_ms": self.plain_ms,
            "profiled_ms": self.profiled_ms,
            "operators_ms": self.operators_ms if self.rows else None,
            "macs": self.macs,
            "rows": [row.to_dict() for row in self.rows],
            "notes": list(self.notes),
            "reason": self.reason,
        }


def _tensors(listed: Iterable[Any] | None) -> tuple[tuple[str, tuple[int, ...]], ...] | None:
    return None if listed is None else tuple((str(dtype), tuple(shape)) for dtype, shape in listed)


def _rows(listed: Iterable[Mapping[str, Any]], resolution_us: float) -> tuple[OperatorRow, ...]:
    operators = list(listed)
    whole_us = sum(one["time_us"] for one in operators) or 1.0
    rows = []
    for one in operators:
        inputs, outputs, kind, calls = _tensors(one["inputs"]), _tensors(one["outputs"]), one["type"], one["calls"]
        macs = _macs_of_kernel(one["kernel"]) if kind is None else count_macs(kind, inputs, outputs)
        moved = count_bytes(inputs, outputs)
        longest_us = one["time_us"] + calls * resolution_us
        rows.append(
            OperatorRow(
                name=one["name"],
                type=kind or one["kernel"],
                kernel=one["kernel"],
                precision=precision_of(kind, one["kernel"], inputs, outputs),
                time_ms=one["time_us"] / 1e3,
                share=one["time_us"] / whole_us,
                macs=None if macs is None else macs * calls,
                bytes=None if moved is None else moved * calls,
                gmac_per_s=macs * calls / longest_us / 1e3 if macs else None,
                calls=calls,
            )
        )
    return tuple(rows)


_MULTIPLYING = ("Batch Matrix Multiply", "Convolution", "Deconvolution", "Dynamic Fully Connected", "Fully Connected")


def _macs_of_kernel(kernel: str) -> int | None:
    """A kernel that stands for no operator of the file multiplies nothing, unless it could not be matched."""
    return None if kernel.startswith(_MULTIPLYING) else 0
