"""Names of adb targets, what the adb client's messages mean, and what the shell of a device says about it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edgeml_devices.host import match
from edgeml_devices.profile_files import load_profile
from edgeml_devices.remote import AdbAddress, AdbLimits, parse_target
from edgeml_devices.remote.adb import AdbLink, adb_words, parse_devices
from edgeml_devices.remote.look import MACHINE_SCRIPT, conditions_of, machine_of, share_of_others
from edgeml_runtime.errors import InputError

NAMES = [
    ("adb://0a388e93", AdbAddress(serial="0a388e93")),
    ("adb://0a388e93/", AdbAddress(serial="0a388e93")),
    ("adb://192.168.0.9:5555", AdbAddress(serial="192.168.0.9:5555")),
    ("adb://adb-X1-a._adb-tls-connect._tcp", AdbAddress(serial="adb-X1-a._adb-tls-connect._tcp")),
    ("adb://ab/opt/my%20venv/bin/python", AdbAddress(serial="ab", python="/opt/my venv/bin/python")),
]


@pytest.mark.parametrize(("text", "address"), NAMES)
def test_a_name_is_read_and_written(text, address):
    assert parse_target(text) == address
    assert parse_target(str(address)) == AdbAddress(serial=address.serial)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adb://", "`adb devices` lists the serials"),
        ("adb:///usr/bin/python3", "`adb devices` lists the serials"),
        ("adb:0a388e93", "unknown target"),
        ("adb://-s", "must not begin with -"),
        ("adb://a b", "hold spaces"),
        ("adb://a/~/venv/bin/python", "the path must begin at /"),
    ],
)
def test_what_is_no_name_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_target(text)


DEVICES = """* daemon not running; starting now at tcp:5037
* daemon started successfully
List of devices attached
0a388e93\tdevice
emulator-5554\toffline
99\tno permissions (user in plugdev group; are your udev rules wrong?); see [http://developer.android.com]

"""


def test_the_devices_are_read():
    found = parse_devices(DEVICES)
    assert list(found) == ["0a388e93", "emulator-5554", "99"]
    assert (found["0a388e93"], found["emulator-5554"]) == ("device", "offline")
    assert found["99"].startswith("no permissions")


ENDS = [
    (0, "", True, "the connection was lost (no message)"),
    (0, "", False, "the connection was lost (no message)"),
    (None, "no sign of life for 60 s\n", True, "the connection was lost (no sign of life for 60 s)"),
    (1, "error: device offline\n", False, "cannot be reached (error: device offline)"),
    (127, "/system/bin/sh: python3: inaccessible or not found\n", False, "there is no python3 (/system/bin/sh"),
    (126, "sh: python3: can't execute: Permission denied\n", False, "adb://ab/path/of/python; --runner PATH"),
    (1, "boom\n", False, "python3 did not start, status 1 (boom)"),
]


@pytest.mark.parametrize(("status", "messages", "ran", "text"), ENDS)
def test_an_end_is_explained(status, messages, ran, text):
    found = AdbLink(AdbAddress(serial="ab"), limits=AdbLimits()).explain_end(status, messages, python_ran=ran)
    assert found.startswith("adb://ab: ")
    assert text in found


def test_the_serial_is_one_word():
    assert adb_words("a;b", "shell", "x") == ["adb", "-s", "a;b", "shell", "x"]


CPU = """processor\t: {number}
BogoMIPS\t: 38.40
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x2
CPU part\t: {part}

"""
PARTS = ["0xd05"] * 4 + ["0xd41"] * 3 + ["0xd44"]
CPUINFO = "".join(CPU.format(number=number, part=part) for number, part in enumerate(PARTS))
PHONE = f"""edgeml-file /proc/cpuinfo
{CPUINFO}Hardware\t: Qualcomm Technologies, Inc SM8350

edgeml-file /proc/meminfo
MemTotal:        7630560 kB
MemFree:          215888 kB

edgeml-file /sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq
1804800

edgeml-file /sys/devices/system/cpu/cpu7/cpufreq/cpuinfo_max_freq
2841600

edgeml-answer arch aarch64
edgeml-answer cpus Cpus_allowed_list:\t0-7
edgeml-answer count 8
edgeml-answer board Example Phone 9
"""


class TestTheMachine:
    def test_a_phone_is_recognised(self):
        machine = machine_of(PHONE)
        assert (machine.arch, machine.cpu) == ("aarch64", "cortex-a55+cortex-a78+cortex-x1")
        assert (machine.cores, machine.memory_bytes, machine.clock_mhz) == (8, 7630560 * 1024, 2841.6)
        assert machine.board == "Example Phone 9"
        assert {"asimd", "dotprod", "fp16"} <= set(machine.isa)
        assert match(load_profile("snapdragon-888"), machine).ok

    @pytest.mark.parametrize(
        ("old", "new", "cores"),
        [
            ("\t0-7\n", "\t0-3,6\n", 5),
            ("Cpus_allowed_list:\t0-7", "", 8),  # then the number that nproc says
            ("Cpus_allowed_list:\t0-7", "Cpus_allowed_list:\twhatever", 8),
        ],
    )
    def test_the_cores_that_a_shell_may_use_count(self, old, new, cores):
        assert old in PHONE
        assert machine_of(PHONE.replace(old, new)).cores == cores

    def test_a_board_names_itself(self):
        model = "edgeml-file /proc/device-tree/model\nRaspberry Pi 5 Model B Rev 1.0\0\nedgeml-answer arch"
        assert machine_of(PHONE.replace("edgeml-answer arch", model)).board == "Raspberry Pi 5 Model B Rev 1.0"

    @pytest.mark.parametrize("missing", ["edgeml-answer arch aarch64", "MemTotal"])
    def test_what_a_shell_does_not_say_is_not_made_up(self, missing):
        assert machine_of(PHONE.replace(missing, "")) is None
        assert machine_of("") is None

    def test_files_outside_are_not_written(self, tmp_path):
        assert machine_of(PHONE + f"edgeml-file /../../../..{tmp_path}/x\nbad\n") is not None
        assert not (tmp_path / "x").exists()

    @pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="no Linux")
    def test_the_script_runs_here(self):
        done = subprocess.run(["/bin/sh", "-c", MACHINE_SCRIPT], capture_output=True, text=True, check=False)
        assert machine_of(done.stdout) is not None


def test_conditions_are_read():
    text = """edgeml-file /sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq
1804800

edgeml-file /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor
schedutil

edgeml-file /sys/class/thermal/thermal_zone0/temp
61500

edgeml-file /sys/class/thermal/cooling_device0/type
cpufreq-cpu0

edgeml-file /sys/class/thermal/cooling_device0/cur_state
2
"""
    found = conditions_of(text)
    assert (found.clock_mhz, found.temperature_c, found.throttled) == (1804.8, 61.5, True)
    assert (found.governor, found.other_share) == ("schedutil", None)
    assert conditions_of("").to_dict() == dict.fromkeys(found.to_dict())


def stat(uptime_s, ticks, own):
    return f"{uptime_s} 9.9\ncpu  1 1 1 1\n" + "".join(
        f"cpu{number} {each} 0 0 777 5 0 0 0 0 0\n" for number, each in enumerate(ticks)
    ) + f"intr 5\n0m9.00s 0m0.00s\n{own}\n"  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [
        (stat(10.0, [100, 200], "0m0.00s 0m0.00s"), stat(12.0, [300, 300], "0m1.50s 0m0.50s"), 0.25),
        (stat(10.0, [100], "0m0.00s 0m0.00s"), stat(71.0, [6200], "1m0.90s 0m0.10s"), 0.0),
        (stat(10.0, [100], "0m0.00s 0m0.00s"), stat(10.0, [100], "0m0.00s 0m0.00s"), None),
        (stat(10.0, [100], "0m0.00s 0m0.00s"), "cat: /proc/stat: Permission denied\n0m0.0s 0m0.0s\n", None),
        ("", "", None),
    ],
)
def test_what_others_took_is_the_rest(before, after, share):
    found = share_of_others(before, after)
    assert found == share if share is None else found == pytest.approx(share)
