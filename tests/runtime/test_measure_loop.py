"""The measuring loop under a simulated clock: what is kept, in which order, for how long."""

from __future__ import annotations

import gc
from itertools import pairwise

import numpy as np
import pytest

from edgeml_runtime.measure.loop import LoopLimits, Samples, measure_interleaved, measure_latency, quantile, summarise


class SimulatedMachine:
    """A clock that only calls advance."""

    def __init__(self):
        self.now_ns = 0
        self.calls = []

    def clock(self):
        return self.now_ns

    def subject(self, name, times_ms):
        """A callable that takes the given times in turn, the last one for ever."""
        times = list(times_ms)

        def run():
            self.calls.append(name)
            self.now_ns += round((times.pop(0) if len(times) > 1 else times[0]) * 1e6)

        return run


@pytest.fixture
def machine():
    return SimulatedMachine()


QUANTILES = [
    # values, share, expected: the smallest value that at least `share` of all values do not exceed
    ([10, 20, 30, 40], 0.50, 20),
    ([10, 20, 30, 40, 50], 0.50, 30),
    ([10, 20, 30, 40], 0.51, 30),
    ([40, 10, 30, 20], 0.25, 10),
    (list(range(1, 101)), 0.95, 95),
    (list(range(1, 101)), 0.99, 99),
    (list(range(1, 11)), 0.95, 10),
    ([7], 0.99, 7),
]


@pytest.mark.parametrize(("values", "share", "expected"), QUANTILES)
def test_quantile_is_a_measured_value_by_the_stated_definition(values, share, expected):
    assert quantile(np.array(values, dtype=np.int64), share) == expected


def test_every_call_is_kept_and_summarised_in_milliseconds(machine):
    samples = measure_latency(machine.subject("a", [2.0]), seconds=1.0, clock=machine.clock)
    summary = summarise(samples)
    assert set(samples.all_ns.tolist()) == {2_000_000}
    assert (summary.min, summary.p50, summary.p95, summary.p99) == (2.0, 2.0, 2.0, 2.0)
    assert summary.throughput_per_s == pytest.approx(500.0)
    assert summary.n == len(samples.all_ns)
    assert samples.warmup_calls + summary.n <= len(machine.calls)


def test_summary_orders_percentiles_of_uneven_rounds():
    rounds = (np.array([1_000_000] * 90, dtype=np.int64), np.array([3_000_000] * 9 + [50_000_000], dtype=np.int64))
    summary = summarise(Samples(rounds_ns=rounds, warmup_calls=0, steady=True))
    assert (summary.min, summary.p50, summary.p95, summary.p99) == (1.0, 1.0, 3.0, 3.0)
    assert summary.throughput_per_s == pytest.approx(100 / 0.167)


def test_warm_up_ends_once_the_times_settle_and_is_not_recorded(machine):
    samples = measure_latency(machine.subject("a", [40.0, 30.0, 20.0, 10.0, 5.0]), seconds=1.0, clock=machine.clock)
    assert samples.steady
    assert samples.all_ns.max() == 5_000_000
    assert samples.warmup_calls < 60


def test_warm_up_that_never_settles_ends_in_time_and_says_so(machine):
    growing = [1.0 * 1.1**number for number in range(60)]
    samples = measure_latency(machine.subject("a", growing), seconds=0.5, clock=machine.clock)
    assert not samples.steady


def test_a_slow_subject_gets_one_call_per_round_and_stops_in_time(machine):
    samples = measure_latency(machine.subject("a", [800.0]), seconds=2.0, clock=machine.clock)
    assert [len(times) for times in samples.rounds_ns] == [1, 1, 1]
    assert machine.now_ns < 6e9


def test_a_subject_slower_than_the_whole_time_is_measured_once(machine):
    samples = measure_latency(machine.subject("a", [9000.0]), seconds=1.0, clock=machine.clock)
    assert samples.all_ns.tolist() == [9_000_000_000]


def test_a_fast_subject_is_capped_per_round(machine):
    limits = LoopLimits(round_calls=7)
    samples = measure_latency(machine.subject("a", [0.01]), seconds=0.5, limits=limits, clock=machine.clock)
    assert {len(times) for times in samples.rounds_ns} == {7}


def _turns(calls):
    return [calls[0], *(after for before, after in pairwise(calls) if after != before)]


def test_subjects_take_turns_in_an_order_that_changes(machine):
    runs = {name: machine.subject(name, [10.0]) for name in "abc"}
    measured = measure_interleaved(runs, seconds=1.0, seed=1, clock=machine.clock)
    turns = _turns(machine.calls)[3:]
    rounds = len(measured["a"].rounds_ns)
    assert {len(samples.rounds_ns) for samples in measured.values()} == {rounds}
    followers = set(pairwise(turns))
    assert followers >= {("a", "b"), ("b", "a"), ("a", "c"), ("c", "a"), ("b", "c"), ("c", "b")}


def test_the_order_follows_the_seed():
    def calls(seed):
        machine = SimulatedMachine()
        runs = {name: machine.subject(name, [10.0]) for name in "abcd"}
        measure_interleaved(runs, seconds=0.5, seed=seed, clock=machine.clock)
        return machine.calls

    assert calls(3) == calls(3)
    assert calls(3) != calls(4)


def test_the_garbage_collector_is_off_while_measuring_and_back_on_afterwards():
    states = set()
    measure_latency(lambda: states.add(gc.isenabled()), seconds=0.01)
    assert states == {False}
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_an_error_of_the_subject_passes_and_the_garbage_collector_is_back_on():
    def broken():
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        measure_latency(broken, seconds=0.01)
    assert gc.isenabled()


def test_progress_counts_the_rounds(machine):
    events = []
    measure_interleaved({"a": machine.subject("a", [10.0])}, seconds=0.2, progress=events.append, clock=machine.clock)
    rounds = [event for event in events if event.step == "latency"]
    assert [event.done for event in rounds] == list(range(1, len(rounds) + 1))
    assert rounds[-1].done <= rounds[-1].total


def test_real_clock_orders_a_short_and_a_long_call():
    def spin(count):
        return lambda: sum(range(count))

    measured = measure_interleaved({"short": spin(10), "long": spin(100_000)}, seconds=0.05)
    assert summarise(measured["short"]).min < summarise(measured["long"]).min
