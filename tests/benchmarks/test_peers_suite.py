"""The suite of the peers in a copy of its folder, with scripts that neither make nor measure anything."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
COPIED = ("bundles.py", "commands.py", "conftest.py", "peer_stamp.py", "peer_table.py", "test_peers.py")
MAKER = """
import sys
from pathlib import Path
import helper

folder = Path(sys.argv[2])
assert not list(folder.iterdir())
(folder / "ours.edgeml").write_text("a bundle")
with open(Path(__file__).parent / "made", "a") as made:
    made.write(sys.argv[1] + "\\n")
"""
TURNS = """
import json, sys

network, precision, _ = sys.argv[1:]
ours = 200.0 if (network, precision) == ("resnet8", "int8") else 90.0
times = {"bare": {"LiteRT": {"loads": [[100.0]]}}, "ours": {"tflite": {"loads": [[ours]]}}}
print(json.dumps({"network": network, "precision": precision, "sound": False, "full": times["bare"], **times,
                  "missing": {}}))
"""
CURRENT = """
import sys
import test_peers

for name in sys.argv[1:]:
    path = test_peers.HERE.parent / name
    before = path.read_text()
    path.write_text(before + "#")
    print(int(test_peers.is_current(test_peers.FILES / "ds-cnn")))
    path.write_text(before)
"""


class Suite:
    """A copy of the suite, and the files it keeps."""

    def __init__(self, root):
        self.root, self.folder = root, root / "benchmarks"
        self.kept = root / ".build" / "peer-files"
        (root / ".build" / "peers" / "executorch").mkdir(parents=True)
        self.folder.mkdir()
        for name in COPIED:
            shutil.copyfile(BENCHMARKS / name, self.folder / name)
        self.write("benchmarks/peer_files.py", MAKER)
        self.write("benchmarks/peer_turns.py", TURNS)
        self.write("benchmarks/helper.py", "")
        self.write("constraints.txt", "onnxruntime==1")
        self.write("constraints-peers.txt", "executorch==1")

    def write(self, name, text):
        (self.root / name).write_text(text, encoding="utf-8")

    def run(self, *words):
        """Run it; gives the exit status and what it printed."""
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "benchmarks/test_peers.py", *words]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
        )
        return done.returncode, done.stdout

    def current_with_a_change_in(self, *names):
        """Per file: whether the kept files of ds-cnn are still taken for current once that file has changed."""
        command = [sys.executable, "-c", CURRENT, *names]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [line == "1" for line in done.stdout.split()]

    def made(self):
        """The networks whose files were made since the last time."""
        path = self.folder / "made"
        names = path.read_text(encoding="utf-8").split() if path.exists() else []
        path.unlink(missing_ok=True)
        return names


@pytest.fixture
def suite(tmp_path):
    return Suite(tmp_path)


def test_a_missed_bar_is_reported_and_fails_where_it_is_asked_for(suite):
    status, output = suite.run()
    assert status == 0, output
    assert len(suite.made()) == 5
    assert "**missed**" in output
    report = json.loads((suite.kept / "peers.json").read_text(encoding="utf-8"))
    assert (report["missed"], len(report["cells"])) == (["resnet8, int8"], 10)

    status, output = suite.run("--bar")
    assert (status, re.findall(r"^FAILED \S+", output, re.MULTILINE)) == (
        1,
        ["FAILED benchmarks/test_peers.py::test_our_full_path_keeps_up[resnet8-int8]"],
    ), output
    assert "expected at most 111.0 µs, found 200.0 µs" in output
    assert json.loads((suite.kept / "peers.json").read_text(encoding="utf-8")) == report
    assert suite.made() == []


def test_files_are_made_again_where_they_would_come_out_differently(suite):
    only = ("-k", "ds-cnn-fp32")
    suite.run(*only)
    assert suite.made() == ["ds-cnn"]
    assert suite.current_with_a_change_in(
        "benchmarks/helper.py",  # which the maker imports
        "constraints.txt",
        "constraints-peers.txt",
        ".build/peer-files/ds-cnn/ours.edgeml",
        ".build/peer-files/ds-cnn/.made",
        "benchmarks/peer_turns.py",
    ) == [False] * 5 + [True]

    suite.write("constraints-peers.txt", "executorch==2")
    suite.run(*only)
    assert suite.made() == ["ds-cnn"]
