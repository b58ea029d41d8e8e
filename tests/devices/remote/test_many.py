"""Several targets at once, and ``edgeml bench --on``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from edgeml_cli.main import main
from edgeml_devices.bench import bench
from edgeml_devices.remote import bench_targets
from edgeml_runtime.errors import InputError, TargetError

SHORT = {"seconds": 0.2, "starts": 5, "time_limit_s": 0.1}


@pytest.fixture
def run(make_bundle):
    """Benches a bundle on the given targets."""
    path = make_bundle({"host": {"latency_ms_p50": 10_000.0, "bundle_mb": 1.0}})

    def start(names, config, progress=lambda event: None, **options):
        def one(target, progress):
            return bench(path, target=target, progress=progress, **SHORT, **options)

        return bench_targets(path, names, one, config=config, progress=progress)

    return start


def test_this_machine_and_a_device_at_once_are_one_report(run, server, device_python):
    events = []
    report = run(["local", server.name(device_python)], server.config, events.append)
    server.assert_nothing_is_left()
    names = ["local", f"ssh://127.0.0.1:{server.port}"]
    assert [one.target for one in report.targets] == names
    assert [one.report.variants[0].reason for one in report.targets] == [None, None]
    assert [(one.lost, one.left) for one in report.targets] == [(None, ())] * 2
    assert {event.message.split()[0] for event in events} == set(names)
    answer = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert [one["target"] for one in answer["targets"]] == names
    assert report.exit_code == max(one.report.exit_code for one in report.targets)


def test_a_target_that_cannot_be_reached_takes_nothing_from_the_others(run, server, start_server, device_python):
    other = start_server()
    other.stop()
    report = run([other.name(device_python), server.name(device_python)], server.config)
    dead, alive = report.targets
    assert (dead.report, report.exit_code) == (None, 3)
    assert "Connection refused" in dead.to_dict()["lost"]
    assert (alive.lost, alive.report.variants[0].reason) == (None, None)
    server.assert_nothing_is_left()


def test_the_only_target_that_cannot_be_reached_is_an_error(run, server):
    server.stop()
    with pytest.raises(TargetError, match="Connection refused"):
        run([server.name("")], server.config)


WRONG = [
    (["ssh://a", "ssh://a/opt/python"], {}, "ssh://a is named twice"),
    (["local", "local"], {}, "local is named twice"),
    (["adb:"], {}, "unknown target 'adb:'"),
    ([], {}, "expected at least one target"),
    (["local"], {"variants": ["onnx-int4"]}, "no variant onnx-int4"),
]


@pytest.mark.parametrize(("names", "options", "message"), WRONG)
def test_wrong_use_is_refused(run, server, names, options, message):
    with pytest.raises(InputError, match=message):
        run(names, server.config, **options)


def test_an_interrupt_ends_every_bench_and_leaves_nothing(run, server, start_server, device_python):
    other = start_server(environment={"EDGEML_TEST_OTHER": "1"})
    own = signal.getsignal(signal.SIGINT)

    def interrupt():
        while not (server.measuring() and other.measuring()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    names = [server.name(device_python), f"ssh://localhost:{other.port}{device_python}"]
    config = server.configure("both", more=f"Host localhost\nIdentityFile {other.folder}/user_key\n")
    known = other.folder / "known_hosts"
    known.write_text(known.read_text().replace("127.0.0.1", "localhost"), encoding="ascii")
    both = server.folder / "known_hosts"
    both.write_text(both.read_text() + known.read_text(), encoding="ascii")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            bench_targets("", names, lambda target, progress: endless(target), config=config)
    finally:
        signal.signal(signal.SIGINT, own)
    server.assert_nothing_is_left()
    other.assert_nothing_is_left()


def endless(target):
    target.probe()
    return target._run(["-c", "import time; time.sleep(600)"], 600.0)


class TestTheCommand:
    def test_answers_for_one_target_as_for_this_machine(self, make_bundle, server, device_python, capfd):
        words = ["bench", str(make_bundle()), "--on", server.name(device_python), "--ssh-config", str(server.config)]
        code = main([*words, "--seconds", "0.2", "--time-limit", "0.1", "--json"])
        answer = json.loads(capfd.readouterr().out)
        assert (code, answer["lost"], answer["left"]) == (0, None, [])
        assert answer["target"] == f"ssh://127.0.0.1:{server.port}"
        assert answer["variants"][0]["latency_ms"]["p50"] > 0
        server.assert_nothing_is_left()

    def test_shows_every_target(self, make_bundle, server, start_server, device_python, capfd):
        other = start_server()
        other.stop()
        words = ["bench", str(make_bundle()), "--ssh-config", str(server.config), "--seconds", "0.2"]
        targets = ["--on", server.name(device_python), "--on", other.name("")]
        code = main([*words, *targets, "--time-limit", "0.1"])
        text = capfd.readouterr().out
        assert code == 3
        assert f"target: ssh://127.0.0.1:{server.port}" in text
        assert "onnx-fp32" in text
        assert "lost: " in text

    def test_says_what_is_wrong_with_a_device(self, make_bundle, server, capfd):
        server.know("")
        words = ["bench", str(make_bundle()), "--on", server.name(""), "--ssh-config", str(server.config)]
        assert main(words) == 3
        assert "the host key is not known" in capfd.readouterr().err

    def test_does_not_compare_elsewhere(self, make_bundle, capfd):
        path = str(make_bundle())
        assert main(["bench", path, "--on", "ssh://nowhere", "--against", path]) == 2
        assert "leave --on out" in capfd.readouterr().err

    def test_ends_with_the_exit_code_of_an_interrupt(self, make_bundle, server, device_python):
        words = ["bench", make_bundle(), "--on", server.name(device_python), "--ssh-config", server.config]
        start = "import sys; from edgeml_cli.main import main; sys.exit(main(sys.argv[1:]))"
        with subprocess.Popen(
            [sys.executable, "-P", "-c", start, *words, "--seconds", "600"], stderr=subprocess.DEVNULL
        ) as process:
            deadline = time.monotonic() + 60
            while len(server.measuring()) < 2 and time.monotonic() < deadline:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        server.assert_nothing_is_left()
