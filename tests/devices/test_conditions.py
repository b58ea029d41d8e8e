"""The machine while it measures: simulated systems, and this one under a load of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from edgeml_devices.conditions import BUSY_SHARE, Conditions, Watch, calm, disturbance

QUIET, BUSY, HOT = Conditions(other_share=0.02), Conditions(other_share=0.5), Conditions(throttled=True)

DISTURBED = [
    ([], None),
    ([QUIET] * 6, None),
    ([QUIET] * 3 + [BUSY] * 3, None),
    ([QUIET] * 2 + [BUSY] * 4, "other work took 50% of the cores"),
    ([HOT] * 6, "the clock was held down by heat or voltage"),
    ([Conditions(other_share=0.3, throttled=True)] * 2, "30% of the cores and the clock was held down"),
    ([Conditions()] * 6, None),
    ([Conditions(other_share=BUSY_SHARE)] * 6, None),
    ([QUIET, QUIET, BUSY, BUSY, HOT], "throttled"),
]


@pytest.mark.parametrize(("conditions", "text"), DISTURBED)
def test_more_than_half_of_the_stretches_have_to_be_disturbed(conditions, text):
    found = disturbance(conditions)
    assert found is None if text is None else text in found or "held down" in found


def test_what_the_system_does_not_tell_disturbs_nothing():
    assert calm(Conditions())


def _files(root, content):
    for name, text in content.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    return root


def watched(root, after=None):
    with Watch(root) as watch:
        time.sleep(0.05)
        _files(root, after or {})
    return watch.conditions


def test_a_system_that_tells_nothing(tmp_path):
    assert watched(tmp_path) == Conditions()


def test_clock_temperature_and_governor(tmp_path):
    cpu = "sys/devices/system/cpu/cpu"
    root = _files(
        tmp_path,
        {
            f"{cpu}0/cpufreq/scaling_cur_freq": "1500000\n",
            f"{cpu}1/cpufreq/scaling_cur_freq": "600000\n",
            f"{cpu}0/cpufreq/scaling_governor": "schedutil\n",
            "sys/class/thermal/thermal_zone0/temp": "48200\n",
            "sys/class/thermal/thermal_zone1/temp": "61700\n",
        },
    )
    assert watched(root) == Conditions(clock_mhz=1050.0, temperature_c=61.7, governor="schedutil")


FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
COOLING = "sys/class/thermal/cooling_device0"
COUNT = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
THROTTLING = [
    ({FIRMWARE: "0"}, {}, False),
    ({FIRMWARE: "50000"}, {}, False),  # since the start of the board, not now
    ({FIRMWARE: "50005"}, {}, True),
    ({f"{COOLING}/type": "thermal-cpufreq-0", f"{COOLING}/cur_state": "0"}, {}, False),
    ({f"{COOLING}/type": "thermal-cpufreq-0", f"{COOLING}/cur_state": "2"}, {}, True),
    ({f"{COOLING}/type": "pwm-fan", f"{COOLING}/cur_state": "2"}, {}, None),
    ({COUNT: "7"}, {}, False),
    ({COUNT: "7"}, {COUNT: "8"}, True),
    ({FIRMWARE: "nonsense"}, {}, None),
]


@pytest.mark.parametrize(("before", "after", "throttled"), THROTTLING)
def test_throttling_is_what_happens_meanwhile(tmp_path, before, after, throttled):
    assert watched(_files(tmp_path, before), after).throttled is throttled


def _stat(busy_ticks):
    lines = [f"cpu{number} {busy_ticks} 0 0 1000 0 0 0 0 0 0" for number in sorted(os.sched_getaffinity(0))]
    return {"proc/stat": "\n".join(["cpu  1 1 1 1 1 1 1 1 1 1", *lines, "cpu9999 999999 0 0 0 0 0 0 0 0 0"])}


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux has /proc/stat")
def test_only_the_cores_this_process_may_use_count(tmp_path):
    root = _files(tmp_path, _stat(100))
    assert watched(root, _stat(100)).other_share == 0.0
    _files(tmp_path, _stat(100))
    assert watched(root, _stat(10_000)).other_share == 1.0


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux has /proc/stat")
def test_what_our_own_children_took_is_not_other_work(tmp_path):
    """A child computes for 0.6 s, and the simulated system says that one core was busy for as long."""
    spin = "import time\nwhile time.process_time() < 0.6: pass"
    first, *rest = (f"cpu{number} {{}} 0 0 1000 0 0 0 0 0 0" for number in sorted(os.sched_getaffinity(0)))
    idle = [line.format(100) for line in rest]
    before = {"proc/stat": "\n".join([first.format(100), *idle])}
    ticks = round(0.6 * os.sysconf("SC_CLK_TCK"))
    after = {"proc/stat": "\n".join([first.format(100 + ticks), *idle])}
    with Watch(_files(tmp_path, before)) as watch:
        begun = time.monotonic()
        subprocess.run([sys.executable, "-c", spin], check=True)
        _files(tmp_path, after)
        took_s = time.monotonic() - begun
    assert watch.conditions.other_share < 0.1 * 0.6 / (took_s * len(os.sched_getaffinity(0)))


SPIN = "import time\nend = time.monotonic() + 20\nwhile time.monotonic() < end: pass"


@pytest.mark.skipif(not os.path.exists("/proc/stat"), reason="Linux has /proc/stat")
def test_work_that_is_going_on_beside_is_other_work():
    with ExitStack() as stack:
        for _ in os.sched_getaffinity(0):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", SPIN]))
            stack.callback(process.kill)
        with Watch() as beside:
            time.sleep(0.8)
    assert beside.conditions.other_share > BUSY_SHARE
