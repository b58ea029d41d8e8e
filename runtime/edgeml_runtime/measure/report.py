"""What one measurement found, as data and as the JSON that ``python -m edgeml_runtime.measure`` prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_runtime.machine import Machine
from edgeml_runtime.measure.loop import Samples

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Measurement", "Start", "VariantMeasurement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start of a fresh process, after the interpreter itself was up.

    Attributes:
        import_ms: Wall time of importing the runtime, numpy included, and for a bare model its backend.
        load_ms: Wall time of loading the model; for a bundle this includes importing the backend.
        first_predict_ms: Wall time of the first prediction.
        peak_rss_bytes: Largest resident memory of the whole process, after the first and some further predictions.
    """

    import_ms: float
    load_ms: float
    first_predict_ms: float
    peak_rss_bytes: int

    @property
    def cold_start_ms(self) -> float:
        """The three parts together: what an application waits for its first result."""
        return self.import_ms + self.load_ms + self.first_predict_ms

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "import_ms": self.import_ms,
            "load_ms": self.load_ms,
            "first_predict_ms": self.first_predict_ms,
            "peak_rss_bytes": self.peak_rss_bytes,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantMeasurement:
    """What was measured of one variant, or why it was not.

    Attributes:
        id: Variant id; for a bare model the file's name.
        size_bytes: Size of the model file.
        backend: Backend that ran it, or None where it did not run.
        backend_version: Release of that backend, or None.
        threads: Threads the backend was given, or None for its own default.
        samples: The time of every call, or None where it did not run.
        starts: The starts in fresh processes; empty where it did not run.
        failure: Why there are no figures, or None.
    """

    id: str
    size_bytes: int
    backend: str | None = None
    backend_version: str | None = None
    threads: int | None = None
    samples: Samples | None = None
    starts: tuple[Start, ...] = ()
    failure: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values; the samples as one list of nanoseconds per round."""
        samples = self.samples
        return {
            "id": self.id,
            "size_bytes": self.size_bytes,
            "backend": self.backend,
            "backend_version": self.backend_version,
            "threads": self.threads,
            "samples": None if samples is None else samples_to_dict(samples),
            "starts": [start.to_dict() for start in self.starts],
            "failure": self.failure,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VariantMeasurement:
        """The inverse of :meth:`to_dict`.

        Raises:
            KeyError: A key is missing.
            TypeError: A key of ``starts`` is unknown.
        """
        samples = values["samples"]
        return cls(
            id=values["id"],
            size_bytes=values["size_bytes"],
            backend=values["backend"],
            backend_version=values["backend_version"],
            threads=values["threads"],
            samples=None if samples is None else samples_from_dict(samples),
            starts=tuple(Start(**start) for start in values["starts"]),
            failure=values["failure"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Everything one measurement found.

    Attributes:
        machine: Where it was measured.
        auto_variant: The variant ``Model.load(path)`` picks there, or None where none can run.
        variants: In the order of the bundle.
        python: Release of the Python that measured, or None where none did.
    """

    machine: Machine
    auto_variant: str | None
    variants: tuple[VariantMeasurement, ...]
    python: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "machine": self.machine.to_dict(),
            "auto_variant": self.auto_variant,
            "variants": [variant.to_dict() for variant in self.variants],
            "python": self.python,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Measurement:
        """The inverse of :meth:`to_dict`.

        Raises:
            KeyError: A key is missing.
            TypeError: A value is of another type than expected.
        """
        return cls(
            machine=Machine.from_dict(values["machine"]),
            auto_variant=values["auto_variant"],
            variants=tuple(VariantMeasurement.from_dict(variant) for variant in values["variants"]),
            python=values["python"],
        )


def samples_to_dict(samples: Samples) -> dict[str, Any]:
    """Samples as JSON values."""
    return {
        "rounds_ns": [times.tolist() for times in samples.rounds_ns],
        "warmup_calls": samples.warmup_calls,
        "steady": samples.steady,
    }


def samples_from_dict(values: Mapping[str, Any]) -> Samples:
    """The inverse of :func:`samples_to_dict`."""
    return Samples(
        rounds_ns=tuple(np.array(times, dtype=np.int64) for times in values["rounds_ns"]),
        warmup_calls=values["warmup_calls"],
        steady=values["steady"],
    )
