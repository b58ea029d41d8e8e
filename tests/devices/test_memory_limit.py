"""A device's memory applied to what is measured: real processes, in a control group and under ``ulimit``."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeml_devices.bench import bench
from edgeml_devices.memory import MemoryLimit, limit_memory
from edgeml_devices.targets import LocalTarget

PROFILE = """
    name = "small"
    title = "A board with little memory"
    arch = "{arch}"
    isa = []
    cores = 4
    memory_bytes = {memory}
    memory_usable_bytes = {memory}
    threads = 1
    [match]
    cores = [1, 4096]
    memory_bytes = [1, 1_000_000_000_000]
    [sources]
    isa = "data sheet"
    cores = "data sheet"
    memory_bytes = "data sheet"
    memory_usable_bytes = "data sheet"
    threads = "data sheet"
"""
BIG_MB = 400


@pytest.fixture
def group_limit():
    """Makes a limit of a control group, where this process may."""
    made = []

    def make(memory_bytes):
        limit = limit_memory(memory_bytes)
        if limit is None or not limit.exact:
            pytest.skip("this process may not make a control group of memory")
        made.append(limit)
        return limit

    yield make
    for limit in made:
        limit.remove()


def allocate(limit, tmp_path, megabytes):
    """The exit status of an interpreter within the limit that fills that much memory."""
    script = tmp_path / "python"
    script.write_text(limit.script(sys.executable), encoding="utf-8")
    script.chmod(0o700)
    code = f"held = bytearray({megabytes}_000_000); print(len(held))"
    return subprocess.run([str(script), "-c", code], capture_output=True, check=False).returncode


@pytest.mark.parametrize(("megabytes", "enough"), [(50, True), (300, False)])
def test_a_control_group_lets_a_process_have_so_much_memory(group_limit, tmp_path, megabytes, enough):
    limit = group_limit(150_000_000)
    assert (allocate(limit, tmp_path, megabytes) == 0) == enough
    limit.remove()
    assert not limit.group.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts all private memory on Linux only")
@pytest.mark.parametrize(("megabytes", "enough"), [(50, True), (300, False)])
def test_without_control_groups_the_shell_limits_the_process(tmp_path, megabytes, enough):
    limit = limit_memory(150_000_000, root=tmp_path)
    assert (limit.group, limit.exact) == (None, False)
    assert (allocate(limit, tmp_path, megabytes) == 0) == enough
    limit.remove()


VERSIONS = [
    ("4:memory:/own\n", "memory/own", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "1000"),
    ("0::/user.slice/own\n", "user.slice", "memory.max", "memory.swap.max", "0"),
]


@pytest.mark.parametrize(("line", "parent", "memory", "swap", "swap_limit"), VERSIONS)
def test_where_a_group_is_made_and_what_is_written(tmp_path, monkeypatch, line, parent, memory, swap, swap_limit):
    """A folder stands in for the kernel's, so the files that it makes in a new group are made here as well."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(line, encoding="ascii")
    folder = tmp_path / "sys/fs/cgroup" / parent
    folder.mkdir(parents=True)

    def make(prefix, dir):  # noqa: A002 - the name of the argument in tempfile
        group = dir / f"{prefix}x"
        group.mkdir()
        for name in (memory, swap):
            (group / name).touch()
        return str(group)

    monkeypatch.setattr("edgeml_devices.memory.tempfile.mkdtemp", make)
    limit = limit_memory(1000, root=tmp_path)
    assert limit.group == folder / "edgeml-bench-x"
    assert (limit.group / memory).read_text() == "1000"
    assert (limit.group / swap).read_text() == swap_limit
    assert f"echo $$ > {limit.group}/cgroup.procs" in limit.script("python")


