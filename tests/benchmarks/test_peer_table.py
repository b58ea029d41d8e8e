"""The verdict on our path beside other tools', from given times."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def peer_table():
    path = Path(__file__).parents[2] / "benchmarks" / "peer_table.py"
    spec = importlib.util.spec_from_file_location("peer_table", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["peer_table"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["peer_table"]


@pytest.fixture
def cell(peer_table):
    """A cell whose sides took the given times in each of two loads."""

    def make(*, ours, bare, full=None, sound=False):
        def rounds(times):
            return {name: peer_table.Rounds(loads=((us, us, us), (us, us, us))) for name, us in times.items()}

        return peer_table.Cell(
            network="net",
            precision="int8",
            sound=sound,
            bare=rounds(bare),
            full=rounds(full or bare),
            ours=rounds(ours),
            missing={"ncnn": "no tools"},
        )

    return make


@pytest.mark.parametrize(("ours_us", "reached"), [(111.0, True), (111.1, False), (90.0, True)])
def test_the_bar_is_a_share_of_the_best_peer_and_six_microseconds(cell, ours_us, reached):
    found = cell(ours={"onnx": 200.0, "tflite": ours_us}, bare={"LiteRT": 100.0, "OpenVINO": 150.0})
    assert found.limit_us == pytest.approx(111.0)
    assert (found.best_ours, found.best_peer, found.reached) == ("tflite", "LiteRT", reached)


def test_sound_is_compared_with_the_peers_whole_path(cell):
    times = {"ours": {"onnx": 100.0}, "bare": {"LiteRT": 50.0, "ncnn": 70.0}, "full": {"LiteRT": 130.0, "ncnn": 120.0}}
    assert cell(**times, sound=True).best_peer == "ncnn"
    assert cell(**times, sound=True).reached
    assert not cell(**times).reached


def test_the_ratio_is_that_of_medians_and_its_spread_that_of_loads(peer_table):
    ours = peer_table.Rounds(loads=((10.0, 11.0, 90.0), (12.0, 12.0, 12.0), (9.0, 9.0, 9.0)))
    peer = peer_table.Rounds(loads=((10.0, 10.0, 10.0),) * 3)
    found = peer_table.Cell(
        network="net",
        precision="fp32",
        sound=False,
        bare={"LiteRT": peer},
        full={"LiteRT": peer},
        ours={"onnx": ours},
        missing={},
    )
    assert (found.ratio, found.spread) == (pytest.approx(1.1), (pytest.approx(0.9), pytest.approx(1.2)))


def test_through_json_and_into_the_table(peer_table, cell):
    found = cell(ours={"onnx": 120.0}, bare={"LiteRT": 100.0})
    again = peer_table.Cell.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found
    head, _, row, _, reason = peer_table.table([again]).splitlines()
    assert [len(line.split(" | ")) for line in (head, row)] == [13, 13]
    assert "**100.0** / 100.0" in row
    assert "| 1.20 | 1.20 – 1.20 | 111.0 | **missed** |" in row
    assert reason == "- ncnn, int8: no tools"
