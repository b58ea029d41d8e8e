"""The model behind estimates: what it finds in planted latencies."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from edgeml_devices.emulator.classes import ClassCounts
from edgeml_devices.estimate_model import CORES, Board, Sample, fit, left_out, predict, roofline_terms

BOARDS = (
    Board(name="old", clock_mhz=900, core=CORES["cortex-a7"], memcpy_gb_per_s=1.0),
    Board(name="middle", clock_mhz=1400, core=CORES["cortex-a53"], memcpy_gb_per_s=1.1),
    Board(name="new", clock_mhz=1500, core=CORES["cortex-a72"], memcpy_gb_per_s=2.2),
    Board(name="newest", clock_mhz=2400, core=CORES["cortex-a76"], memcpy_gb_per_s=5.5),
)
NETWORKS = (
    (ClassCounts(fp_fma=143_000_000, load_store=50_000_000, other=13_000_000), 17_000_000),
    (ClassCounts(fp_fma=76_000_000, load_store=30_000_000, other=14_000_000), 14_000_000),
    (ClassCounts(widening_multiply=74_000_000, load_store=36_000_000, other=61_000_000), 4_500_000),
    (ClassCounts(int8_dot=19_000_000, load_store=20_000_000, other=9_000_000), 4_500_000),
)


def planted(coefficients, noise=0.0):
    rng = np.random.default_rng(0)
    samples = []
    for board, (number, (counts, size)) in itertools.product(BOARDS, enumerate(NETWORKS)):
        sample = Sample(board=board, network=str(number), counts=counts, file_bytes=size)
        latency = predict(coefficients, sample) * float(np.exp(noise * rng.standard_normal()))
        samples.append(replace(sample, latency_ms=latency))
    return samples


def test_the_terms_are_products_by_width_and_clock_and_bytes_by_bandwidth():
    counts = ClassCounts(fp_fma=9_000, widening_multiply=18_000, load_store=5, branch=5, other=5)
    sample = Sample(board=BOARDS[0], network="", counts=counts, file_bytes=3_000_000)
    # 9,000 at a quarter and 18,000 at a half per cycle of 900 MHz; 3 MB at 1 GB/s.
    assert roofline_terms(sample) == pytest.approx((0.08, 3.0))


@pytest.mark.parametrize("coefficients", [(1.3, 4.5), (0.4, 0.0), (0.0, 3.0)])
def test_planted_coefficients_are_found(coefficients):
    assert fit(planted(coefficients)) == pytest.approx(coefficients, abs=1e-9)


def test_planted_coefficients_are_found_in_noise():
    assert fit(planted((1.3, 4.5), noise=0.05)) == pytest.approx((1.3, 4.5), rel=0.1)


def test_no_coefficient_is_negative_where_unbounded_least_squares_would_make_one():
    samples = planted((1.3, -0.5))
    relative = np.array([roofline_terms(one) for one in samples]) / [[one.latency_ms] for one in samples]
    unbounded = np.linalg.lstsq(relative, np.ones(len(samples)), rcond=None)[0]
    assert unbounded == pytest.approx([1.3, -0.5])
    found = fit(samples)
    assert found[1] == 0
    least = np.square(relative[:, 0] * found[0] - 1).sum()
    assert all(np.square(relative[:, 0] * found[0] * scale - 1).sum() > least for scale in (0.99, 1.01))


def test_every_figure_counts_by_its_relative_error():
    """A network a thousand times larger weighs no more than the others."""
    samples = planted((1.0, 2.0))
    counts, size = NETWORKS[0]
    large = ClassCounts.of(1000 * value for value in counts.values())
    wrong = Sample(board=BOARDS[1], network="large", counts=large, file_bytes=1000 * size)
    wrong = replace(wrong, latency_ms=1.1 * predict((1.0, 2.0), wrong))
    assert fit([*samples, wrong]) == pytest.approx((1.0, 2.0), rel=0.03)


def test_left_out_boards_of_a_true_model_are_estimated_exactly():
    assert left_out(planted((1.3, 4.5))) == pytest.approx([1.0] * 16)


def test_a_left_out_board_has_no_part_in_its_own_estimate():
    samples = planted((1.3, 4.5))
    slower = [replace(one, latency_ms=2 * one.latency_ms) if one.board.name == "new" else one for one in samples]
    ratios = left_out(slower)
    for sample, ratio in zip(slower, ratios, strict=True):
        if sample.board.name == "new":
            assert ratio == pytest.approx(0.5)
        else:
            assert ratio > 1.01


def test_a_left_out_network_has_no_part_in_its_own_estimate_on_any_board():
    samples = planted((1.3, 4.5))
    slower = [replace(one, latency_ms=2 * one.latency_ms) if one.network == "1" else one for one in samples]
    ratios = left_out(slower, networks=True)
    assert [ratio for one, ratio in zip(slower, ratios, strict=True) if one.network == "1"] == pytest.approx([0.5] * 4)


def test_what_leaves_no_others_is_missing():
    (first, second, *_), third = planted((1.3, 4.5)), planted((1.3, 4.5))[4]
    assert (first.board, first.network) == (second.board, "0")
    assert (third.board.name, third.network) == ("middle", "0")
    assert len(left_out([first, second, third])) == 3
    assert left_out([first, second, third], networks=True) == pytest.approx([1.0, 1.0], rel=1)