def test_a_folder_that_is_no_control_group_is_left_as_it_was(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/own\n4:memory:/own\n", encoding="ascii")
    for name in ("own", "memory/own"):
        (tmp_path / "sys/fs/cgroup" / name).mkdir(parents=True)
    assert limit_memory(1000, root=tmp_path).group is None
    assert not list(tmp_path.glob("sys/fs/cgroup/**/edgeml-bench-*"))


@pytest.fixture
def big_model():
    """A model whose one constant takes ``BIG_MB`` once it is spread, and few bytes in the file."""
    size = BIG_MB * 250_000
    node = [
        helper.make_node("ConstantOfShape", ["size"], ["ones"], value=helper.make_tensor("one", 1, [1], [1.0])),
        helper.make_node("Slice", ["ones", "begin", "end"], ["first"]),
        helper.make_node("Add", ["x", "first"], ["sum"]),
        helper.make_node("Softmax", ["sum"], ["scores"]),
    ]
    constants = {"size": [size], "begin": [0], "end": [4]}
    graph = helper.make_graph(
        node,
        "big",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.array(value, dtype=np.int64), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model.SerializeToString()


def bench_within(path, machine, megabytes, target=None):
    folder = path.parent / "devices"
    folder.mkdir(exist_ok=True)
    text = textwrap.dedent(PROFILE).format(arch=machine.arch, memory=megabytes * 1_000_000)
    (folder / "small.toml").write_text(text, encoding="utf-8")
    return bench(path, device="small", seconds=0.06, starts=1, time_limit_s=1e-6, target=target)


def test_a_bundle_that_does_not_fit_fails(make_bundle, model_content, big_model, group_limit):
    group_limit(150_000_000)
    path = make_bundle(
        {"small": {"latency_ms_p50": {"limit": 1000.0, "variant": "onnx-fp32"}, "peak_rss_mb": 10_000.0}},
        {"onnx-fp32": big_model, "onnx-int8": model_content},
    )
    report = bench_within(path, LocalTarget().probe(), 150)
    big, small = report.variants
    assert (big.fits, small.fits, report.exit_code) == (False, True, 1)
    assert "does not fit into the device's 150 MB of memory" in big.reason
    assert small.latency is not None
    assert [result.verdict.value for result in report.budgets] == ["fail", "fail"]
    assert report.to_dict()["memory_limit_bytes"] == 150_000_000


def test_a_bundle_that_fits_is_measured_within_the_limit(make_bundle, group_limit):
    group_limit(150_000_000)
    report = bench_within(make_bundle(), LocalTarget().probe(), 150)
    assert (report.variants[0].reason, report.variants[0].fits) == (None, True)
    assert report.memory_limit_bytes == 150_000_000


class WithoutGroups(LocalTarget):
    """This machine, where it may not make control groups."""

    def limit_memory(self, memory_bytes):
        return MemoryLimit(memory_bytes=memory_bytes, group=None)


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts all private memory on Linux only")
@pytest.mark.parametrize(
    ("megabytes", "fits", "reason"), [(120, False, "does not fit"), (4000, True, "counts reserved")]
)
def test_a_refusal_of_reserved_memory_proves_nothing(make_bundle, big_model, megabytes, fits, reason, monkeypatch):
    """4 GB are enough for the big model; the shell is told to allow far less, as if it reserved that much more."""
    if fits:
        script = MemoryLimit.script
        tight = MemoryLimit(memory_bytes=200_000_000, group=None)
        monkeypatch.setattr(MemoryLimit, "script", lambda self, python: script(tight, python))
    path = make_bundle(None, {"onnx-fp32": big_model})
    report = bench_within(path, LocalTarget().probe(), megabytes, WithoutGroups())
    assert report.variants[0].fits is fits
    assert reason in report.variants[0].reason
    assert report.exit_code == (4 if fits else 1)


def test_a_failure_of_another_kind_is_not_blamed_on_the_memory(make_bundle, group_limit):
    group_limit(150_000_000)
    report = bench_within(make_bundle(None, {"onnx-fp32": b"no model"}), LocalTarget().probe(), 150)
    assert report.variants[0].fits
    assert "cannot load the model" in report.variants[0].reason


def test_a_machine_with_less_memory_than_the_device_needs_no_limit(make_bundle):
    report = bench_within(make_bundle(), LocalTarget().probe(), 900_000)
    assert report.memory_limit_bytes is None
    assert not any("could not be applied" in note for note in report.notes)
