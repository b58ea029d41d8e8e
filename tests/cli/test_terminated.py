"""A command that is terminated ends as one that is interrupted: with what it started."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

from edgeml_cli.terminated import interrupted_by_sigterm

BUNDLE = Path(__file__).resolve().parents[2] / "benchmarks" / "emulated" / "sensor-table.edgeml"
BENCH = "import sys; from edgeml_cli.main import main; sys.exit(main(sys.argv[1:]))"


def test_a_bench_that_is_terminated_says_so_and_leaves_no_process():
    command = [sys.executable, "-c", BENCH, "bench", str(BUNDLE), "--sustained", "1", "--variant", "tflite-int8"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline()  # its progress: it runs
        process.send_signal(signal.SIGTERM)
        # Whoever measures for it holds the same pipes: this ends when the last of them has ended.
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted; nothing half-written is left" in said


def test_the_earlier_handling_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    assert interrupted_by_sigterm(lambda: signal.getsignal(signal.SIGTERM))() is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_than_the_main_one_runs_it_as_it_is():
    found = []
    thread = threading.Thread(target=interrupted_by_sigterm(lambda: found.append(signal.getsignal(signal.SIGTERM))))
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]
