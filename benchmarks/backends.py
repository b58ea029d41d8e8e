"""Measure the zoo's networks on every backend that runs them, the whole path of ``Model.predict``.

``python benchmarks/backends.py`` exports each network of the zoo from its raw input as ONNX and TFLite, in fp32 and
int8, and times ONNX Runtime, OpenVINO and LiteRT on them: all of a network in one process, one thread, in rounds of
50 ms in shuffled order. What a backend takes is the median over freshly loaded models of the low decile of its rounds'
medians; the ratio is to ONNX Runtime in the same precision and the same loading. A backend that the golden vectors
refuse is listed with the reason. Cold start (the fastest) and memory (the largest) are those of six fresh processes.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from zoo import ZOO, ZooEntry

from edgeml_export import export_bundle
from edgeml_runtime import BackendError, Bundle, Model
from edgeml_runtime.measure.cli import MeasureRequest, measure_model
from edgeml_runtime.measure.loop import measure_interleaved, quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

PRECISIONS = ("fp32", "int8")
RUNNERS = {"onnxruntime": "onnx", "openvino": "onnx", "litert": "tflite"}
REFERENCE = "onnxruntime"
ITEMS = 64
STARTS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One network in one precision on one backend.

    Attributes:
        network: Its name in the zoo.
        precision: ``fp32`` or ``int8``.
        backend: What ran it.
        times_us: A prediction, in µs, for each loading; empty where the backend was refused.
        ratios: To the reference, for each loading.
        cold_start_ms: Import, load and first prediction in a fresh process, the fastest of them: other work on the
            machine only ever makes it slower.
        peak_rss_mb: Largest resident memory of that process.
        refusal: Why it does not run, or None.
    """

    network: str
    precision: str
    backend: str
    times_us: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()
    cold_start_ms: float = 0.0
    peak_rss_mb: float = 0.0
    refusal: str | None = None

    def text(self) -> str:
        """A row of a Markdown table."""
        start = f"| {self.network} | {self.precision} | {self.backend} "
        if self.refusal is not None:
            return f"{start}| refused | – | – | – |"
        spread = f"{median(self.ratios):.2f} ({min(self.ratios):.2f} – {max(self.ratios):.2f})"
        return f"{start}| {median(self.times_us):.1f} | {spread} | {self.cold_start_ms:.0f} | {self.peak_rss_mb:.0f} |"


def main() -> int:
    """Measure and print."""
    options = parse_arguments()
    torch.set_num_threads(1)
    print("| network | precision | backend | µs | ÷ ONNX Runtime | cold start ms | peak RSS MB |")
    print("|---|---|---|---|---|---|---|")
    refused = []
    for entry in ZOO:
        if entry.name not in options.network:
            continue
        for row in measure(entry, loads=options.loads, seconds=options.seconds):
            print(row.text(), flush=True)
            refused += [f"{row.network}: {row.refusal}"] if row.refusal else []
    print("\n".join(refused))
    return 0


def parse_arguments() -> argparse.Namespace:
    """The script's options."""
    names = [entry.name for entry in ZOO]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", action="append", choices=names, help="only this one; repeatable")
    parser.add_argument("--loads", type=int, default=5, help="how often every model is loaded afresh (%(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each backend and loading (%(default)s)")
    options = parser.parse_args()
    options.network = options.network or names
    return options


def measure(entry: ZooEntry, *, loads: int, seconds: float) -> list[Row]:
    """Every backend and precision of one network."""
    (item,) = entry.items(1, 3).inputs.values()
    with TemporaryDirectory() as folder:
        path = export(entry, Path(folder) / "zoo.edgeml")
        found: dict[tuple[str, str], list[float]] = {}
        refusals: dict[tuple[str, str], str] = {}
        for number in range(loads):
            for key, time_us in time_once(path, item[0], refusals, seconds=seconds, seed=number).items():
                found.setdefault(key, []).append(time_us)
        rows = [Row(network=entry.name, precision=key[0], backend=key[1], refusal=why) for key, why in refusals.items()]
        for (precision, backend), times in found.items():
            ratios = [time / base for time, base in zip(times, found[precision, REFERENCE], strict=True)]
            start_ms, rss_mb = starts(path, precision, backend)
            rows.append(
                Row(
                    network=entry.name,
                    precision=precision,
                    backend=backend,
                    times_us=tuple(times),
                    ratios=tuple(ratios),
                    cold_start_ms=start_ms,
                    peak_rss_mb=rss_mb,
                )
            )
    return sorted(rows, key=lambda row: (row.precision, list(RUNNERS).index(row.backend)))


def export(entry: ZooEntry, out: Path) -> Path:
    """The network from its raw input in every variant that passes its tolerances."""
    variants = tuple(f"{form}-{precision}" for form in ("onnx", "tflite") for precision in PRECISIONS)
    rules = replace(entry.contract.export, variants=variants)
    contract = replace(entry.contract, export=rules)
    calibration, test = entry.items(ITEMS, 1), entry.items(ITEMS, 2)
    report = export_bundle(entry.build(), contract=contract, calibration=calibration, test=test, out=out)
    if not report.ok:
        raise SystemExit("\n".join(f"{variant.id}: {variant.reason}" for variant in report.variants if variant.reason))
    return out


def time_once(
    path: Path, item: NDArray[Any], refusals: dict[tuple[str, str], str], *, seconds: float, seed: int
) -> Mapping[tuple[str, str], float]:
    """Load everything once and time it in turns: µs a prediction by precision and backend."""
    with Bundle.open(path) as bundle:
        held = {variant.id for variant in bundle.manifest.variants}
    models: dict[str, Model] = {}
    for precision in PRECISIONS:
        for backend, form in RUNNERS.items():
            if f"{form}-{precision}" in held:
                try:
                    model = Model.load(path, variant=f"{form}-{precision}", backend=backend, threads=1)
                    models[f"{precision} {backend}"] = model
                except BackendError as error:
                    refusals[precision, backend] = str(error).partition(".edgeml: ")[2]
    try:
        calls = {name: predicting(model, item) for name, model in models.items()}
        measured = measure_interleaved(calls, seconds=seconds, seed=seed)
    finally:
        for model in models.values():
            model.close()
    times = {}
    for name, samples in measured.items():
        precision, _, backend = name.partition(" ")
        medians = [quantile(round_ns, 0.5) for round_ns in samples.rounds_ns]
        times[precision, backend] = float(np.quantile(medians, 0.1)) / 1e3
    return times


def predicting(model: Model, item: NDArray[Any]) -> Callable[[], object]:
    """What an application writes."""
    return lambda: model.predict(item).label


def starts(path: Path, precision: str, backend: str) -> tuple[float, float]:
    """Cold start in ms and peak memory in MB."""
    variant = f"{RUNNERS[backend]}-{precision}"
    request = MeasureRequest(
        path=str(path), variants=(variant,), threads=1, backend=backend, seconds=0.1, starts=STARTS
    )
    (measured,) = measure_model(request).variants
    if measured.failure is not None:
        raise SystemExit(f"{variant} on {backend}: {measured.failure}")
    found = measured.starts
    return min(start.cold_start_ms for start in found), max(start.peak_rss_bytes for start in found) / 1e6


if __name__ == "__main__":
    sys.exit(main())
