"""The recommendation: the decision from given figures, the search on a simulated machine, and a real one."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from edgeml_devices.batches import Batch
from edgeml_devices.candidates import (
    Candidate,
    applicable,
    judge_candidate,
    quality_obstacle,
    ranked_share,
)
from edgeml_devices.conditions import Conditions
from edgeml_devices.picking import recommend
from edgeml_devices.recommend import Standing, decide, survivors
from edgeml_devices.recommendation import store
from edgeml_devices.report import BudgetResult, VariantReport, Verdict
from edgeml_devices.variant_report import report_variant
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.contract import Budget, BudgetName
from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.errors import InputError, ProjectError, TargetError
from edgeml_runtime.machine import probe_machine
from edgeml_runtime.measure.loop import Samples
from edgeml_runtime.measure.report import Measurement, Start, VariantMeasurement
from edgeml_runtime.tuned_store import Choice, read_choice, tuned_file


def way(variant="onnx-int8", backend="onnxruntime", threads=1):
    return Choice(variant=variant, backend=backend, threads=threads)


def samples_of(times_ms, rounds=4):
    times = np.array([round(value * 1e6) for value in np.atleast_1d(times_ms)] * 20, dtype=np.int64)
    return Samples(rounds_ns=(times,) * rounds, warmup_calls=9, steady=True)


@pytest.fixture
def make(measured):
    """A candidate that took the given milliseconds, one value per process."""

    def build(choice, processes_ms, *, metric=0.9, size=1000, **more):
        found = [None if value is None else samples_of(value) for value in processes_ms]
        batches = [
            Batch(
                began_s=0.0,
                took_s=1.0,
                conditions=Conditions(),
                measurement=Measurement(
                    machine=probe_machine(),
                    auto_variant=None,
                    variants=(measured("x", one, size_bytes=size, threads=choice.threads),),
                ),
            )
            for one in found
            if one is not None
        ]
        report = report_variant(batches, "x", sustained=False) if batches else VariantReport(id="x", size_bytes=size)
        return Candidate(choice=choice, metric=metric, report=report, samples=tuple(found), **more)

    return build


def pick(*candidates, share=0.5, higher_is_better=True):
    decision = decide(candidates, share=share, higher_is_better=higher_is_better)
    return decision, [row.standing for row in decision.rows]


def test_the_fastest_is_chosen(make):
    decision, standings = pick(make(way("onnx-fp32"), [2.0] * 6), make(way(), [1.0] * 6))
    assert decision.chosen.choice == way()
    assert (decision.verdict, standings) == (Verdict.PASS, [Standing.SLOWER, Standing.CHOSEN])
    assert "2 to 2 times the time at p50" in decision.rows[0].reason


def test_load_that_meets_all_alike_does_not_matter(make):
    moods = [1.0, 3.0, 1.2, 2.0, 1.1, 2.6]
    slow, fast = make(way("onnx-fp32"), [1.2 * mood for mood in moods]), make(way(), moods)
    assert pick(slow, fast)[0].verdict is Verdict.PASS
    assert pick(slow, fast)[0].chosen is fast


TIES = [
    ("metric", {"metric": 0.91}, {"threads": 4, "size": 2000}),
    ("threads", {"threads": 1, "size": 2000}, {"threads": 2}),
    ("size", {"size": 900}, {"size": 1000}),
    ("order", {}, {}),
]


@pytest.mark.parametrize(("better", "worse"), [tie[1:] for tie in TIES], ids=[tie[0] for tie in TIES])
@pytest.mark.parametrize("faster", [False, True])
def test_ties_go_by_metric_then_threads_then_size_then_order(make, better, worse, faster):
    def build(name, values, time_ms):
        values = dict(values)
        return make(way(name, threads=values.pop("threads", 1)), [time_ms] * 6, **values)

    one, two = build("onnx-int8", better, 1.0), build("onnx-fp32", worse, 0.97 if faster else 1.0)
    decision, standings = pick(one, two)
    assert decision.chosen is one
    assert (decision.verdict, standings) == (Verdict.PASS, [Standing.CHOSEN, Standing.ALIKE])
    assert "as fast" in decision.rows[1].reason


def test_a_smaller_error_is_the_better_metric(make):
    one, two = make(way(threads=2), [1.0] * 6, metric=0.1), make(way("onnx-fp32"), [1.0] * 6, metric=0.2)
    assert pick(one, two, higher_is_better=False)[0].chosen is one
    assert pick(one, two)[0].chosen is two
    unscored = make(way("onnx-fp16"), [1.0] * 6, metric=None)
    assert pick(unscored, one, two, higher_is_better=False)[0].chosen is one


NOISE = [0.9, 1.3, 1.0, 1.25, 0.95, 1.1]


def test_noise_gives_a_pick_and_says_that_it_is_one(make):
    one, two = make(way(), [1.0] * 6), make(way("onnx-fp32"), NOISE)
    decision, standings = pick(one, two)
    assert decision.chosen is one
    assert (decision.verdict, standings[1]) == (Verdict.INCONCLUSIVE, Standing.ALIKE)
    assert decision.undecided == (two.choice,)
    assert "cannot be told apart" in decision.rows[1].reason


def test_few_processes_decide_nothing(make):
    decision, _ = pick(make(way(), [1.0] * 3), make(way("onnx-fp32"), [2.0] * 3))
    assert (decision.chosen.choice, decision.verdict) == (way(), Verdict.INCONCLUSIVE)


def _broken(name, value, limit, verdict=Verdict.FAIL):
    return BudgetResult(name=name, variant="onnx-int8", limit=limit, value=value, verdict=verdict)


def test_what_breaks_quality_or_budgets_or_does_not_run_is_not_chosen(make):
    over = make(way(threads=2), [0.1] * 6, budgets=(_broken(BudgetName.PEAK_RSS_MB, 90.0, 50.0),))
    poor = make(way("onnx-w8"), [None] * 6, quality="its accuracy misses the floor")
    fine = make(way("onnx-fp32"), [1.0] * 6)
    broken = Candidate(
        choice=way(backend="openvino"), metric=0.9, report=VariantReport(id="x", size_bytes=1, reason="SIGSEGV")
    )
    big = Candidate(
        choice=way("onnx-fp16"),
        metric=0.9,
        report=VariantReport(id="x", size_bytes=1, fits=False, reason="does not fit"),
    )
    decision, standings = pick(over, poor, fine, broken, big)
    assert decision.chosen is fine
    assert standings == [
        Standing.OVER_BUDGET,
        Standing.BELOW_QUALITY,
        Standing.CHOSEN,
        Standing.NOT_RUN,
        Standing.OVER_BUDGET,
    ]
    assert "breaks the budget peak_rss_mb: 90, and the limit is 50" in decision.rows[0].reason
    assert decision.rows[3].reason == "SIGSEGV"


def test_where_none_will_do_the_verdict_says_whether_anything_ran(make):
    over = make(way(), [0.1] * 6, budgets=(_broken(BudgetName.LATENCY_MS_P95, 3.0, 1.0),))
    gone = Candidate(choice=way(), metric=None, report=VariantReport(id="x", size_bytes=1, reason="not installed"))
    assert (pick(over)[0].chosen, pick(over, gone)[0].verdict) == (None, Verdict.FAIL)
    assert pick(gone)[0].verdict is Verdict.NOT_MEASURED
    assert pick()[0].verdict is Verdict.NOT_MEASURED


def test_a_budget_that_cannot_be_told_makes_the_pick_a_guess(make):
    near = make(way(), [1.0] * 6, budgets=(_broken(BudgetName.LATENCY_MS_P95, 1.0, 1.01, Verdict.INCONCLUSIVE),))
    decision, _ = pick(near)
    assert (decision.chosen, decision.verdict) == (near, Verdict.INCONCLUSIVE)


def test_ranking_follows_the_percentile(make):
    jumpy = make(way(), [np.array([0.8] * 15 + [4.0] * 5)] * 6)
    steady = make(way(threads=2), [1.0] * 6)
    assert pick(jumpy, steady, share=0.5)[0].chosen is jumpy
    assert pick(jumpy, steady, share=0.95)[0].chosen is steady


BUDGETS = {name: Budget(profile="host", name=name, limit=1.0) for name in BudgetName}


@pytest.mark.parametrize(
    ("names", "share"),
    [
        ((), 0.5),
        ((BudgetName.LATENCY_MS_P50, BudgetName.PEAK_RSS_MB), 0.5),
        ((BudgetName.LATENCY_MS_P95,), 0.95),
        ((BudgetName.LATENCY_MS_P50, BudgetName.LATENCY_MS_P99), 0.95),
    ],
)
def test_the_percentile_is_the_one_that_budgets_are_for(names, share):
    assert ranked_share([BUDGETS[name] for name in names]) == share


@pytest.mark.parametrize(
    ("changes", "covered"),
    [
        ({}, True),
        ({"variant": "onnx-int8", "backend": "onnxruntime", "threads": 1}, True),
        ({"variant": "onnx-fp32"}, False),
        ({"backend": "openvino"}, False),
        ({"threads": 2}, False),
    ],
)
def test_a_budget_covers_what_it_does_not_name(changes, covered):
    budget = replace(BUDGETS[BudgetName.LATENCY_MS_P95], **changes)
    assert applicable([budget], way()) == ((budget,) if covered else ())


def test_budgets_are_judged_on_the_way_it_runs(make):
    limits = [replace(BUDGETS[BudgetName.LATENCY_MS_P95], limit=limit) for limit in (0.5, 2.0)]
    others = [replace(limits[0], threads=4), BUDGETS[BudgetName.INSTRUCTIONS]]
    candidate = make(way(threads=2, backend="openvino"), [1.0] * 6)
    report = replace(candidate.report, backend="openvino")
    found = judge_candidate([*limits, *others], candidate.choice, report, 1000, None)
    assert [result.verdict for result in found] == [Verdict.FAIL, Verdict.PASS]
    slowed = judge_candidate(limits, candidate.choice, report, 1000, "other work took 40 % of the cores")
    assert [result.verdict for result in slowed] == [Verdict.INCONCLUSIVE, Verdict.PASS]


def scored(value, *, within=True, slices=(), **more):
    return {
        "metric": {"name": "accuracy", "value": value},
        "paired_loss": {"within": within},
        "slice_losses": slices,
    } | more


QUALITY = [
    ({}, None),
    ({"scored": False}, None),
    (scored(0.92), None),
    (scored(0.49), "misses the contract's floor of 0.5"),
    (scored(0.92, within=False), "loses more against fp32 .* on the test set"),
    (scored(0.92, slices=[{"name": "label=a", "within": False, "too_small": False}]), "on slice label=a"),
    (scored(0.92, slices=[{"name": "label=a", "within": False, "too_small": True}]), None),
    (scored(0.92, event_loss={"within": False}), "on its events"),
    (scored(0.90), "worse than the 0.92 of onnx-fp32, .* margin of 0.01"),
]


@pytest.mark.parametrize(("metrics", "reason"), QUALITY)
def test_quality_is_what_the_manifest_says_of_the_test_set(make_bundle, metrics, reason):
    with Bundle.open(make_bundle()) as bundle:
        contract = parse_contract(bundle.manifest.contract, source="manifest.json")
        (reference,) = bundle.manifest.variants
    reference = replace(reference, metrics=scored(0.92))
    found = quality_obstacle(contract, replace(reference, id="onnx-int8", metrics=metrics), reference)
    assert found is None if reason is None else re.search(reason, found)


def test_only_what_is_near_the_fastest_is_measured_further():
    burst = Samples(
        rounds_ns=tuple(np.full(9, value, dtype=np.int64) for value in (9000, 1200, 8000)), warmup_calls=0, steady=True
    )
    found = survivors({way(): samples_of(1e-3), way("b"): burst, way("c"): samples_of(1.6e-3)})
    assert found == (way(), way("b"))
    assert survivors({}) == ()


class Search:
    """A machine on which every way to run a bundle takes what it is told; remembers what was asked."""

    def __init__(self, times_ms, *, failures=(), rss_mb=None, lost_after=None):
        self.times_ms, self.failures, self.rss_mb = times_ms, dict(failures), rss_mb or {}
        self.lost_after = lost_after
        self.machine = replace(probe_machine(), cores=2)
        self.requests = []

    def probe(self):
        return self.machine

    def watch(self):
        return Seen()

    def limit_memory(self, memory_bytes):
        return None

    def measure(self, request, *, variants, limit=None, progress):
        if self.lost_after is not None and len(self.requests) >= self.lost_after:
            raise TargetError("the cable was pulled")
        self.requests.append(request)
        return Measurement(
            machine=self.machine,
            auto_variant=None,
            variants=tuple(self._one(name, request) for name in request.variants),
        )

    def _one(self, name, request):
        if name in self.failures:
            return VariantMeasurement(id=name, size_bytes=1000, failure=self.failures[name])
        _, backend, threads = name.split("/")
        rss = round(self.rss_mb.get(name, 40.0) * 1e6)
        start = Start(import_ms=50.0, load_ms=40.0, first_predict_ms=10.0, peak_rss_bytes=rss)
        return VariantMeasurement(
            id=name,
            size_bytes=1000,
            backend=backend,
            backend_version="1.0",
            threads=int(threads),
            samples=samples_of(self.times_ms[name]),
            starts=(start,) * request.starts,
        )


class Seen:
    """An idle machine."""

    conditions = Conditions(other_share=0.0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


TIMES = {
    "onnx-int8/onnxruntime/1": 1.0,
    "onnx-int8/onnxruntime/2": 0.5,
    "onnx-int8/openvino/1": 0.9,
    "onnx-int8/openvino/2": 0.9,
    "onnx-fp32/onnxruntime/1": 2.0,
    "onnx-fp32/onnxruntime/2": 1.4,
    "onnx-fp32/openvino/1": 3.0,
    "onnx-fp32/openvino/2": 3.0,
}


@pytest.fixture
def two_variants(make_bundle, model_content):
    def build(budgets=None, **changes):
        return make_bundle(budgets, {"onnx-int8": model_content, "onnx-fp32": model_content}, changes)

    return build


def standings(found):
    return {str(row.candidate.choice): row.standing.value for row in found.decision.rows}


def test_every_way_is_tried_and_the_near_ones_are_measured_on(two_variants):
    target, events = Search(TIMES), []
    found = recommend(two_variants(), target=target, progress=events.append)
    assert found.decision.chosen.choice == way(threads=2)
    assert (found.exit_code, standings(found)["onnx-int8/onnxruntime/1"]) == (0, "slower")
    first, *others = target.requests
    assert sorted(first.variants) == sorted(TIMES)
    assert [request.variants for request in others] == [("onnx-int8/onnxruntime/2",)] * 6
    assert {event.step for event in events} == {"try all", "measure"}
    assert found.to_dict()["chosen"] == {"variant": "onnx-int8", "backend": "onnxruntime", "threads": 2}
    json.dumps(found.to_dict(), allow_nan=False)
    assert "no budgets" in found.notes[0]
    assert "quality is not known" in found.notes[1]


def test_threads_backend_and_variants_can_be_given(two_variants):
    path, target = two_variants(), Search({**TIMES, "onnx-int8/openvino/3": 1.0})
    assert recommend(path, target=target, threads=3, backend="openvino", variants=["onnx-int8"]).exit_code == 0
    assert target.requests[0].variants == ("onnx-int8/openvino/3",)


def test_a_choice_that_takes_too_much_memory_gives_way_to_the_next_even_if_that_was_far_slower(two_variants):
    target = Search(TIMES, rss_mb={"onnx-int8/onnxruntime/2": 400.0})
    found = recommend(two_variants({"host": {"peak_rss_mb": 100, "cold_start_ms": 500}}), target=target)
    assert found.decision.chosen.choice == way(backend="openvino")
    assert standings(found)["onnx-int8/onnxruntime/2"] == "over_budget"
    assert [result.verdict for result in found.decision.chosen.budgets] == [Verdict.PASS, Verdict.PASS]
    assert [request.starts for request in target.requests if request.starts] == [6, 6]


def test_starts_that_could_not_be_measured_leave_the_pick_a_guess(two_variants):
    path = two_variants({"host": {"peak_rss_mb": 100}})
    found = recommend(path, target=Search(TIMES, lost_after=7))
    assert (found.decision.chosen.choice, found.decision.verdict) == (way(threads=2), Verdict.INCONCLUSIVE)
    assert any("were not measured" in note for note in found.notes)


def test_where_all_break_a_budget_none_is_recommended(two_variants):
    found = recommend(two_variants({"host": {"latency_ms_p50": 0.1}}), target=Search(TIMES))
    assert (found.decision.chosen, found.exit_code, set(standings(found).values())) == (None, 1, {"over_budget"})
    assert "breaks the budget latency_ms_p50" in found.decision.rows[0].reason
    with pytest.raises(InputError, match="nothing to store"):
        store(found, "/nowhere")


def test_what_does_not_run_is_said(two_variants):
    failures = {name: "not installed" for name in TIMES if "openvino" in name}
    found = recommend(two_variants(), target=Search(TIMES, failures=failures))
    assert found.decision.chosen.choice == way(threads=2)
    assert standings(found)["onnx-fp32/openvino/1"] == "not_run"
    none = recommend(two_variants(), target=Search(TIMES, failures=dict.fromkeys(TIMES, "not installed")))
    assert (none.decision.chosen, none.exit_code) == (None, 4)


def test_poor_quality_is_not_even_measured(two_variants):
    path, target = (
        two_variants(**{"onnx-int8": {"metrics": scored(0.4)}, "onnx-fp32": {"metrics": scored(0.9)}}),
        Search(TIMES),
    )
    found = recommend(path, target=target)
    assert found.decision.chosen.choice.variant == "onnx-fp32"
    assert standings(found)["onnx-int8/onnxruntime/1"] == "below_quality"
    assert not any("int8" in name for request in target.requests for name in request.variants)


def test_another_machine_is_not_measured(two_variants):
    target = Search(TIMES)
    found = recommend(two_variants(), device="raspberry-pi-zero-2w", target=target)
    assert (target.requests, found.exit_code, found.decision.chosen) == ([], 4, None)
    assert found.to_dict()["provenance"] == "not_measured"


def test_a_lost_target_keeps_what_was_measured(two_variants):
    found = recommend(two_variants(), target=Search(TIMES, lost_after=3))
    assert (found.lost, found.exit_code) == ("the cable was pulled", 3)
    assert found.decision.chosen.choice == way(threads=2)
    assert recommend(two_variants(), target=Search(TIMES, lost_after=1)).lost == "the cable was pulled"
    with pytest.raises(TargetError, match="cable"):
        recommend(two_variants(), target=Search(TIMES, lost_after=0))


def test_what_is_stored_is_what_a_load_reads(two_variants, tmp_path):
    path = two_variants()
    found = recommend(path, target=Search(TIMES), threads=2)
    assert found.situation.backends == {"onnxruntime": "1.0", "openvino": "1.0"}
    store(found, tuned_file(path))
    assert read_choice(tuned_file(path), found.situation) == way(threads=2)


@pytest.mark.parametrize("options", [{"seconds": 0}, {"time_limit_s": 0}, {"threads": 0}, {"variants": ["onnx-int4"]}])
def test_senseless_questions_are_refused(two_variants, options):
    with pytest.raises(InputError, match="expected"):
        recommend(two_variants(), **options)


def test_a_bare_model_and_an_unknown_device_are_refused(two_variants, model_file):
    with pytest.raises(InputError, match="needs a bundle"):
        recommend(model_file())
    with pytest.raises(ProjectError, match="raspberry-pi-5"):
        recommend(two_variants(), device="raspberry-pi-6")


@pytest.mark.long
def test_a_real_machine(two_variants):
    """Two processes are all that the time limit allows: a pick, and that it is one."""
    found = recommend(two_variants(), threads=1, seconds=0.3, time_limit_s=0.1)
    assert (found.decision.chosen is not None, found.exit_code) == (True, 4)
    assert all(row.candidate.report.latency is not None for row in found.decision.rows)
