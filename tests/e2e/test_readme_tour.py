"""The README's tour and its snippet run as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# The fixture `way` has run these; it only trains for fewer epochs.
FIRST = [
    "edgeml init digits --template handwritten-digits",
    "edgeml train digits",
    "edgeml export digits",
]


def block(language: str, word: str) -> str:
    """The first code block in that language that holds the word."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return str(next(text for text in blocks if word in text))


def tour() -> list[str]:
    """The lines of the tour, without prompt and remark, but for the one that sets up."""
    lines = [line.removeprefix("$ ").partition("  #")[0].strip() for line in block("console", FIRST[0]).splitlines()]
    return [line for line in lines if not line.startswith("make")]


@pytest.fixture
def folder(way: Any, tmp_path: Path) -> Path:
    """Where the tour has come to with the export."""
    shutil.copy(way.bundle, tmp_path)
    return tmp_path


def test_the_tour_begins_as_the_shared_run_does() -> None:
    assert tour()[: len(FIRST)] == FIRST


def test_the_rest_of_the_tour_and_the_snippet_run(folder: Path) -> None:
    (folder / "snippet.py").write_text(block("python", "Model.load"), encoding="utf-8")
    script = "\n".join([*tour()[len(FIRST) :], "python snippet.py"])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    label, score, variant = done.stdout.splitlines()[-1].split()
    assert label in "0123456789"
    assert 0 < float(score) <= 1
    assert variant == "tflite-int8"
