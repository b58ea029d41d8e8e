"""The Sign Language Digits Dataset itself, where it lies beside the checkout or ``EDGEML_SIGN_DIGITS`` names it."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from edgeml_runtime.loaders import load_tensor
from edgeml_train import Project, init_project
from edgeml_train.checks import check_splits
from edgeml_train.data import find_photographs

BESIDE = Path(__file__).parents[2] / ".." / "shared" / "data" / "sign-digits"
SIGN_DIGITS = Path(os.environ.get("EDGEML_SIGN_DIGITS", BESIDE)).resolve()

ORIENTATION, ON_ITS_SIDE = 0x0112, 6  # EXIF 2.32, 4.6.4

pytestmark = pytest.mark.skipif(
    not SIGN_DIGITS.is_dir(), reason="the Sign Language Digits Dataset is not on this machine"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project of the template on the real photographs."""
    return Project.open(init_project(tmp_path_factory.mktemp("real") / "my-signs", "sign-digits", SIGN_DIGITS))


def test_the_evidence_for_the_rule_of_students():
    """What the documentation of edgeml_train.data.sign_digits says of all files."""
    photographs = find_photographs(SIGN_DIGITS)
    origins = np.array([photograph.number - photograph.digit for photograph in photographs])
    steps = np.diff(origins)
    assert len(steps) == 2061
    assert steps.min() == -4
    assert steps[steps < 8].max() == 6
    assert steps[steps >= 8].min() == 9
    series: dict[str, list[int]] = {}
    for photograph in photographs:
        series.setdefault(photograph.student, []).append(photograph.digit)
    kinds = Counter((len(digits), len(set(digits))) for digits in series.values())
    assert len(series) == 207
    assert kinds == {(10, 10): 197, (10, 9): 2, (11, 10): 3, (9, 9): 3, (6, 6): 2}


def test_nobody_is_in_two_parts(project):
    splits = project.task.splits()
    check_splits(project.contract, splits)
    parts = (splits.train, splits.validation, splits.test)
    students = [set(part.attributes["student"]) for part in parts]
    assert [len(names) for names in students] == [145, 21, 41]
    assert len(set.union(*students)) == 207
    assert sum(map(len, parts)) == 2062
    bright = np.concatenate([part.attributes["brightness"] for part in parts])
    shares = {value: round(100 * float(np.mean(bright == value))) for value in ("dark", "medium", "bright")}
    assert shares == {"dark": 24, "medium": 47, "bright": 30}


def test_the_files_as_the_camera_wrote_them_come_in_upright(project):
    spec = project.contract.inputs[0]
    turned = []
    for path in sorted(SIGN_DIGITS.glob("?/*.JPG")):
        with Image.open(path) as stored:
            if stored.size == (100, 100):
                continue
            assert stored.size == (3024, 3024)
            assert stored.getexif()[ORIENTATION] == ON_ITS_SIDE
            upright = ImageOps.exif_transpose(stored).resize((96, 96), Image.Resampling.BOX)
        levels = load_tensor(spec, path).astype(int)
        assert np.abs(levels - np.asarray(upright).astype(int)).mean() < 3
        turned.append(str(path.relative_to(SIGN_DIGITS)))
    assert turned == ["7/IMG_5874.JPG", "7/IMG_5935.JPG", "7/IMG_5978.JPG"]
