"""Our full path from the raw input beside other tools' bare networks, on the zoo, in fp32 and int8, one thread.

``make peers`` once, then ``python -m pytest benchmarks/test_peers.py --bar``: every network's files are made by
``peer_files.py``, kept in ``.build/peer-files`` for as long as they would be made alike, and timed by
``peer_turns.py``, all sides in turns within one process. The bar and what counts as a peer's time are those of
:mod:`peer_table`. Every value is printed and written to ``.build/peer-files/peers.json``, whatever the verdict; a
missed bar fails with ``--bar`` only.
"""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
peer_stamp = importlib.import_module("peer_stamp")
peer_table = importlib.import_module("peer_table")

HERE = Path(__file__).parent
FILES = HERE.parent / ".build" / "peer-files"
NETWORKS = ("ds-cnn", "resnet8", "mobilenetv1", "autoencoder", "mobilenetv2")
MADE = ".made"
MAKER = "peer_files.py"
PINS = tuple(HERE.parent / name for name in ("constraints.txt", "constraints-peers.txt"))

pytestmark = pytest.mark.skipif(
    not (peer_table.SITE / "executorch").is_dir(), reason="needs the other tools in .build/peers: make peers"
)


def run(script, *words):
    """What a script of this folder prints."""
    command = [sys.executable, str(HERE / script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{script} {words}: {done.stderr[-2000:]}"
    return done.stdout


def stamp(folder):
    """A digest of the code that makes a network's files, the versions it uses, and the bundle that it made."""
    return peer_stamp.digest([*peer_stamp.sources(HERE / MAKER), *PINS, folder / peer_table.BUNDLE])


def is_current(folder):
    """Whether a network's files are whole and would be made alike today."""
    needed = (folder / MADE, folder / peer_table.BUNDLE)
    return all(path.is_file() for path in needed) and (folder / MADE).read_text(encoding="ascii") == stamp(folder)


@pytest.fixture(scope="module")
def files():
    """Network → the folder with its files."""

    def make(network):
        folder = FILES / network
        if not is_current(folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            run(MAKER, network, folder)
            (folder / MADE).write_text(stamp(folder), encoding="ascii")
        return folder

    return make


@pytest.fixture(scope="module")
def cells():
    """What was measured, in the order of the table."""
    return []


@pytest.mark.parametrize("precision", [peer_table.FP32, peer_table.INT8])
@pytest.mark.parametrize("network", NETWORKS)
def test_our_full_path_keeps_up(network, precision, files, cells, show, request):
    answer = run("peer_turns.py", network, precision, files(network))
    cell = peer_table.Cell.from_dict(json.loads(answer.splitlines()[-1]))
    cells.append(cell)
    show("\n" + peer_table.table([cell]))
    if request.config.getoption("--bar"):
        assert cell.reached, f"expected at most {cell.limit_us:.1f} µs, found {cell.ours[cell.best_ours].us:.1f} µs"


def test_table(cells, show):
    assert cells, "nothing was measured"
    missed = [f"{cell.network}, {cell.precision}" for cell in cells if not cell.reached]
    report = {"missed": missed, "cells": [cell.to_dict() for cell in cells]}
    (FILES / "peers.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    show("\n" + peer_table.table(cells))
