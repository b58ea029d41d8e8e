"""What runs inside the emulator, run on this machine: the same code, without a plug-in that would see the marks."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgeml_devices.emulator.guest import marks
from edgeml_devices.emulator.guest.job import answer, main
from edgeml_runtime.errors import BackendFailedError

DATA = Path(__file__).parent.parent / "data"


def request(path, **changes):
    return {"path": str(path), "variant": "onnx-fp32", "backend": None, "count": True, "layers": True, **changes}


@pytest.fixture
def marked(monkeypatch):
    """The numbers of all marks, and short limits."""
    numbers = []
    monkeypatch.setattr(marks, "_STARTED", time.monotonic())
    monkeypatch.setattr(marks.os, "isatty", lambda descriptor: numbers.append(-4242 - descriptor))
    return numbers


def test_a_bundle_is_tested_and_counted(make_bundle, marked):
    found = answer(request(make_bundle()))
    assert found["backend"] == "onnxruntime"
    assert found["self_test"]["passed"]
    assert found["calls"] == marks.MOST_CALLS
    names = found["layers"]["names"]
    assert names
    assert all(set(name) == {"name", "type"} for name in names)
    calls = [number for number in marked if number == marks.BEGIN]
    beginnings = [number for number in marked if number == marks.LAYER]
    assert len(calls) == found["calls"]
    assert len(beginnings) == len(names) + 1
    assert marked.count(marks.END) == len(calls) + len(beginnings)


def test_what_is_warmed_up_is_what_is_counted(marked):
    """Neither a mark nor what calls it is run for the first time where it is counted."""
    called = []
    assert marks.count_calls(lambda: called.append(len(marked))) == marks.MOST_CALLS
    assert marked == [
        *[marks.WARM_UP] * 2 * marks.MOST_WARM_UP,
        *[marks.EMPTY] * marks.EMPTY_MARKS,
        *[marks.BEGIN, marks.END] * marks.MOST_CALLS,
    ]
    assert len(called) == marks.MOST_WARM_UP + marks.MOST_CALLS
    assert {marked[number - 1] for number in called} == {marks.WARM_UP, marks.BEGIN}


def test_without_counting_there_are_no_marks(make_bundle, marked):
    found = answer(request(make_bundle(), count=False))
    assert (found["calls"], found["layers"], marked) == (0, {}, [])


def test_a_bare_model_has_no_golden_vectors(marked):
    found = answer(request(DATA / "conv-linear.tflite"))
    assert found["self_test"] is None
    assert found["backend"] == "litert"
    assert [name["type"] for name in found["layers"]["names"]]


def test_layers_that_take_too_long_are_given_up_and_the_count_stays(make_bundle, marked, monkeypatch):
    monkeypatch.setattr(marks, "LAYERS_UNTIL_S", -1.0)
    found = answer(request(make_bundle()))
    assert found["calls"] == marks.MOST_CALLS
    assert "given up before layer 0" in found["layers"]["error"]


def test_long_calls_are_fewer(monkeypatch):
    monkeypatch.setattr(marks, "WARM_UP_S", 0.0)
    monkeypatch.setattr(marks, "CALLS_S", 0.0)
    called = []
    assert marks.count_calls(lambda: called.append(0)) == marks.LEAST_CALLS
    assert len(called) == marks.LEAST_WARM_UP + marks.LEAST_CALLS


def test_what_goes_wrong_is_the_answer(make_bundle, capsys):
    assert main([json.dumps(request(make_bundle(), variant="tflite-int8"))]) == 0
    assert "tflite-int8" in json.loads(capsys.readouterr().out)["error"]


def test_layers_of_a_broken_model_are_an_error():
    from edgeml_devices.emulator.guest.litert_layers import mark_litert
    from edgeml_devices.emulator.guest.onnxruntime_layers import mark_onnxruntime

    for mark in (mark_litert, mark_onnxruntime):
        with pytest.raises(BackendFailedError):
            mark(b"rubbish", {})


def test_it_needs_the_runtime_and_a_backend_only(tmp_path):
    """The guest has numpy, a backend and the runtime; nothing else of edgeml, and no onnx."""
    import edgeml_runtime
    from edgeml_devices.emulator import guest

    package = tmp_path / "edgeml_devices" / "emulator"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "guest").symlink_to(Path(guest.__file__).parent)
    (tmp_path / "edgeml_runtime").symlink_to(Path(edgeml_runtime.__file__).parent)
    program = (
        "import sys, pkgutil, importlib, edgeml_devices.emulator.guest as g\n"
        "[importlib.import_module(f'{g.__name__}.{m.name}') for m in pkgutil.iter_modules(g.__path__)\n"
        " if m.name != '__main__']\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    foreign = {name for name in done.stdout.split() if not name.startswith(("_", "sitecustomize"))}
    assert foreign <= {"edgeml_devices", "edgeml_runtime", "numpy"}
