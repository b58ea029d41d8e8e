"""The fixture ``edge_budget`` on a device over ssh."""

from __future__ import annotations

import shutil

import pytest

pytest_plugins = ["pytester"]


@pytest.mark.long
def test_a_test_judges_a_device_and_leaves_nothing_there(pytester, make_bundle, server, device_python):
    shutil.copy(make_bundle({"host": {"latency_ms_p95": 1000.0, "cold_start_ms": 60_000}}), pytester.path)
    pytester.makepyfile(
        "def test_first(edge_budget):\n"
        '    edge_budget("tiny-1.0.0.edgeml")\n'
        "def test_second(edge_budget):\n"
        '    edge_budget("tiny-1.0.0.edgeml", latency_ms_p50=1000)\n'
    )
    name = server.name(device_python)
    words = ("-p", "no:anyio", f"--edgeml-on={name}", f"--edgeml-ssh-config={server.config}", "--edgeml-threads=1")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", *words)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"host on {name}, measured"])
    server.assert_nothing_is_left()
