"""What a backend would tell its maker: nothing, unless the application says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import edgeml_runtime

PREDICT = """
import os, sys
import numpy as np
from edgeml_runtime import Model
Model.load(sys.argv[1], variant="onnx-fp32").predict(np.zeros(16, np.float32)).label
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""
# ONNX Runtime itself holds back where it sees a CI, and its caches may lie elsewhere than in the home folder.
LEFT_OUT = {"CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME"}


def predict(path, home, **variables):
    home.mkdir()
    env = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    env |= {"HOME": str(home), "PYTHONPATH": str(Path(edgeml_runtime.__file__).parents[1]), **variables}
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, str(path)], env=env, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_loading_a_bundle_leaves_no_device_id_in_the_home_folder(bundle_of, tmp_path):
    assert predict(bundle_of("scores"), tmp_path / "home") == "1"
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []


def test_an_application_decides_for_itself(bundle_of, tmp_path):
    assert predict(bundle_of("scores"), tmp_path / "home", ORT_DISABLE_TELEMETRY="0") == "0"
