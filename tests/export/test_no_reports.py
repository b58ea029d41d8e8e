"""Exports use ONNX Runtime by itself, and have it report nothing either."""

from __future__ import annotations

import os
import subprocess
import sys


def test_reports_are_off_before_onnxruntime_is_imported():
    program = "import os, sys, edgeml_export; print(os.environ['ORT_DISABLE_TELEMETRY'], 'onnxruntime' in sys.modules)"
    env = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "1 False\n"
