"""A recommendation for a device over ssh, against a real server on loopback."""

from __future__ import annotations

import pytest

from edgeml_devices.picking import recommend
from edgeml_devices.recommendation import store
from edgeml_runtime.tuned_store import read_choice


@pytest.mark.long
def test_every_way_is_tried_there_and_nothing_is_left(make_bundle, server, device_python, tmp_path):
    path = make_bundle()
    with server.target(device_python) as target:
        found = recommend(path, target=target, threads=1, seconds=0.3, time_limit_s=0.1)
    server.assert_nothing_is_left()
    rows = {row.candidate.choice.backend: row for row in found.decision.rows}
    assert set(rows) == {"onnxruntime", "openvino"}
    assert "not installed" in rows["openvino"].reason
    assert found.decision.chosen.choice.backend == "onnxruntime"
    assert found.situation.backends["openvino"] is None
    store(found, str(tmp_path / "choice.json"))
    assert read_choice(str(tmp_path / "choice.json"), found.situation) == found.decision.chosen.choice
