"""Measuring batch by batch: how many, of which variants, and when it ends; on a clock of the test's own."""

from __future__ import annotations

import pytest

from edgeml_devices.batches import SUSTAINED_BATCH_S, Plan, measure_batches
from edgeml_runtime.measure.cli import MeasureRequest
from edgeml_runtime.progress import silent

NAMES = ("onnx-int8", "onnx-fp32")


@pytest.fixture
def run(simulate, measured, samples):
    """Measures both variants; a batch takes ``batch_s`` on the clock, and ``undecided`` is told the number so far."""

    def go(
        undecided,
        *,
        time_limit_s=1000.0,
        sustained_s=None,
        batch_s=1.0,
        failing=(),
        earlier=(),
        progress=silent,
        **changes,
    ):
        now = [100.0]
        variants = [
            measured(name, None, failure="broken", starts_ms=(), rss_mb=(), backend=None)
            if name in failing
            else measured(name, samples([1.0] * 10))
            for name in NAMES
        ]
        target = simulate("pc", *variants)
        plain = target.measure

        def measure(request, **options):
            now[0] += batch_s(len(target.requests)) if callable(batch_s) else batch_s
            return plain(request, **options)

        target.measure = measure
        batches = measure_batches(
            target,
            MeasureRequest(path="m.edgeml", variants=NAMES, **changes),
            plan=Plan(time_limit_s=time_limit_s, sustained_s=sustained_s),
            undecided=lambda found: undecided(len(found)),
            earlier=earlier,
            progress=progress,
            clock=lambda: now[0],
        )
        assert len(batches) == len(earlier) + len(target.requests)
        return target.requests, batches

    return go


def test_decided_budgets_end_it_after_the_fewest_processes(run):
    requests, _ = run(lambda number: ())
    assert [request.variants for request in requests] == [NAMES] * 6
    assert sum(request.seconds for request in requests) == pytest.approx(2.0)
    assert sum(request.starts for request in requests) == 6


def test_it_asks_after_six_twelve_and_twenty_four_only(run):
    asked = []

    def undecided(number):
        asked.append(number)
        return NAMES if number < 24 else ()

    requests, _ = run(undecided)
    assert (asked, len(requests)) == ([6, 12, 24], 24)


def test_only_what_is_undecided_is_measured_on(run):
    requests, _ = run(lambda number: ("onnx-fp32",) if number == 6 else ())
    assert [request.variants for request in requests[6:]] == [("onnx-fp32",)] * 6


@pytest.mark.parametrize(("time_limit_s", "count"), [(0.001, 1), (3.5, 3), (9.0, 9), (12.0, 12), (12.5, 12)])
def test_no_batch_is_begun_that_would_end_too_late(run, time_limit_s, count):
    requests, batches = run(lambda number: NAMES, time_limit_s=time_limit_s)
    assert len(requests) == count
    assert [batch.began_s for batch in batches] == list(range(count))


@pytest.mark.parametrize(("slow", "count"), [(2, 8), (5, 6), (6, 7), (7, 8), (99, 12)])
def test_the_next_batch_is_expected_to_be_as_slow_as_one_of_those_before(run, slow, count):
    """One batch takes five seconds, the others one; before there are six, only the last one counts."""
    requests, batches = run(lambda number: NAMES, time_limit_s=12.0, batch_s=lambda at: 5.0 if at == slow else 1.0)
    assert len(requests) == count
    assert batches[-1].began_s + batches[-1].took_s <= 12.0


def test_a_sustained_one_goes_on_whatever_the_budgets_say(run):
    requests, batches = run(lambda number: (), time_limit_s=1.0, sustained_s=95.0, batch_s=10.0)
    assert len(requests) == 10
    assert {request.seconds * 2 for request in requests} == {SUSTAINED_BATCH_S}
    assert batches[-1].began_s + batches[-1].took_s == 100.0


def test_a_variant_that_cannot_run_is_not_tried_again(run):
    requests, _ = run(lambda number: (), failing=["onnx-int8"])
    assert [request.variants for request in requests] == [NAMES] + [("onnx-fp32",)] * 5
    requests, _ = run(lambda number: (), failing=NAMES)
    assert len(requests) == 1


@pytest.mark.parametrize(("starts", "each"), [(1, [1, 0, 0, 0, 0, 0]), (6, [1] * 6), (8, [2, 2, 1, 1, 1, 1])])
def test_starts_are_spread_over_the_batches(run, starts, each):
    requests, _ = run(lambda number: (), starts=starts)
    assert [request.starts for request in requests] == each


def test_progress_counts_up_to_the_next_question(run):
    events = []
    run(lambda number: NAMES if number < 12 else (), progress=events.append)
    assert [(event.done, event.total) for event in events] == [(n, 6 if n < 6 else 12) for n in range(12)]


def test_earlier_batches_are_gone_on_from_and_their_time_counts(run):
    asked = []

    def undecided(number):
        asked.append(number)
        return NAMES if number < 12 else ()

    _, earlier = run(lambda number: ())
    requests, batches = run(undecided, earlier=earlier)
    assert (asked, len(requests), batches[:6]) == ([6, 12], 6, earlier)
    assert [batch.began_s for batch in batches] == list(range(12))
    requests, _ = run(lambda number: NAMES, earlier=earlier, time_limit_s=9.0)
    assert len(requests) == 3


def test_a_variant_that_could_not_run_before_is_not_tried_when_it_goes_on(run):
    _, earlier = run(lambda number: NAMES, failing={"onnx-int8"})
    requests, _ = run(lambda number: NAMES if number < 12 else (), earlier=earlier[:6])
    assert {request.variants for request in requests} == {("onnx-fp32",)}
