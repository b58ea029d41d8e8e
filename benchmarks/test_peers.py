"""Our full path from the raw input beside other tools' bare networks, on the zoo, in fp32 and int8, one thread.

``make peers`` once, then ``python -m pytest benchmarks/test_peers.py``: every network's files are made by
``peer_files.py``, kept in ``.build/peer-files``, and timed by ``peer_turns.py``, all sides in turns within one process.
The bar and what counts as a peer's time are those of :mod:`peer_table`; every value is printed, whatever the verdict.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
peer_table = importlib.import_module("peer_table")

HERE = Path(__file__).parent
FILES = HERE.parent / ".build" / "peer-files"
NETWORKS = ("ds-cnn", "resnet8", "mobilenetv1", "autoencoder", "mobilenetv2")
MADE = ".made"

pytestmark = pytest.mark.skipif(
    not (peer_table.SITE / "executorch").is_dir(), reason="needs the other tools in .build/peers: make peers"
)


def run(script, *words):
    """What a script of this folder prints."""
    command = [sys.executable, str(HERE / script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{script} {words}: {done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def files():
    """Network → the folder with its files."""

    def make(network):
        folder = FILES / network
        if not (folder / MADE).exists():
            folder.mkdir(parents=True, exist_ok=True)
            run("peer_files.py", network, folder)
            (folder / MADE).touch()
        return folder

    return make


@pytest.fixture(scope="module")
def cells():
    """What was measured, in the order of the table."""
    return []


@pytest.mark.parametrize("precision", [peer_table.FP32, peer_table.INT8])
@pytest.mark.parametrize("network", NETWORKS)
def test_our_full_path_keeps_up(network, precision, files, cells, show):
    answer = run("peer_turns.py", network, precision, files(network))
    cell = peer_table.Cell.from_dict(json.loads(answer.splitlines()[-1]))
    cells.append(cell)
    show("\n" + peer_table.table([cell]))
    assert cell.reached, f"expected at most {cell.limit_us:.1f} µs, found {cell.ours[cell.best_ours].us:.1f} µs"


def test_table(cells, show):
    assert cells, "nothing was measured"
    show("\n" + peer_table.table(cells))
