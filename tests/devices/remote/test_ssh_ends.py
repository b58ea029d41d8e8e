"""However a bench over ssh ends, nothing is left on the device, and what was measured before is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from edgeml_devices.bench import bench
from edgeml_devices.remote import SshLimits
from edgeml_devices.remote.channel import LOST_AFTER_S
from edgeml_runtime.errors import TargetError

LONG = {"seconds": 600.0, "starts": 1}

DRIVER = """
import sys
from pathlib import Path
from edgeml_devices.bench import bench
from edgeml_devices.remote import SshTarget, parse_target

name, config, model = sys.argv[1:]
with SshTarget(parse_target(name), config=Path(config)) as target:
    bench(model, target=target, seconds=600.0, starts=1)
"""

# A round of a model as small as this one ends after 1000 calls, so a batch would be over within seconds.
HOLD = """
import sys, time
from pathlib import Path

if "latency" in sys.orig_argv:
    held = Path({held!r})
    held.touch()
    while held.exists():
        time.sleep(0.02)
"""


@pytest.fixture
def modules(tmp_path):
    """A folder in which the device's Python looks for modules."""
    folder = tmp_path / "modules"
    folder.mkdir()
    return folder


@pytest.fixture
def server(start_server, modules):
    return start_server(environment={"PYTHONPATH": modules})


@pytest.fixture
def driver(server, modules, tmp_path, make_bundle, device_python):
    """A bench in a process of its own, which times the model from before the test until after it."""
    held = tmp_path / "held"
    (modules / "sitecustomize.py").write_text(HOLD.format(held=str(held)), encoding="utf-8")
    words = [server.name(device_python), str(server.config), str(make_bundle())]
    with subprocess.Popen(
        [sys.executable, "-P", "-c", DRIVER, *words], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            wait_for(held)
            yield process
        finally:
            process.kill()
    held.unlink()


def wait_for(path):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"there is no {path}"
        time.sleep(0.02)


class TestTheDriver:
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    def test_is_ended(self, server, driver, number):
        driver.send_signal(number)
        driver.wait(60)
        server.assert_nothing_is_left()

    def test_falls_silent(self, server, driver):
        """A device behind a connection that is neither alive nor closed."""
        (agent, _) = server.agents()
        os.kill(agent, signal.SIGALRM)  # as a minute without a sign of life
        driver.wait(60)
        assert "the connection was lost" in driver.stderr.read()
        server.assert_nothing_is_left()


def test_signs_of_life_keep_the_device_waiting_and_their_absence_does_not(server, device_python):
    beating = SshLimits(beat_s=0.3, lost_after_s=2)
    with server.target(device_python, limits=beating) as target:
        target.probe()
        time.sleep(3)
        target.probe()
    silent = SshLimits(beat_s=600, lost_after_s=1)
    with server.target(device_python, limits=silent) as target:
        target.probe()
        begun = time.monotonic()
        server.assert_nothing_is_left()
        assert time.monotonic() - begun < LOST_AFTER_S / 2
        with pytest.raises(TargetError, match="the connection was lost"):
            target.probe()


class TestTheDevice:
    def test_loses_the_connection(self, server, driver):
        for pid in server.connections():
            os.kill(pid, signal.SIGKILL)
        driver.wait(60)
        assert "the connection was lost" in driver.stderr.read()
        server.assert_nothing_is_left()

    def test_kills_the_agent(self, server, driver):
        os.kill(server.agents()[0], signal.SIGKILL)
        driver.wait(60)
        assert "the connection was lost" in driver.stderr.read()
        server.assert_nothing_is_left()

    def test_kills_the_janitor(self, server, driver):
        os.kill(server.agents()[1], signal.SIGKILL)
        driver.send_signal(signal.SIGINT)
        driver.wait(60)
        server.assert_nothing_is_left()

    def test_kills_everything_and_the_next_bench_cleans_up(self, server, driver, device_python):
        for pid in [*server.agents(), *server.measuring()]:
            os.kill(pid, signal.SIGKILL)
        driver.wait(60)
        (left,) = server.temporary.iterdir()
        with server.target(device_python) as target:
            target.probe()
            assert left.exists()  # as young as this, it might belong to a bench that is about to begin
        os.utime(left, (0, 0))
        with server.target(device_python) as target:
            target.probe()
            assert not left.exists()
        server.assert_nothing_is_left()

    def test_a_bench_beside_it_is_not_taken_for_a_dead_one(self, server, driver, device_python):
        (busy,) = server.temporary.iterdir()
        os.utime(busy, (0, 0))
        with server.target(device_python) as target:
            target.probe()
        assert busy.exists()
        assert len(server.measuring()) >= 2


def test_what_was_measured_before_the_connection_was_lost_is_kept(make_bundle, server, device_python):
    path = make_bundle({"host": {"latency_ms_p50": 10_000.0}})

    def cut(event):
        if event.step == "measure" and event.done == 2:
            for pid in server.connections():
                os.kill(pid, signal.SIGKILL)

    with server.target(device_python) as target:
        report = bench(path, target=target, seconds=0.5, starts=5, progress=cut)
    assert "the connection was lost" in report.lost
    assert (report.exit_code, report.to_dict()["lost"]) == (3, report.lost)
    (variant,) = report.variants
    assert (variant.processes, variant.reason) == (2, None)
    assert variant.latency.n > 0
    server.assert_nothing_is_left()


def test_a_connection_lost_before_anything_was_measured(make_bundle, server, device_python):
    def cut(event):
        for pid in server.connections():
            os.kill(pid, signal.SIGKILL)

    with server.target(device_python) as target, pytest.raises(TargetError, match="the connection was lost"):
        bench(make_bundle(), target=target, **LONG, progress=cut)
    server.assert_nothing_is_left()


def test_a_measuring_process_that_hangs_is_killed_there(server, device_python, make_bundle):
    with server.target(device_python) as target:
        target.probe()
        answer = target._run(["-c", "import time; time.sleep(600)"], 1.0)
        assert (answer["expired"], answer["status"]) == (True, -signal.SIGKILL)
        assert server.measuring() == []
    server.assert_nothing_is_left()


def test_what_a_measuring_process_started_ends_with_it(server, device_python):
    sleeper = "[sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True, stdout=none, stderr=none"
    started = f"import subprocess, sys; none = subprocess.DEVNULL; subprocess.Popen({sleeper})"
    with server.target(device_python) as target:
        target.probe()
        target._run(["-c", started], 60.0)
        assert len(server.measuring()) == 1
    server.assert_nothing_is_left()
