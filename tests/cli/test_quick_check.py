"""A fault of edgeml.toml is told before PyTorch is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TEMPLATES = Path(__file__).resolve().parents[2] / "train" / "edgeml_train" / "templates"
WHOLE = (TEMPLATES / "handwritten_digits" / "edgeml.toml").read_text(encoding="utf-8").replace("__NAME__", "digits")

RUN = """
import sys
from edgeml_cli.main import main
code = main(sys.argv[1:])
assert "torch" not in sys.modules
sys.exit(code)
"""


@pytest.mark.parametrize("command", ["train", "export"])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[model]\nname = 'x'\n", "model.version"),
        ("[model", "TOML"),
        (WHOLE.replace("epochs =", "epoch ="), "epochs"),
        (WHOLE.replace("[budgets.host]", "[budgets.rasberry-pi-5]"), "did you mean 'raspberry-pi-5'?"),
    ],
)
def test_faults_come_without_pytorch(tmp_path, command, text, says):
    (tmp_path / "edgeml.toml").write_text(text)
    done = subprocess.run([sys.executable, "-c", RUN, command, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
