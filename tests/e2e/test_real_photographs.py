"""The commands on the Sign Language Digits Dataset, beside the checkout or where ``EDGEML_SIGN_DIGITS`` names it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

BESIDE = Path(__file__).parents[2] / ".." / "shared" / "data" / "sign-digits"
SIGN_DIGITS = Path(os.environ.get("EDGEML_SIGN_DIGITS", BESIDE)).resolve()
FULL_SIZE = SIGN_DIGITS / "7" / "IMG_5978.JPG"

pytestmark = pytest.mark.skipif(
    not SIGN_DIGITS.is_dir(), reason="the Sign Language Digits Dataset is not on this machine"
)


@pytest.mark.long
def test_the_six_commands_on_real_photographs(edgeml: Any, tmp_path: Path) -> None:
    assert edgeml("init", "my-signs", "--template", "sign-digits", "--data", str(SIGN_DIGITS), cwd=tmp_path).code == 0
    trained = edgeml("train", "my-signs", "--json", cwd=tmp_path, timeout_s=1800).json()
    assert trained["metric"]["value"] >= 0.92
    assert trained["baseline"]["value"] < trained["metric"]["value"]
    assert trained["unreadable"] == []
    assert [part["name"] for part in trained["slices"]] == [
        *(f"label={digit}" for digit in range(10)),
        *(f"brightness={value}" for value in ("bright", "dark", "medium")),
    ]
    exported = edgeml("export", "my-signs", "--json", cwd=tmp_path, timeout_s=600).json()
    assert len(exported["variants"]) == 4
    assert all(variant["shipped"] and variant["paired_loss"]["items"] <= 2 for variant in exported["variants"])
    bundle = "my-signs-1.0.0.edgeml"
    assert edgeml("inspect", bundle, cwd=tmp_path).code == 0
    assert edgeml("bench", bundle, "--device", "host", cwd=tmp_path).code in (0, 1, 4)
    assert edgeml("predict", bundle, str(FULL_SIZE), "--json", cwd=tmp_path).json()["label"] == "7"
