"""The same model, items and thread count give the same bytes: in another order, and in another process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from edgeml_export import KNOWN_VARIANTS, export_bundle
from edgeml_runtime.bundle import Bundle

IDS = list(KNOWN_VARIANTS)


def digests(path):
    with Bundle.open(path) as bundle:
        return {v.id: hashlib.sha256(bundle.read(v.file)).hexdigest() for v in bundle.manifest.variants}


@pytest.fixture(scope="module")
def export(trained, make_contract, items, tmp_path_factory):
    """Export so many variants in this order."""
    from edgeml_export import vnni_check

    def run(variants):
        out = tmp_path_factory.mktemp("again") / "tiny-1.0.0.edgeml"
        contract = make_contract(variants=variants, required=[])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vnni_check, "emulator", lambda: None)
            report = export_bundle(trained, contract=contract, calibration=items.train, test=items.test, out=out)
        assert report.ok
        return out

    return run


def test_every_precision_gives_the_same_bytes_whatever_is_exported_with_it(export):
    """What converters keep for the next variant changes nothing in it."""
    whole, reversed_ = digests(export(IDS)), digests(export(IDS[::-1]))
    assert whole == reversed_
    assert len(set(whole.values())) == len(IDS)
    assert digests(export(["tflite-int16x8"])) == {"tflite-int16x8": whole["tflite-int16x8"]}
    assert digests(export(["onnx-w8"])) == {"onnx-w8": whole["onnx-w8"]}


@pytest.mark.long
def test_another_process_gives_the_same_bundle_of_every_precision(export, trained, wav_file, tmp_path):
    """With another hash seed; the default variants are compared so in test_export_bundle."""
    weights, out = tmp_path / "weights.pt", tmp_path / "there" / "tiny-1.0.0.edgeml"
    out.parent.mkdir()
    torch.save(trained.state_dict(), weights)
    environment = os.environ | {"PYTHONHASHSEED": "4711", "PYTHONPATH": os.pathsep.join(sys.path), "PATH": ""}
    program = Path(__file__).with_name("tiny_model.py")
    command = [sys.executable, program, weights, wav_file, out, *IDS]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert digests(out) == digests(export(IDS))
