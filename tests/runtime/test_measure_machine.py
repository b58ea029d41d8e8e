"""Probing a machine, on simulated /proc and /sys trees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeml_runtime.machine import Machine, probe_machine

# As real boards print them; serial numbers left out.
PI_4 = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

Revision\t: c03111
Model\t\t: Raspberry Pi 4 Model B Rev 1.1
"""
BIG_LITTLE = "".join(
    f"processor\t: {number}\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n"
    for number, part in enumerate(["0xd05", "0xd05", "0xd0b", "0xfff"])
)
X86 = "".join(
    f"processor\t: {number}\nmodel name\t: Intel(R) N100\ncpu MHz\t\t: {clock}\n\n"
    for number, clock in enumerate(["806.500", "3391.000"])
)


@pytest.fixture
def system(tmp_path):
    """Writes files below a root folder and returns it."""

    def write(files):
        for name, text in {"proc/meminfo": "MemTotal:        4000000 kB\n", **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path

    return write


def probe(root, **given):
    return probe_machine(root=root, **{"arch": "aarch64", "affinity": {0, 1, 2, 3}, "isa": {"asimd"}, **given})


def test_a_board_is_named_by_core_type_and_device_tree(system):
    root = system(
        {
            "proc/cpuinfo": PI_4,
            "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.1\0",
            "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1500000\n",
        }
    )
    assert probe(root) == Machine(
        arch="aarch64",
        cpu="cortex-a72",
        board="Raspberry Pi 4 Model B Rev 1.1",
        cores=4,
        isa=("asimd",),
        memory_bytes=4_096_000_000,
        clock_mhz=1500.0,
    )


def test_the_board_name_of_cpuinfo_serves_where_there_is_no_device_tree(system):
    assert probe(system({"proc/cpuinfo": PI_4})).board == "Raspberry Pi 4 Model B Rev 1.1"


def test_unlike_cores_are_all_named_and_unknown_parts_keep_their_number(system):
    assert probe(system({"proc/cpuinfo": BIG_LITTLE})).cpu == "cortex-a55+cortex-a76+arm-0xfff"


def test_x86_has_a_model_name_and_the_highest_clock_stated(system):
    machine = probe(system({"proc/cpuinfo": X86}), arch="AMD64", isa={"fma", "avx2"})
    assert (machine.arch, machine.cpu, machine.board) == ("x86_64", "Intel(R) N100", None)
    assert (machine.clock_mhz, machine.isa) == (3391.0, ("avx2", "fma"))


def test_a_system_that_says_nothing_is_still_a_machine(system):
    machine = probe(system({}))
    assert machine.clock_mhz is None
    assert machine.cores == 4


V1 = "9:name=systemd:/\n4:memory:/pods/one\n2:cpu,cpuacct:/pods/one\n"
CGROUPS = [
    # id, files, memory, cores
    ("version 2", {"proc/self/cgroup": "0::/box\n", "sys/fs/cgroup/box/memory.max": "512000000\n"}, 512_000_000, 4),
    (
        "version 2, no limit",
        {"proc/self/cgroup": "0::/box\n", "sys/fs/cgroup/box/memory.max": "max\n"},
        4_096_000_000,
        4,
    ),
    (
        "version 2, the parent is tighter",
        {
            "proc/self/cgroup": "0::/outer/inner\n",
            "sys/fs/cgroup/outer/memory.max": "300000000\n",
            "sys/fs/cgroup/outer/inner/memory.max": "900000000\n",
        },
        300_000_000,
        4,
    ),
    (
        "version 2, processor time",
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"},
        4_096_000_000,
        2,
    ),
    (
        "version 2, part of a core",
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"},
        4_096_000_000,
        1,
    ),
    (
        "version 1",
        {"proc/self/cgroup": V1, "sys/fs/cgroup/memory/pods/memory.limit_in_bytes": "700000000\n"},
        700_000_000,
        4,
    ),
    (
        "version 1, unlimited is a huge number",
        {"proc/self/cgroup": V1, "sys/fs/cgroup/memory/pods/one/memory.limit_in_bytes": "9223372036854771712\n"},
        4_096_000_000,
        4,
    ),
    (
        "version 1, processor time",
        {
            "proc/self/cgroup": V1,
            "sys/fs/cgroup/cpu,cpuacct/pods/one/cpu.cfs_quota_us": "300000\n",
            "sys/fs/cgroup/cpu,cpuacct/pods/one/cpu.cfs_period_us": "100000\n",
        },
        4_096_000_000,
        3,
    ),
    (
        "version 1, no quota",
        {
            "proc/self/cgroup": V1,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
        4_096_000_000,
        4,
    ),
]


@pytest.mark.parametrize(
    ("files", "memory", "cores"), [case[1:] for case in CGROUPS], ids=[case[0] for case in CGROUPS]
)
def test_limits_of_control_groups_count(system, files, memory, cores):
    machine = probe(system(files))
    assert (machine.memory_bytes, machine.cores) == (memory, cores)


def test_affinity_counts(system):
    assert probe(system({}), affinity={5}).cores == 1


def test_this_machine_can_be_probed_and_goes_through_json():
    machine = probe_machine()
    assert machine.cores >= 1
    assert machine.memory_bytes > 1_000_000
    assert Machine.from_dict(json.loads(json.dumps(machine.to_dict()))) == machine


def test_a_missing_root_is_survived():
    assert probe(Path("/nonexistent")).memory_bytes > 0
