"""What the native programs print, read: pure functions of their command lines and texts.

``benchmark_model`` never tells single calls. It prints a line of statistics for the warm-up and one for the calls after
it (``BenchmarkModel::Run`` in ``tflite/tools/benchmark/benchmark_model.cc`` of google-ai-edge/LiteRT; ``Stat`` and
``StatWithPercentiles`` in ``xla/tsl/util/stats_calculator.h``), in whole microseconds; older ones print no
percentiles::

    count=50 first=266601 curr=266931 min=265837 max=268116 avg=266473 std=419
    count=50 first=266601 curr=266931 min=265837 max=268116 avg=266473 std=419 p5=265910 median=266455 p95=267300
    count=5 curr=7(all same)

``onnxruntime_perf_test`` appends a line per call to its result file (``PerformanceResult::DumpToFile`` in
``onnxruntime/test/perftest/performance_runner.cc``): the name of the model's folder, seconds, the process's peak memory
in bytes, its share of the CPU, the number of the call::

    folder,0.000123456,20561920,99,0
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from edgeml_devices.native.runner import RunnerKind
from edgeml_runtime.measure.loop import LoopLimits, Samples, quantile

__all__ = ["CallStatistics", "OutputError", "read_calls", "read_statistics", "runner_words", "settle"]

WARMUP_S = 0.5
_LIMITS = LoopLimits()
_STATISTICS = re.compile(
    r"\bcount=(?P<count>\d+)(?: first=\d+)? curr=(?P<curr>\d+)(?P<same>\(all same\))?"
    r"(?: min=(?P<min>\d+) max=(?P<max>\d+) avg=(?P<avg>[0-9.e+]+) std=\S+)?"
    r"(?: p5=\d+ median=(?P<p50>\d+) p95=(?P<p95>\d+))?"
)


class OutputError(Exception):
    """A program's output holds no figures; the message says what was expected and what was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStatistics:
    """What one process of ``benchmark_model`` says of its calls, in microseconds.

    Attributes:
        n: Calls.
        min_us: The fastest.
        mean_us: Their mean.
        p50_us: Their median, or None where the program is too old to tell.
        p95_us: Their 95th percentile, likewise.
        steady: Whether the warm-up's calls had taken as long, within the share that the runtime's loop allows.
    """

    n: int
    min_us: float
    mean_us: float
    p50_us: float | None
    p95_us: float | None
    steady: bool


def runner_words(
    kind: RunnerKind, program: str, model: str, result: str, *, threads: int | None, seconds: float, longest_s: float
) -> list[str]:
    """The command line that measures a model.

    Args:
        kind: Which program.
        program: Its path on the device.
        model: The model's path there.
        result: Path there for the result of each call, where the program can tell.
        threads: Threads, or None for its own default.
        seconds: How long to measure; ``onnxruntime_perf_test`` takes whole ones, at least one.
        longest_s: After that, ``benchmark_model`` begins no further call.

    Returns:
        Words of the command line.
    """
    if kind is RunnerKind.LITERT:
        words = [program, f"--graph={model}", f"--min_secs={seconds:g}", "--num_runs=1", f"--max_secs={longest_s:g}"]
        words += ["--warmup_runs=1", f"--warmup_min_secs={WARMUP_S:g}"]
        return words if threads is None else [*words, f"--num_threads={threads}"]
    # -I makes up inputs, dimensions that the file leaves open are 1.
    words = [program, "-e", "cpu", "-I", "-t", str(max(1, math.ceil(seconds)))]
    if threads is not None:
        words += ["-x", str(threads), "-y", "1"]
    return [*words, model, result]


def _statistics(found: re.Match[str]) -> tuple[int, float, float, float | None, float | None]:
    n, only = int(found["count"]), float(found["curr"])
    if found["min"] is None and (found["same"] or n == 1):
        return n, only, only, only, only
    if found["min"] is None:
        raise OutputError(f"expected count=… curr=… min=… max=… avg=…, found {found[0]!r}")
    p50, p95 = (None if found[key] is None else float(found[key]) for key in ("p50", "p95"))
    return n, float(found["min"]), float(found["avg"]), p50, p95


def read_statistics(text: str) -> CallStatistics:
    """What ``benchmark_model`` printed.

    Args:
        text: Its output.

    Returns:
        The statistics of the calls after the warm-up.

    Raises:
        OutputError: It holds no such lines.
    """
    found = list(_STATISTICS.finditer(text))
    if len(found) < 2:
        raise OutputError(
            f"expected two lines `count=… first=… curr=… min=… max=… avg=…`, of warm-up and calls; found {len(found)}"
        )
    _, _, warm_mean, warm_median, _ = _statistics(found[-2])
    n, fastest, mean, p50, p95 = _statistics(found[-1])
    if n < 1 or not 0 < mean < math.inf:
        raise OutputError(f"expected calls that took time, found {found[-1][0]!r}")
    before, after = (warm_mean, mean) if p50 is None or warm_median is None else (warm_median, p50)
    steady = abs(after - before) <= _LIMITS.steady_share * before
    return CallStatistics(n=n, min_us=fastest, mean_us=mean, p50_us=p50, p95_us=p95, steady=steady)


def read_calls(text: str) -> Samples:
    """What ``onnxruntime_perf_test`` wrote to its result file.

    Args:
        text: The file.

    Returns:
        The calls after the warm-up (:func:`settle`).

    Raises:
        OutputError: A line is not of that form, or there is none.
    """
    times = []
    for line in text.splitlines():
        fields = line.rsplit(",", 4)
        try:
            seconds = float(fields[1]) if len(fields) == 5 else math.nan
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds < math.inf:
            raise OutputError(f"expected lines `model,seconds,bytes,percent,number` in the result file, found {line!r}")
        times.append(round(seconds * 1e9))
    if not times:
        raise OutputError("expected a line per call in the result file, found none")
    return settle(np.array(times, dtype=np.int64))


def settle(times_ns: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Samples:
    """Take the warm-up off the calls of one process, and cut the rest into rounds, as the runtime's loop does.

    The warm-up ends once the medians of two blocks in a row differ by at most the share that the loop allows; it is at
    most half of the time.

    Args:
        times_ns: int64[calls], in order, at least one.

    Returns:
        The samples.
    """
    blocks = _blocks(times_ns)
    medians = [quantile(block, 0.5) for block in blocks]
    most = len(blocks) // 2
    for number in range(1, most + 1):
        if abs(medians[number] - medians[number - 1]) <= _LIMITS.steady_share * medians[number - 1]:
            first, steady = number, True
            break
    else:
        first, steady = most, False
    warmup = sum(len(block) for block in blocks[:first])
    return Samples(rounds_ns=tuple(blocks[first:]), warmup_calls=warmup, steady=steady)


def _blocks(times_ns: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Blocks as long as a round, of no more calls than one has."""
    ends = np.cumsum(times_ns) // round(_LIMITS.block_s * 1e9)
    cuts = np.flatnonzero(np.diff(ends)) + 1
    parts = np.split(times_ns, cuts)
    return [part[at : at + _LIMITS.round_calls] for part in parts for at in range(0, len(part), _LIMITS.round_calls)]
