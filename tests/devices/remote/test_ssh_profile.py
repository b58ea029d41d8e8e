"""Profiling by operator on a device: its own profiler, its own ceilings, and nothing left there."""

from __future__ import annotations

import pytest

from edgeml_devices.bench import bench
from edgeml_devices.profiling import profile_bench

pytestmark = pytest.mark.long

SHORT = {"seconds": 0.3, "starts": 5, "time_limit_s": 0.1}


@pytest.mark.parametrize("threads", [1, 2])
def test_a_bundle_is_profiled_there(make_bundle, server, device_python, threads):
    with server.target(device_python) as target:
        report = bench(make_bundle(), target=target, threads=threads, **SHORT)
        found = profile_bench(report, target, seconds=0.05, rounds=1)
    server.assert_nothing_is_left()
    assert found.lost is None
    (profile,) = found.profiled.profiles
    assert (profile.reason, profile.threads, [row.type for row in profile.rows]) == (None, threads, ["Softmax"])
    assert found.profiled.roofline.threads == threads
    assert len(found.profiled.roofline.ceilings) == 4


def test_a_backend_that_is_missing_there_is_the_reason(
    model_file, server, numpy_python, make_bundle, simulate, measured, samples
):
    report = bench(make_bundle(), target=simulate("pc", measured("onnx-fp32", samples([1.0]))))
    with server.target(numpy_python) as target:
        found = profile_bench(report, target, seconds=0.05, rounds=1)
    (profile,) = found.profiled.profiles
    assert "needs the backend onnxruntime, which is not installed" in profile.reason
    assert found.profiled.roofline is None
