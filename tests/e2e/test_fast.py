"""``edgeml train --fast`` as a user types it, and a blank project that is not filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def test_a_fast_training_says_so(edgeml: Any, tmp_path: Path) -> None:
    assert edgeml("init", "digits", "--template", "handwritten-digits", cwd=tmp_path).code == 0
    report = edgeml("train", "digits", "--fast", "--set", "train.epochs=1", "--json", cwd=tmp_path).json()
    assert report["fast"]["overrides"][0].startswith("train.epochs=")
    assert not report["fast"]["default"]
    assert report["epochs"] == 1


def test_a_blank_project_names_what_is_open(edgeml: Any, tmp_path: Path) -> None:
    made = edgeml("init", "mine", "--template", "blank", cwd=tmp_path)
    assert "what is left is named by" in made.stdout
    for command in ("train", "export"):
        refused = edgeml(command, "mine", cwd=tmp_path)
        assert refused.code == 2
        assert "14 thing(s) still to be filled in or corrected" in refused.stderr
