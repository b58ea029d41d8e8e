"""``variant="tuned"``: measured once, remembered, and never a reason why a model cannot be loaded."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeml_runtime import Bundle, InputError, Model
from edgeml_runtime import tuned as tuned_module
from edgeml_runtime.errors import BackendMissingError, StorageError
from edgeml_runtime.golden import GoldenCase, GoldenSet, golden_members
from edgeml_runtime.machine import probe_machine
from edgeml_runtime.measure import child as measure_child
from edgeml_runtime.measure import choices as measure_choices_module
from edgeml_runtime.measure.choices import Timed, choose, measure_choices, time_choices
from edgeml_runtime.tuned_store import (
    Asked,
    Choice,
    all_choices,
    read_choice,
    remember,
    situation_of,
    thread_counts,
    tuned_file,
)

FAST = Choice(variant="tflite-fp32", backend="litert", threads=1)
MEASURED = {"at": "2026-01-01T00:00:00Z", "by": "test", "figures": []}


def golden(*ids, off=()):
    """Golden members of the kind ``scores``: what the model gives, and something else for the variants in ``off``."""
    x = np.linspace(-1, 1, 16).astype(np.float32)
    scores = np.exp(x) / np.exp(x).sum()
    expected = {name: {"scores": (scores[::-1] if name in off else scores).astype(np.float32)} for name in ids}
    case = GoldenCase(name="case", inputs={"x": x}, expected=expected)
    return golden_members(GoldenSet(cases=(case,), tolerances={name: {"scores": 1e-5} for name in ids}), {})


@pytest.fixture
def bundle(bundle_of):
    ids = ("onnx-fp32", "tflite-fp32")
    return bundle_of("scores", *ids, golden=golden(*ids))


@pytest.fixture
def situation(bundle):
    with Bundle.open(bundle) as opened:
        backends = dict.fromkeys(("litert", "onnxruntime", "openvino"), "1.0")
        return situation_of(opened, probe_machine(), backends, Asked())


@pytest.fixture
def here(bundle, monkeypatch):
    """The situation that a load on this machine finds, with one backend less to try."""
    versions = {**tuned_module.installed_backends(), "openvino": None}
    monkeypatch.setattr(tuned_module, "installed_backends", lambda: versions)
    with Bundle.open(bundle) as opened:
        return situation_of(opened, probe_machine(), versions, Asked())


@pytest.fixture
def never_measured(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("measured though a choice is remembered")

    monkeypatch.setattr(measure_choices_module, "measure_choices", refuse)


def load(path, **options):
    with Model.load(path, variant="tuned", **{"tune_seconds": 0.1, **options}) as model:
        return Choice(variant=model.variant.id, backend=model.backend_name, threads=model.threads)


def read_json(file):
    return json.loads(Path(file).read_text(encoding="utf-8"))


def child_that(monkeypatch, code):
    """Every measuring process does this first."""
    bootstrap = f"begun = 0; import os, time; {code}; from edgeml_runtime.{{module}} import main; main(begun)"
    monkeypatch.setattr(measure_child, "_BOOTSTRAP", bootstrap)


BREAK_LITERT = "import edgeml_runtime.backends.litert as litert; litert.LiteRTBackend.create = lambda *_, **__: {}"


def test_measured_once_and_remembered(bundle, here, request):
    found = load(bundle, threads=1)
    document = read_json(tuned_file(bundle))
    (entry,) = document["entries"]
    assert Choice(**entry["choice"]) == found
    figures = {row["variant"]: row for row in entry["measured"]["figures"]}
    assert set(figures) == {"onnx-fp32", "tflite-fp32"}
    assert all(row["p50_ms"] > 0 and row["calls"] > 0 for row in figures.values())
    assert entry["asked"] == {"threads": 1, "backend": None}
    request.getfixturevalue("never_measured")
    assert load(bundle, threads=1) == found


def test_what_is_remembered_is_used(bundle, here, never_measured):
    wanted = replace(FAST, threads=here.machine["cores"])
    remember(tuned_file(bundle), here, wanted, MEASURED)
    assert load(bundle) == wanted


CHANGES = [
    {"bundle": {"name": "probe", "version": "1.0.0", "manifest_sha256": "0" * 64}},
    {"backends": {"litert": "2.0", "onnxruntime": "1.0"}},
    {"machine": {"arch": "aarch64", "cpu": "cortex-a53", "board": None, "cores": 4, "isa": []}},
    {"asked": Asked(threads=1)},
    {"asked": Asked(backend="litert")},
]


@pytest.mark.parametrize("change", CHANGES, ids=[f"{name}-{number}" for number, [name] in enumerate(CHANGES)])
def test_it_does_not_hold_elsewhere(tmp_path, situation, change):
    file = str(tmp_path / "tuned.json")
    remember(file, situation, FAST, MEASURED)
    assert read_choice(file, situation) == FAST
    assert read_choice(file, replace(situation, **change)) is None


def test_answers_to_several_questions_stand_side_by_side(tmp_path, situation):
    file, other = str(tmp_path / "tuned.json"), replace(situation, asked=Asked(threads=2))
    remember(file, situation, FAST, MEASURED)
    remember(file, other, replace(FAST, threads=2), MEASURED)
    newer = replace(situation, backends={**situation.backends, "litert": "9.9"})
    remember(file, newer, replace(FAST, variant="onnx-fp32", backend="onnxruntime"), MEASURED)
    assert read_choice(file, other) == replace(FAST, threads=2)
    assert read_choice(file, newer).variant == "onnx-fp32"
    assert read_choice(file, situation) is None, "an older answer to the same question was kept"
    for number in range(40):
        remember(file, replace(situation, bundle={"name": str(number)}), FAST, MEASURED)
    assert len(read_json(file)["entries"]) == 16


BROKEN = {
    "empty": b"",
    "torn": b'{"format": "edgeml-tuned", "format_ver',
    "binary": bytes(range(256)),
    "nested": b"[" * 200_000,
    "a list": b"[1, 2]",
    "null": b"null",
    "another kind": b'{"format": "else", "format_version": 1, "entries": []}',
    "a newer format": b'{"format": "edgeml-tuned", "format_version": 2, "entries": []}',
    "no entries": b'{"format": "edgeml-tuned", "format_version": 1, "entries": null}',
    "odd entries": b'{"format": "edgeml-tuned", "format_version": 1, "entries": [7, {}, {"choice": 3}]}',
    "endless": b" " * (2 << 20),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_not_used_and_is_replaced(tmp_path, situation, content):
    file = tmp_path / "tuned.json"
    file.write_bytes(content)
    assert read_choice(str(file), situation) is None
    remember(str(file), situation, FAST, MEASURED)
    assert read_choice(str(file), situation) == FAST


CHOICES = [
    {"variant": "tflite-fp32", "backend": "litert", "threads": 10**6},
    {"variant": "tflite-fp32", "backend": "litert", "threads": 0},
    {"variant": "tflite-fp32", "backend": "litert", "threads": True},
    {"variant": "tflite-fp32", "backend": "os:system", "threads": 1},
    {"variant": "tflite-fp32", "backend": ["litert"], "threads": 1},
    {"variant": ["tflite-fp32"], "backend": "litert", "threads": 1},
    {"variant": "tflite-fp32", "threads": 1},
    "tflite-fp32",
]


@pytest.mark.parametrize("choice", CHOICES)
def test_an_impossible_choice_is_not_used(tmp_path, situation, choice):
    file = tmp_path / "tuned.json"
    remember(str(file), situation, FAST, MEASURED)
    document = json.loads(file.read_text(encoding="utf-8"))
    document["entries"][0]["choice"] = choice
    file.write_text(json.dumps(document), encoding="utf-8")
    assert read_choice(str(file), situation) is None


def test_a_corrupt_file_is_measured_again(bundle, here, caplog):
    file = tuned_file(bundle)
    Path(file).write_text('{"format": "edgeml-tu', encoding="utf-8")
    found = load(bundle, threads=1)
    assert "holds no tuned choice" in caplog.text
    assert read_choice(file, replace(here, asked=Asked(threads=1))) == found


def test_a_choice_that_cannot_be_loaded_gives_auto(bundle, here, caplog, never_measured):
    remember(tuned_file(bundle), here, replace(FAST, variant="tflite-int8"), MEASURED)
    assert load(bundle) == Choice(variant="onnx-fp32", backend="onnxruntime", threads=1)
    assert "cannot be loaded" in caplog.text


def test_a_full_disk_does_not_stop_loading(bundle, here, monkeypatch, caplog):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert load(bundle, threads=1).threads == 1
    assert "No space left on device; nothing was changed; it is measured again" in caplog.text
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]


def test_a_folder_that_cannot_be_written_leaves_an_error(tmp_path, situation):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot be written"):
        remember(str(tmp_path / "file" / "tuned.json"), situation, FAST, MEASURED)


def test_a_place_of_its_own(bundle, here, tmp_path, never_measured):
    cache = tmp_path / "cache"
    cache.mkdir()
    remember(tuned_file(bundle, cache), here, FAST, MEASURED)
    assert tuned_file(bundle, cache) == str(cache / "probe-1.0.0.edgeml.tuned.json")
    assert load(bundle, tuned_path=cache) == FAST
    os.rename(tuned_file(bundle, cache), tuned_file(bundle))
    assert load(bundle, tuned_path=cache) == FAST, "what lies beside the bundle is used as well"


def test_a_variant_that_crashes_its_process_is_left_out(bundle, here, monkeypatch):
    child_that(monkeypatch, BREAK_LITERT.format("os.abort()"))
    found = load(bundle, threads=1)
    assert (found.variant, found.backend) == ("onnx-fp32", "onnxruntime")
    entry = read_json(tuned_file(bundle))["entries"][0]
    assert "SIGABRT" in {row["variant"]: row["reason"] for row in entry["measured"]["figures"]}["tflite-fp32"]


@pytest.mark.long
def test_a_variant_that_hangs_is_left_out(bundle, monkeypatch):
    child_that(monkeypatch, BREAK_LITERT.format("time.sleep(600)"))
    monkeypatch.setattr(measure_choices_module, "_START_S", 2.0)
    other = Choice(variant="onnx-fp32", backend="onnxruntime", threads=1)
    slow, fine = measure_choices(str(bundle), [FAST, other], seconds=0.1)
    assert "the process was killed" in slow.reason
    assert fine.p50_ms > 0


def test_where_nothing_can_be_measured_it_is_auto(bundle, here, monkeypatch, caplog):
    child_that(monkeypatch, "raise SystemExit(3)")
    assert load(bundle) == Choice(variant="onnx-fp32", backend="onnxruntime", threads=1)
    assert "not tuned" in caplog.text
    assert "status 3" in caplog.text
    assert not os.path.exists(tuned_file(bundle))


@pytest.mark.parametrize("where", ["frozen", "inside"])
def test_no_process_is_started_where_that_would_start_the_application(
    bundle, here, monkeypatch, never_measured, where, caplog
):
    if where == "frozen":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    else:
        monkeypatch.setenv("EDGEML_TUNING", "1")
    assert load(bundle).variant == "onnx-fp32"
    assert "not tuned" in caplog.text


def test_the_child_finds_what_this_process_finds(bundle, here, monkeypatch):
    seen = {}

    def note(path, choices, *, seconds, environment):
        seen.update(environment)
        return [Timed(choice=choice, p50_ms=1.0, calls=1) for choice in choices]

    monkeypatch.setattr(measure_choices_module, "measure_choices", note)
    monkeypatch.syspath_prepend("/somewhere/else")
    load(bundle)
    assert seen["PYTHONPATH"].split(os.pathsep)[0] == "/somewhere/else"
    assert seen["EDGEML_TUNING"] == "1"


def test_only_what_passes_the_self_test_is_timed(bundle_of):
    ids = ("onnx-fp32", "tflite-fp32")
    bundle = bundle_of("scores", *ids, golden=golden(*ids, off=("tflite-fp32",)))
    others = [replace(FAST, variant="onnx-fp32", backend=name) for name in ("onnxruntime", "openvino")]
    texts = [str(choice) for choice in (FAST, *others)]
    answer = time_choices({"path": str(bundle), "variants": texts, "in_all_s": 0.05, "seed": 0})
    assert set(answer["variants"]) == set(texts[1:])
    assert "1 of 1 golden cases fail with litert" in answer["failures"][texts[0]]


def test_a_foreign_backend_needs_golden_vectors(bundle_of):
    bundle = bundle_of("scores", "onnx-fp32")
    texts = ["onnx-fp32/openvino/1", "onnx-fp32/onnxruntime/1"]
    answer = time_choices({"path": str(bundle), "variants": texts, "in_all_s": 0.05, "seed": 0})
    assert list(answer["variants"]) == texts[1:]
    assert "no golden vectors" in answer["failures"][texts[0]]


def test_later_choices_are_left_out_when_loading_takes_the_time(bundle, monkeypatch):
    texts = [str(replace(FAST, threads=count)) for count in (1, 2, 3)]
    answer = time_choices({"path": str(bundle), "variants": texts, "in_all_s": 1e-6, "seed": 0})
    assert list(answer["variants"]) == texts[:2]
    assert "not tried" in answer["failures"][texts[2]]


def test_several_writers_leave_a_whole_file(tmp_path, situation):
    file, stop, faults = str(tmp_path / "tuned.json"), threading.Event(), []
    remember(file, situation, FAST, MEASURED)

    def write(number):
        for _ in range(20):
            remember(file, replace(situation, bundle={"name": str(number)}), FAST, MEASURED)

    def read():
        while not stop.is_set():
            try:
                read_json(file)
            except ValueError as error:
                faults.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    reader = threading.Thread(target=read)
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert not faults
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def timed(p50_ms, threads, variant="onnx-fp32"):
    return Timed(choice=Choice(variant=variant, backend="onnxruntime", threads=threads), p50_ms=p50_ms, calls=9)


@pytest.mark.parametrize(
    ("given", "index"),
    [
        ([timed(2.0, 1), timed(1.0, 2)], 1),
        ([timed(1.04, 1), timed(1.0, 2)], 0),
        ([timed(1.06, 1), timed(1.0, 2)], 1),
        ([timed(1.0, 1), timed(0.97, 1, "onnx-int8")], 0),
        ([timed(None, 1), timed(3.0, 1)], 1),
    ],
)
def test_the_fastest_and_among_equals_the_fewest_threads_then_the_first(given, index):
    assert choose(given) == given[index].choice


def test_nothing_timed_nothing_chosen():
    assert choose([timed(None, 1)]) is None
    assert choose([]) is None


@pytest.mark.parametrize(
    ("cores", "counts"), [(1, (1,)), (2, (1, 2)), (4, (1, 2, 4)), (6, (1, 2, 4, 6)), (3, (1, 2, 3))]
)
def test_thread_counts(cores, counts):
    assert thread_counts(cores) == counts


def test_every_variant_on_every_backend_that_reads_its_format(bundle):
    with Bundle.open(bundle) as opened:
        found = all_choices(opened.manifest, (1, 2), ("litert", "openvino", "onnxruntime"))
    pairs = ["onnx-fp32/onnxruntime", "onnx-fp32/openvino", "tflite-fp32/litert"]
    assert [str(choice) for choice in found] == [f"{pair}/{count}" for count in (1, 2) for pair in pairs]
    assert [Choice.parse(str(choice)) for choice in found] == list(found)


@pytest.mark.parametrize("options", [{"threads": 0}, {"threads": 1.5}, {"tune_seconds": 0}, {"tune_seconds": "2"}])
def test_senseless_arguments_are_refused(bundle, options):
    with pytest.raises(InputError, match="expected"):
        load(bundle, **options)


def test_an_unknown_backend_is_refused(bundle):
    with pytest.raises(BackendMissingError, match="no backend 'tpu'"):
        load(bundle, backend="tpu")


def test_nothing_of_it_is_imported_unless_asked_for(bundle):
    script = (
        "import sys\nfrom edgeml_runtime import Model\nModel.load(sys.argv[1]).close()\n"
        "print(sorted(name for name in sys.modules if 'tuned' in name or 'measure' in name or name == 'logging'))"
    )
    done = subprocess.run([sys.executable, "-c", script, bundle], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_remembered_choice_is_loaded_without_the_measuring(bundle, here):
    with Bundle.open(bundle) as opened:
        situation = situation_of(opened, probe_machine(), dict.fromkeys(here.backends), Asked())
    remember(tuned_file(bundle), situation, FAST, MEASURED)
    script = (
        "import sys\nfrom edgeml_runtime import Model, tuned\ntuned.installed_backends = dict\n"
        "print(Model.load(sys.argv[1], variant='tuned').variant.id, 'edgeml_runtime.measure' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, bundle], capture_output=True, text=True, check=True)
    assert done.stdout == "tflite-fp32 False\n"


def test_the_environment_reaches_the_child(monkeypatch):
    script = "import os; print('{{\"word\": \"%s\"}}' % os.environ.get('WORD'))"
    monkeypatch.setattr(measure_child, "_BOOTSTRAP", script)
    given = {**os.environ, "WORD": "given"}
    assert measure_child.run_child("measure.worker", [], limit_s=60, environment=given) == {"word": "given"}
    assert measure_child.run_child("measure.worker", [], limit_s=60) == {"word": "None"}
