"""A bench beside an earlier one: the decision, what it is worth, and files that are no earlier bench."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from edgeml_cli.main import main
from edgeml_devices.baseline import ALLOWANCES, TOLERANCE, compare_with, pick_earlier
from edgeml_devices.bench import bench
from edgeml_devices.conditions import Conditions
from edgeml_devices.intervals import Figure
from edgeml_devices.model_file import read_model
from edgeml_devices.past import bench_facts, check_model, read_benches
from edgeml_devices.report import Verdict
from edgeml_devices.targets import LocalTarget
from edgeml_runtime.contract import BudgetName
from edgeml_runtime.errors import InputError

PASS, FAIL = Verdict.PASS, Verdict.FAIL
INCONCLUSIVE, NOT_MEASURED = Verdict.INCONCLUSIVE, Verdict.NOT_MEASURED
P50, RATE, RSS, SIZE = (
    BudgetName.LATENCY_MS_P50,
    BudgetName.THROUGHPUT_PER_S,
    BudgetName.PEAK_RSS_MB,
    BudgetName.BUNDLE_MB,
)
QUIET = [1.0, 1.01, 1.02, 1.03] * 25
WHEN = datetime(2026, 3, 1, 12, tzinfo=UTC)
MEASURED = set(ALLOWANCES) - {BudgetName.INSTRUCTIONS}
MADE = {}  # benches by how they were asked for: their bootstraps take most of the time here


@pytest.fixture
def make_bench(make_bundle, simulate, measured, samples):
    """The JSON form of a bench of the tiny bundle on a simulated PC whose calls take ``scale`` ms or so."""

    def make(scale=1.0, conditions=None, variants=("onnx-fp32",)):
        key = (scale, conditions, variants)
        if key not in MADE:
            path = make_bundle(None, dict.fromkeys(variants, b"a"))
            times = samples([value * scale for value in QUIET])
            target = simulate("pc", *(measured(id_, times) for id_ in variants))
            target.conditions = conditions or Conditions(other_share=0.01, clock_mhz=4000.0, governor="performance")
            MADE[key] = bench(path, target=target).to_dict()
        return copy.deepcopy(MADE[key])

    return make


@pytest.fixture
def facts(make_bench):
    def make(*args, **options):
        return bench_facts(make_bench(*args, **options), measured_at=WHEN)

    return make


def verdicts(comparison):
    return {figure.name: figure.verdict for figure in comparison.figures}


def only(comparison, name):
    (figure,) = [figure for figure in comparison.figures if figure.name is name]
    return figure


def with_figure(bench, name, value, low, high):
    (variant,) = bench.variants
    changed = replace(variant, figures={**variant.figures, name: Figure(value=value, low=low, high=high, n=1000)})
    return replace(bench, variants=(changed,))


# The interval of the ratio, p50 then being 1.0 (0.98 – 1.02); 1.15 is allowed.
RATIOS = [
    ("the same", P50, (1.0, 0.98, 1.02), PASS),
    ("better", P50, (0.5, 0.49, 0.51), PASS),
    ("worse by what is allowed", P50, (1.10, 1.08, 1.12), PASS),
    ("worse by about what is allowed", P50, (1.15, 1.13, 1.17), INCONCLUSIVE),
    ("clearly worse", P50, (1.30, 1.27, 1.33), FAIL),
    ("without an upper end", P50, (1.0, 0.98, float("inf")), INCONCLUSIVE),
    ("without an upper end, clearly worse", P50, (1.3, 1.27, float("inf")), FAIL),
    ("fewer calls a second", RATE, (0.7, 0.69, 0.71), FAIL),
    ("more calls a second", RATE, (1.5, 1.49, 1.51), PASS),
    ("more memory", RSS, (1.2, 1.19, 1.21), FAIL),
]


@pytest.mark.parametrize(("name", "ends", "verdict"), [case[1:] for case in RATIOS], ids=[case[0] for case in RATIOS])
def test_the_interval_of_the_ratio_decides(facts, name, ends, verdict):
    base = facts()
    then = with_figure(base, name, 1.0, 0.98, 1.02)
    figure = only(compare_with(then, with_figure(base, name, *ends)), name)
    assert figure.verdict is verdict
    assert figure.allowed == pytest.approx(1 + TOLERANCE + ALLOWANCES[name])
    assert bool(figure.reason) == (verdict is INCONCLUSIVE)


def test_the_same_file_twice_passes_in_every_figure(facts):
    comparison = compare_with(facts(), facts())
    assert set(verdicts(comparison)) == MEASURED
    assert set(verdicts(comparison).values()) == {PASS}
    assert (comparison.exit_code, comparison.undecided) == (0, set())


def test_a_slowdown_is_found_by_its_figures_alone(facts):
    comparison = compare_with(facts(), facts(scale=1.5))
    assert comparison.exit_code == 1
    assert {name for name, verdict in verdicts(comparison).items() if verdict is FAIL} == {
        P50,
        BudgetName.LATENCY_MS_P95,
        RATE,
    }


@pytest.mark.parametrize(("now", "verdict"), [(1_000_000, PASS), (1_050_000, PASS), (1_050_001, FAIL)])
def test_size_is_compared_exactly_and_on_any_machine(facts, machines, now, verdict):
    then = replace(facts(), size_bytes=1_000_000, machine=machines["pi 4"])
    figure = only(compare_with(then, replace(facts(), size_bytes=now)), SIZE)
    assert figure.verdict is verdict
    assert figure.ratio[0] == figure.ratio[1] == figure.ratio[2] == now / 1_000_000


BUSY = Conditions(other_share=0.6)
DISTURBED = [
    ("busy now, worse", None, BUSY, 1.5, INCONCLUSIVE, "60% of the cores now"),
    ("busy now, the same", None, BUSY, 1.0, PASS, ""),
    ("busy then, worse", BUSY, None, 1.5, FAIL, ""),
    ("busy then, the same", BUSY, None, 1.0, INCONCLUSIVE, "60% of the cores then"),
    ("another clock, worse", Conditions(clock_mhz=3000.0), None, 1.5, INCONCLUSIVE, "3,000 MHz then, 4,000 MHz now"),
    ("another clock, the same", Conditions(clock_mhz=3000.0), None, 1.0, INCONCLUSIVE, "clock while measuring"),
    ("another governor", Conditions(governor="powersave"), None, 1.0, INCONCLUSIVE, "powersave then, performance now"),
]


@pytest.mark.parametrize(
    ("then", "now", "scale", "verdict", "reason"), [case[1:] for case in DISTURBED], ids=[case[0] for case in DISTURBED]
)
def test_conditions_then_and_now_count(facts, then, now, scale, verdict, reason):
    comparison = compare_with(facts(conditions=then), facts(scale, conditions=now))
    figure = only(comparison, P50)
    assert figure.verdict is verdict
    assert reason in figure.reason
    assert only(comparison, RSS).verdict is PASS


def test_what_only_the_earlier_bench_could_settle_is_not_measured_longer(facts):
    assert compare_with(facts(conditions=BUSY), facts()).undecided == set()
    assert compare_with(facts(), facts(1.5, conditions=BUSY)).undecided == {"onnx-fp32"}


MACHINES = [
    ({"arch": "aarch64"}, "architecture aarch64 then, x86_64 now"),
    ({"cpu": "Celeron"}, "CPU Celeron then"),
    ({"cores": 4}, "cores 4 then, 6 now"),
    ({"board": "Raspberry Pi 5"}, "board Raspberry Pi 5 then, None now"),
    ({"isa": ("avx2", "fma")}, "CPU features now with sse4_2"),
    ({"memory_bytes": 8_000_000_000}, "memory 8.0 GB then, 16.6 GB now"),
]


@pytest.mark.parametrize(("change", "reason"), MACHINES, ids=[next(iter(case[0])) for case in MACHINES])
def test_another_machine_never_passes(facts, change, reason):
    then = facts()
    comparison = compare_with(replace(then, machine=replace(then.machine, **change)), facts())
    found = verdicts(comparison)
    assert found.pop(SIZE) is PASS
    assert set(found.values()) == {NOT_MEASURED}
    assert reason in only(comparison, P50).reason
    assert comparison.exit_code == 4
    assert not comparison.to_dict()["same_machine"]


def test_a_kernel_s_few_megabytes_do_not_make_another_machine(facts):
    then = facts()
    machine = replace(then.machine, memory_bytes=then.machine.memory_bytes - 100_000_000)
    assert compare_with(replace(then, machine=machine), facts()).exit_code == 0


WAYS = [
    ({"threads": 4}, "onnxruntime with 4 thread(s) then and on onnxruntime with 1 thread(s) now"),
    ({"backend": "openvino"}, "openvino with 1 thread(s) then"),
    ({"runner": "onnxruntime_perf_test"}, "onnxruntime_perf_test with 1"),
    ({"sustained": True}, "sustained then and on"),
]


@pytest.mark.parametrize(("change", "reason"), WAYS, ids=[next(iter(case[0])) for case in WAYS])
def test_another_way_of_running_is_not_compared(facts, change, reason):
    then = facts()
    comparison = compare_with(replace(then, variants=(replace(then.variants[0], **change),)), facts())
    assert (only(comparison, P50).verdict, comparison.exit_code) == (NOT_MEASURED, 4)
    assert reason in only(comparison, P50).reason


def test_other_releases_are_named_and_do_not_hide_a_slowdown(facts):
    then = replace(facts(), python="3.11.1")
    then = replace(then, variants=(replace(then.variants[0], backend_version="1.31.0"),))
    comparison = compare_with(then, replace(facts(1.5), python="3.12.0"))
    assert comparison.found.software == ("Python 3.11.1 then, 3.12.0 now", "onnxruntime 1.31.0 then, 1.32.0 now")
    assert only(comparison, P50).verdict is FAIL
    assert "onnxruntime 1.31.0 then, 1.32.0 now" in only(comparison, P50).reason


def test_a_variant_that_ran_once_only_is_said(facts):
    one, two = facts(), facts(variants=("onnx-fp32", "onnx-int8"))
    assert compare_with(one, two).left_out == ("onnx-int8",)
    broken = replace(two, variants=(two.variants[0], replace(two.variants[1], figures={}, backend=None)))
    for pair, reason in (((two, broken), "it did not run now"), ((broken, two), "it did not run then")):
        found = [figure for figure in compare_with(*pair).figures if figure.variant == "onnx-int8"]
        assert {(figure.verdict, figure.reason) for figure in found} == {(NOT_MEASURED, reason)}


def test_the_bench_of_the_same_target_is_picked_else_that_of_the_same_machine(facts, machines):
    pc = facts()
    pi = replace(pc, machine=machines["pi 4"], target="ssh://pi")
    named = replace(pi, target="ssh://pi")
    assert pick_earlier([pc, pi], named) is pi
    assert pick_earlier([pi, pc], replace(pc, target="local")) is pc
    assert pick_earlier([pi], pc) is pi  # the only one there is: the comparison says that it is another machine
    assert pick_earlier([pi, replace(pi, target="ssh://other")], pc) is None
    comparison = compare_with(None, pc)
    assert (comparison.exit_code, comparison.figures) == (4, ())
    assert "no bench of this target" in comparison.to_dict()["reason"]


class TestFiles:
    def test_a_result_is_read_as_it_was(self, make_bench, tmp_path):
        values = make_bench()
        path = tmp_path / "then.json"
        path.write_text(json.dumps(values))
        (read,) = read_benches(path)
        assert read == bench_facts(values, measured_at=WHEN)
        assert (read.name, read.version, read.size_bytes) == ("tiny", "1.0.0", values["subject"]["size_bytes"])
        path.write_text(json.dumps({"targets": [{**values, "target": "local"}, {"target": "ssh://x", "lost": "dead"}]}))
        assert [bench.target for bench in read_benches(path)] == ["local"]

    def test_one_without_subject_time_and_python_is_read_too(self, make_bench, tmp_path):
        values = {key: value for key, value in make_bench().items() if key not in ("subject", "measured_at", "python")}
        path = tmp_path / "then.json"
        path.write_text(json.dumps(values))
        (read,) = read_benches(path)
        assert (read.name, read.size_bytes, read.python) == (None, None, None)
        assert read.measured_at == datetime.fromtimestamp(path.stat().st_mtime, UTC)

    @pytest.mark.parametrize(
        ("break_it", "message"),
        [
            (lambda values: "{", "found no JSON"),
            (lambda values: [values], "found a JSON list"),
            (lambda values: {}, "a JSON object with no keys"),
            (lambda values: {"ranking": [], "best": None}, "a JSON object with ranking, best"),
            (lambda values: {"error": {"message": "no such file"}}, "a command that failed: no such file"),
            (lambda values: {"targets": [3]}, "targets that are no JSON objects"),
            (lambda values: {"targets": [{"target": "ssh://x", "lost": "dead"}]}, "a JSON object with targets"),
            (lambda values: values.pop("conditions") and values, "without the key 'conditions'"),
            (lambda values: values | {"machine": {"arch": "x"}}, "without the key 'cpu'"),
            (lambda values: values | {"variants": [4]}, "another form"),
            (lambda values: values | {"measured_at": "yesterday"}, "another form"),
            (lambda values: values | {"variants": []}, "holds no figures to compare with"),
        ],
    )
    def test_anything_else_is_refused(self, make_bench, tmp_path, break_it, message):
        path = tmp_path / "then.json"
        found = break_it(copy.deepcopy(make_bench()))
        path.write_text(found if isinstance(found, str) else json.dumps(found))
        with pytest.raises(InputError, match=message) as caught:
            read_benches(path)
        assert str(caught.value).startswith(f"{path}: ")

    def test_another_model_is_refused(self, facts, make_bundle):
        model = read_model(str(make_bundle()))
        check_model([facts()], model, source="then.json")
        with pytest.raises(InputError, match="expected an earlier bench of tiny; found one of words"):
            check_model([replace(facts(), name="words")], model, source="then.json")
        other = replace(facts(), variants=(replace(facts().variants[0], name="tflite-fp32"),))
        with pytest.raises(InputError, match="expected figures of onnx-fp32; found those of tflite-fp32"):
            check_model([other], model, source="then.json")


class TestCommand:
    @pytest.fixture
    def run(self, make_bench, make_bundle, simulate, measured, samples, tmp_path, monkeypatch, capsys):
        def run(scale, *words):
            file = tmp_path / "then.json"
            file.write_text(json.dumps(make_bench()))
            path = make_bundle(None)
            target = simulate("pc", measured("onnx-fp32", samples([value * scale for value in QUIET])))
            for name in ("probe", "watch", "limit_memory", "measure"):
                method = getattr(target, name)
                monkeypatch.setattr(LocalTarget, name, lambda self, *a, _method=method, **k: _method(*a, **k))
            code = main(["bench", str(path), "--baseline", str(file), "--time-limit", "1", *words])
            return code, capsys.readouterr()

        return run

    @pytest.mark.parametrize(("scale", "code"), [(1.0, 0), (1.5, 1), (1.15, 4)])
    def test_it_ends_as_the_comparison_does(self, run, scale, code):
        found, output = run(scale, "--json")
        report = json.loads(output.out)
        assert found == code
        assert report["baseline"]["file"].endswith("then.json")
        assert report["baseline"]["same_machine"]
        assert {row["name"] for row in report["baseline"]["figures"]} == {name.value for name in MEASURED}

    def test_a_person_reads_what_it_is_worth(self, run):
        code, output = run(1.5)
        assert code == 1
        text = " ".join(output.out.split())
        assert "(version 1.0.0" in text
        for expected in ("p50 ms 1.01 1.515 1.500", "--against OTHER finds a slowdown"):
            assert expected in text

    def test_on_a_named_target_as_well(self, run):
        code, output = run(1.5, "--on", "local", "--json")
        assert (code, json.loads(output.out)["baseline"]["same_machine"]) == (1, True)

    def test_it_does_not_go_with_a_recommendation(self, run):
        code, output = run(1.0, "--recommend")
        assert (code, "leave --recommend out" in output.err) == (2, True)
