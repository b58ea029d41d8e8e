"""Bad input at the command line: a clear error, the right exit code, and nothing changed on disk."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def project(way: Any, tmp_path: Path) -> Path:
    """A copy of the trained project, to be spoilt."""
    return Path(shutil.copytree(way.project, tmp_path / "work" / "digits"))


def refused(outcome: Any, *words: str, code: int = 2) -> None:
    """Check that a command was refused with these words and without a traceback."""
    assert outcome.code == code, outcome.stderr
    assert "Traceback" not in outcome.stderr
    for word in words:
        assert word in " ".join(outcome.stderr.split()), outcome.stderr


def test_no_contract(edgeml: Any, tmp_path: Path, tree: Any) -> None:
    (tmp_path / "empty").mkdir()
    refused(edgeml("train", "empty", cwd=tmp_path), "expected a project with a file edgeml.toml", "edgeml init")
    refused(edgeml("train", "nowhere", cwd=tmp_path), "nowhere")
    assert tree(tmp_path) == {}


def test_a_broken_contract_lists_every_fault(edgeml: Any, project: Path, tree: Any) -> None:
    contract = project / "edgeml.toml"
    text = contract.read_text(encoding="utf-8")
    contract.write_text(
        text.replace('dtype = "uint8"', 'dtype = "uint9"').replace("floor =", "flor ="), encoding="utf-8"
    )
    before = tree(project)
    refused(edgeml("train", str(project), cwd=project.parent), "inputs[0].dtype", "metric.floor", "metric.flor")
    assert tree(project) == before


def test_a_task_that_raises_is_named_with_its_line(edgeml: Any, project: Path) -> None:
    task = project / "task.py"
    task.write_text(
        task.read_text(encoding="utf-8") + '\nraise RuntimeError("sensor table is gone")\n', encoding="utf-8"
    )
    lines = len(task.read_text(encoding="utf-8").splitlines())
    refused(edgeml("train", str(project), cwd=project.parent), "task.py", str(lines), "sensor table is gone")


def test_an_unknown_setting_names_the_nearest(edgeml: Any, project: Path) -> None:
    refused(edgeml("train", str(project), "--set", "train.epoch=3", cwd=project.parent), "epochs")


def test_data_that_is_missing_empty_or_corrupt(edgeml: Any, tmp_path: Path) -> None:
    recordings = tmp_path / "fsdd" / "recordings"
    refused(edgeml("init", "words", "--template", "spoken-digits", "--data", "nowhere", cwd=tmp_path), "nowhere")
    recordings.mkdir(parents=True)
    made = edgeml("init", "words", "--template", "spoken-digits", "--data", str(tmp_path / "fsdd"), cwd=tmp_path)
    if made.code == 0:
        made = edgeml("train", "words", cwd=tmp_path)
    refused(made, "fsdd")


def test_a_bundle_cut_short(edgeml: Any, way: Any, tmp_path: Path, tree: Any) -> None:
    cut = tmp_path / "cut.edgeml"
    cut.write_bytes(way.bundle.read_bytes()[:-100])
    before = tree(tmp_path)
    for command in (("inspect",), ("bench",)):
        refused(edgeml(*command, str(cut), cwd=tmp_path), "cut.edgeml")
    refused(edgeml("inspect", str(tmp_path / "none.edgeml"), cwd=tmp_path), "none.edgeml")
    assert tree(tmp_path) == before


def test_a_bundle_with_one_byte_changed(edgeml: Any, way: Any, tmp_path: Path) -> None:
    altered = bytearray(way.bundle.read_bytes())
    altered[len(altered) // 2] ^= 1
    (tmp_path / "altered.edgeml").write_bytes(altered)
    refused(edgeml("inspect", "altered.edgeml", cwd=tmp_path), "altered.edgeml")


def test_an_unknown_device_lists_the_known(edgeml: Any, way: Any, tmp_path: Path) -> None:
    refused(edgeml("bench", str(way.bundle), "--device", "toaster", cwd=tmp_path), "toaster", "raspberry-pi-4b", "host")


def test_a_file_that_is_no_input(edgeml: Any, way: Any, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image", encoding="utf-8")
    refused(edgeml("predict", str(way.bundle), "text.png", cwd=tmp_path), "text.png")
    refused(edgeml("predict", str(way.bundle), "gone.png", cwd=tmp_path), "gone.png")


def test_interrupted_training_goes_on_where_it_was(edgeml: Any, project: Path, way: Any) -> None:
    settings = ("train", str(project), "--set", "train.epochs=16", "--set", "train.seed=5")
    stopped = edgeml.interrupted(*settings, cwd=project.parent, after="validation")
    assert stopped.code == 130, stopped.stderr
    assert "Traceback" not in stopped.stderr
    resumed = edgeml(*settings, "--json", cwd=project.parent)
    assert resumed.code == 0, resumed.stderr
    assert resumed.json()["resumed_at"] > 1


def test_an_interrupted_export_leaves_nothing(edgeml: Any, project: Path, tree: Any) -> None:
    out = project.parent / "out"
    out.mkdir()
    stopped = edgeml.interrupted("export", str(project), "--out", str(out), cwd=out, after="tflite-fp32")
    assert stopped.code == 130, stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert tree(out) == {}


def test_a_full_disk_during_export_leaves_nothing(edgeml: Any, project: Path) -> None:
    """A tmpfs of 64 KiB in a mount namespace of its own is the full disk."""
    out = project.parent / "full"
    out.mkdir()
    script = f'mount -t tmpfs -o size=64k tmpfs "{out}" && "$@"; code=$?; echo "left: $(ls -A "{out}")" >&2; exit $code'
    prefix = ("unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh")
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system allows no mount namespace")
    done = edgeml("export", str(project), "--out", str(out), cwd=project.parent, prefix=prefix)
    refused(done, "space")
    assert done.stderr.splitlines()[-1] == "left: "
