"""Estimates: what calibrates them, how far off they say they are, and why there are none."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgeml_devices.emulator.classes import ClassCounts
from edgeml_devices.estimate import CountedReference, Estimate, NoEstimate, estimate, estimates, samples_of
from edgeml_devices.estimate_model import left_out
from edgeml_devices.estimate_references import calibration_references
from edgeml_devices.profile_files import load_profile, profile_file
from edgeml_runtime.errors import ProjectError

FP32 = ClassCounts(fp_fma=140_000_000, load_store=50_000_000, other=13_000_000)
SMALL = ClassCounts(fp_fma=20_000_000, load_store=9_000_000, other=4_000_000)
INT8 = ClassCounts(widening_multiply=70_000_000, load_store=36_000_000, other=61_000_000)
NAMES = {FP32: "large", SMALL: "small", INT8: "large"}
SIZES = {FP32: 17_000_000, SMALL: 3_000_000, INT8: 4_500_000}
# Clock, bandwidth, width of float and whole products of three boards and of the device.
MACHINES = {
    "a": ("cortex-a7", 900, 1.0, 0.25, 0.5),
    "b": ("cortex-a53", 1400, 1.05, 1, 1),
    "c": ("cortex-a72", 1500, 2.2, 1, 1),
}
CYCLES, PASSES = 0.35, 4.5


def latency(machine, counts):
    _, clock, bandwidth, fp32, int8 = MACHINES[machine]
    products = counts.fp_fma / fp32 + counts.widening_multiply / int8
    return CYCLES * products / clock / 1e3 + PASSES * SIZES[counts] / bandwidth / 1e6


def reference(machine, counts=FP32, runtime="xnnpack", threads=None, factor=1.0, **changes):
    cpu, clock, bandwidth, *_ = MACHINES[machine]
    values = {"model": NAMES[counts], "precision": "fp32", "source": "measured here"}
    return CountedReference(
        **{
            **values,
            "board": machine,
            "cpu": cpu,
            "clock_mhz": clock,
            "memcpy_gb_per_s": bandwidth,
            "runtime": runtime,
            "threads": threads,
            "latency_ms": factor * latency(machine, counts),
            "counts": counts,
            "file_bytes": SIZES[counts],
            **changes,
        }
    )


def all_of(machines="abc", **changes):
    return [reference(machine, counts, **changes) for machine in machines for counts in (FP32, SMALL, INT8)]


@pytest.fixture(scope="module")
def profile():
    """A Cortex-A72 at 1,500 MHz with 2.2 GB/s, as board ``c``."""
    return load_profile("raspberry-pi-4b")


def ask(profile, references, counts=SMALL, runtime="litert", threads=None):
    return estimate(counts, SIZES[counts], profile, runtime, threads, references)


def test_a_true_model_is_recovered_and_has_no_error(profile):
    found = ask(profile, all_of())
    assert isinstance(found, Estimate)
    assert found.value_ms == pytest.approx(latency("c", SMALL))
    assert (found.low_ms, found.high_ms) == pytest.approx((found.value_ms, found.value_ms))
    assert (found.runtime, found.threads, found.boards) == ("xnnpack", None, ("a", "b", "c"))
    assert found.leave_one_board_out_median == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_the_interval_reaches_as_far_as_the_worst_left_out_figure(profile, factor):
    """Whether the worst is too high or too low: a third of the time is as wrong as three times the time."""
    references = [*all_of("bc"), reference("a", factor=factor), reference("a", SMALL), reference("a", INT8)]
    found = ask(profile, references)
    boards = left_out(samples_of(references))
    both = left_out(samples_of(references), networks=True)
    assert isinstance(found, Estimate)
    assert (max(both) > 1 / min(both)) == (factor < 1)
    worst = max(*both, *(1 / ratio for ratio in both))
    assert (found.low_ms, found.high_ms) == pytest.approx((found.value_ms / worst, found.value_ms * worst))
    assert found.leave_one_board_out_max == pytest.approx(max(abs(ratio - 1) for ratio in boards))


def test_a_reference_without_products_is_left_aside(profile):
    nothing = [replace(one, counts=ClassCounts(load_store=9)) for one in all_of()]
    assert ask(profile, [*nothing, *all_of()]) == ask(profile, all_of())


def test_an_estimate_is_never_called_a_measurement(profile):
    found = ask(profile, all_of()).to_dict()
    assert found["provenance"] == "estimated"
    assert found["note"].startswith("estimated from 9 published latencies of xnnpack with several threads")
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    "others",
    [
        all_of("c", threads=4),
        all_of("c", threads=1),
        all_of("c", runtime="ncnn"),
        all_of("c", runtime="litert"),
        all_of("c", runtime="onnxruntime"),
    ],
    ids=["4 threads", "1 thread", "ncnn", "litert", "onnxruntime"],
)
def test_other_runtimes_and_thread_counts_never_fill_up(profile, others):
    found = ask(profile, [*all_of("ab"), *others])
    assert isinstance(found, NoEstimate)
    assert "xnnpack with several threads" in found.reason
    assert "at least 3 boards" in found.reason
    assert "found 2 (a, b)" in found.reason


@pytest.mark.parametrize("change", [{"threads": 4}, {"runtime": "ncnn"}])
def test_other_runtimes_and_thread_counts_move_nothing(profile, change):
    assert ask(profile, [*all_of(), *all_of(factor=3.0, **change)]) == ask(profile, all_of())


def test_references_of_the_runtime_itself_go_first_and_are_not_mixed(profile):
    found = ask(profile, [*all_of(factor=3.0), *all_of(runtime="litert")])
    assert isinstance(found, Estimate)
    assert found.runtime == "litert"
    assert found.value_ms == pytest.approx(latency("c", SMALL))


def test_references_of_a_users_boards_calibrate_onnxruntime(profile):
    found = ask(profile, all_of(runtime="onnxruntime", threads=2), runtime="onnxruntime", threads=2)
    assert isinstance(found, Estimate)
    assert (found.runtime, found.threads) == ("onnxruntime", 2)
    assert "XNNPACK" not in found.note


def test_without_references_the_reason_says_how_to_bring_some(profile):
    found = ask(profile, all_of(), runtime="onnxruntime", threads=1)
    assert isinstance(found, NoEstimate)
    for part in ("onnxruntime with 1 thread", "found 0", "--backend onnxruntime --threads 1", "[[references]]"):
        assert part in found.reason
    assert found.to_dict()["provenance"] == "not_measured"


def test_a_kind_of_arithmetic_that_no_reference_has_is_not_estimated(profile):
    dots = ClassCounts(int8_dot=19_000_000, load_store=20_000_000)
    found = estimate(dots, 1_000_000, profile, "litert", None, all_of())
    assert isinstance(found, NoEstimate)
    assert "networks that consist of dot products of int8; found 0" in found.reason
    found = estimate(ClassCounts(load_store=5), 1_000_000, profile, "litert", None, all_of())
    assert isinstance(found, NoEstimate)
    assert "among the instructions, found none" in found.reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cpu": "cortex-a76"}, "here are 2 multiply-adds of floats started per cycle, there 0.25 to 1"),
        ({"memcpy_gb_per_s": 5.3}, "here are 5.3 GB/s of memcpy, there 1 to 2.2"),
        ({"memcpy_gb_per_s": None}, "expected clock_mhz and memcpy_gb_per_s in the profile raspberry-pi-4b"),
        ({"clock_mhz": None}, "expected clock_mhz and memcpy_gb_per_s in the profile raspberry-pi-4b, found None"),
        ({"cpu": None}, "found 0"),
        ({"cpu": "cortex-x9"}, "found 0"),
    ],
)
def test_a_device_unlike_the_boards_is_not_estimated(profile, change, reason):
    found = ask(replace(profile, **change), all_of())
    assert isinstance(found, NoEstimate)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (ClassCounts(fp_fma=200_000, load_store=100_000), "here are 0.3 million instructions, there 33 to 203"),
        (ClassCounts(fp_fma=900_000_000, load_store=400_000_000), "here are 1,300 million instructions"),
        (ClassCounts(fp_fma=20_000_000, other=60_000_000), "here are 25 percent of instructions that multiply"),
    ],
)
def test_a_network_unlike_those_published_is_not_estimated(profile, counts, reason):
    found = estimate(counts, 1_000_000, profile, "litert", None, all_of())
    assert isinstance(found, NoEstimate)
    assert reason in found.reason


@pytest.mark.parametrize(("scale", "kind"), [(0.95, Estimate), (0.85, NoEstimate)])
def test_a_network_a_little_smaller_than_those_published_is_estimated(profile, scale, kind):
    counts = ClassCounts.of(round(scale * value) for value in SMALL.values())
    assert isinstance(estimate(counts, SIZES[SMALL], profile, "litert", None, all_of()), kind)


def test_the_order_of_execution_is_part_of_the_likeness(profile):
    references = [replace(one, cpu="cortex-a72") for one in all_of()]
    assert isinstance(ask(profile, references), Estimate)
    found = ask(replace(profile, cpu="cortex-a53"), references)
    assert isinstance(found, NoEstimate)
    assert "the core here executes in the order of the program, and those there do not" in found.reason


def test_boards_with_a_core_that_nothing_is_known_of_are_compared_with_their_like(profile):
    references = [replace(one, cpu="cortex-x9") for one in all_of()]
    found = ask(replace(profile, cpu="cortex-x9"), [*references, *all_of(factor=9.0)])
    assert isinstance(found, Estimate)
    assert len(found.boards) == 3
    assert found.high_ms < 9 * latency("c", SMALL)


def test_one_network_says_nothing_of_others(profile):
    found = ask(profile, [replace(one, model="mobilenet-v3-large") for one in all_of()])
    assert isinstance(found, NoEstimate)
    assert "at least 2 networks, found mobilenet-v3 alone" in found.reason
    sizes = [replace(one, model=f"mobilenet-v3-{one.model}") for one in all_of()]
    assert isinstance(ask(profile, sizes), NoEstimate)


def test_boards_without_bandwidth_are_named(profile):
    found = ask(profile, [*all_of("ab"), *all_of("c", memcpy_gb_per_s=None)])
    assert isinstance(found, NoEstimate)
    assert "of c the bandwidth is not known" in found.reason


def test_tflite_runtime_is_not_xnnpack():
    """The profile ships nothing but tflite-runtime, whose wheel has no XNNPACK."""
    found = ask(load_profile("raspberry-pi-2b"), all_of())
    assert isinstance(found, NoEstimate)
    assert "latencies of litert with several threads" in found.reason


def test_one_answer_for_each_thread_count(profile):
    references = [*all_of(), *all_of("ab", threads=1), *all_of(threads=4)]
    found = estimates(SMALL, SIZES[SMALL], profile, "litert", references)
    assert [(type(one), one.threads) for one in found] == [(NoEstimate, 1), (Estimate, 4), (Estimate, None)]
    (none,) = estimates(SMALL, SIZES[SMALL], profile, "onnxruntime", references)
    assert isinstance(none, NoEstimate)
    assert none.threads == profile.threads


SHIPPED_BOARDS = ("raspberry-pi-2b", "raspberry-pi-3b-plus", "raspberry-pi-4b")


def test_the_shipped_references_bear_an_estimate(profile):
    references = calibration_references()
    published = [one for one in references if one.runtime == "xnnpack" and one.threads is None]
    assert {one.board for one in published} == set(SHIPPED_BOARDS)
    assert len(published) == 18
    for one in published:
        found = estimate(one.counts, one.file_bytes, profile, "litert", None, references)
        assert isinstance(found, Estimate)
        assert found.boards == SHIPPED_BOARDS
        # docs/results.md, "Estimates"
        assert found.leave_one_board_out_median == pytest.approx(0.098, abs=0.001)
        assert found.leave_one_board_out_max == pytest.approx(0.347, abs=0.001)
        assert found.high_ms / found.value_ms == pytest.approx(2.23, abs=0.01)
        assert found.value_ms / found.low_ms == pytest.approx(2.23, abs=0.01)


def test_no_shipped_reference_is_of_an_unknown_network_or_without_a_source():
    for one in calibration_references():
        assert one.model in {"mobilenet-v1", "mobilenet-v2", "mobilenet-v3-large", "mobilenet-v3-small"}
        assert one.precision in {"fp32", "int8"}
        assert one.counts.total > 20_000_000
        assert len(one.source) > 20


INSTRUCTIONS = """
[[references]]
model = "own-network"
runtime = "onnxruntime"
threads = 1
latency_ms = 12.5
source = "measured in the hall: edgeml bench --on ssh://gateway"
file_bytes = 1_234_567
instructions = { fp_fma = 20_000_000, load_store = 9_000_000 }
"""


def project_with(tmp_path, text):
    folder = tmp_path / "devices"
    folder.mkdir()
    shipped = profile_file("raspberry-pi-4b").read_text(encoding="utf-8").partition("\n[[references]]")[0]
    (folder / "gateway.toml").write_text(shipped.replace('"raspberry-pi-4b"', '"gateway"') + text, encoding="utf-8")
    return tmp_path


def test_a_profile_of_ones_own_brings_a_reference_with_its_instructions(tmp_path):
    project = project_with(tmp_path, INSTRUCTIONS)
    (own,) = [one for one in calibration_references(project) if one.board == "gateway"]
    assert own.counts == ClassCounts(fp_fma=20_000_000, load_store=9_000_000)
    assert (own.file_bytes, own.runtime, own.threads, own.latency_ms) == (1_234_567, "onnxruntime", 1, 12.5)


def test_a_reference_to_a_counted_network_needs_no_instructions(tmp_path):
    text = (
        INSTRUCTIONS.partition("file_bytes")[0].replace("own-network", "mobilenet-v1").replace("onnxruntime", "litert")
    )
    project = project_with(tmp_path, text + 'precision = "int8"\n')
    (own,) = [one for one in calibration_references(project) if one.board == "gateway"]
    assert own.counts.widening_multiply > 70_000_000


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("file_bytes = 1_234_567\n", "", r"references\[0\]\.file_bytes: expected an integer"),
        ("instructions = { fp_fma = 20_000_000, load_store = 9_000_000 }\n", "", r"references\[0\]\.instructions"),
        (
            "fp_fma = 20_000_000, load_store = 9_000_000",
            "",
            r"instructions: expected a count of at least one of fp_fma",
        ),
        ("fp_fma", "fma", r"instructions\.fma: expected one of .*fp_fma"),
        ("= 20_000_000", "= -5", r"instructions\.fp_fma: expected an integer"),
    ],
)
def test_broken_instructions_are_refused(tmp_path, old, new, fault):
    project = project_with(tmp_path, INSTRUCTIONS.replace(old, new))
    with pytest.raises(ProjectError, match=fault):
        calibration_references(project)
