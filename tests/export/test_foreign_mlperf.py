"""Four files of MLPerf Tiny (Apache-2.0), where they lie beside the checkout or EDGEML_MLPERF_TINY names the folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edgeml_evaluate import LabelledData
from edgeml_export.foreign import export_foreign
from edgeml_export.foreign.data import ForeignData
from edgeml_export.foreign.file import ForeignLimits
from edgeml_export.foreign.tflite import inspect_tflite
from edgeml_export.scheme import Precision
from edgeml_runtime import Bundle, Model
from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.errors import ProjectError

BESIDE = Path(__file__).parents[2] / ".." / "shared" / "models" / "mlperf-tiny"
FILES = Path(os.environ.get("EDGEML_MLPERF_TINY", BESIDE)).resolve()
WORDS = ["down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "silence", "unknown"]

pytestmark = pytest.mark.skipif(not FILES.is_dir(), reason="the files of MLPerf Tiny are not on this machine")


def keyword_contract(dtype, span):
    """The keyword spotter: 49 frames of 10 coefficients, 12 words."""
    table = {
        "model": {"name": "keywords", "version": "1.0.0"},
        "inputs": [
            {
                "name": "mfcc",
                "dtype": dtype,
                "shape": [49, 10, 1],
                "range": span,
                "unit": "cepstral coefficient",
                "source": "microphone",
            }
        ],
        "outputs": [{"name": "scores", "role": "scores", "shape": [12], "labels": WORDS}],
        "target": {"name": "word", "kind": "classification"},
        "metric": {"primary": "accuracy", "floor": 0.0},
    }
    return parse_contract(table, source="test")


@pytest.mark.parametrize(
    ("name", "precision", "weight_bytes", "int8", "float_"),
    [
        ("kws_ref_model.tflite", Precision.INT8, 24368, 10, 0),
        # Its name says float32, but its pointwise convolutions have weights of int8.
        ("kws_ref_model_float32.tflite", Precision.INT8_DYNAMIC, 33584, 5, 5),
        ("ad01_int8.tflite", Precision.INT8, 270880, 10, 0),
        ("ad01_fp32.tflite", Precision.FP32, 1063456, 0, 10),
    ],
)
def test_what_they_are(name, precision, weight_bytes, int8, float_):
    facts = inspect_tflite((FILES / name).read_bytes(), ForeignLimits())
    assert facts.precision is precision
    assert facts.inventory.weight_bytes == weight_bytes
    operators = facts.inventory.operators
    assert (operators.int8, operators.float_outside) == (int8, float_)


def spectra(dtype, count=24):
    """Smooth positive and negative frames, which are no speech, with what the model itself says of them."""
    rng = np.random.default_rng(4)
    frames = rng.normal(0, 25, (count, 49, 10, 1)).cumsum(axis=1) / 7
    return np.clip(frames, -120, 27).astype(dtype)


@pytest.mark.parametrize(
    ("name", "variant", "dtype", "span", "unchanged"),
    [
        ("kws_ref_model.tflite", "tflite-int8", "int8", [-128, 127], False),
        ("kws_ref_model_float32.tflite", "tflite-int8-dynamic", "float32", [-247.0, 30.0], True),
    ],
)
def test_the_keyword_spotters_are_wrapped(tmp_path, name, variant, dtype, span, unchanged):
    contract, out = keyword_contract(dtype, span), tmp_path / "keywords-1.0.0.edgeml"
    unscored = export_foreign(FILES / name, contract=contract, out=out, unscored=True)
    assert unscored.ok, unscored.variants[0].reason
    with Bundle.open(out) as bundle:
        (entry,) = bundle.manifest.variants
        assert entry.id == variant
        assert (bundle.read(entry.file) == (FILES / name).read_bytes()) is unchanged
        assert entry.min_backend_version == "1.0.1"
    frames = spectra(dtype)
    with Model.load(out) as model:
        assert model.self_test().passed
        targets = np.array([WORDS.index(model.predict(frame).label) for frame in frames])
    data = ForeignData(test=LabelledData(inputs={"mfcc": frames}, targets=targets))
    scored = export_foreign(FILES / name, contract=contract, out=out, data=data)
    assert scored.ok, scored.variants[0].reason
    assert scored.variants[0].metric.value == 1.0
    with Model.load(out) as model:
        assert model.self_test().passed


@pytest.mark.parametrize(("name", "dtype"), [("ad01_int8.tflite", "int8"), ("ad01_fp32.tflite", "float32")])
def test_the_autoencoders_give_no_number_that_a_contract_could_predict(tmp_path, name, dtype):
    """Their anomaly score, the error of the reconstruction, is computed outside of the file."""
    table = {
        "model": {"name": "anomaly", "version": "1.0.0"},
        "inputs": [
            {
                "name": "frames",
                "dtype": dtype,
                "shape": [640],
                "range": [-128, 127],
                "unit": "dB",
                "source": "microphone",
            }
        ],
        "outputs": [{"name": "error", "role": "value", "shape": [1], "unit": "dB²"}],
        "target": {"name": "error", "kind": "regression"},
        "metric": {"primary": "mae", "floor": 100.0},
    }
    contract = parse_contract(table, source="test")
    with pytest.raises(ProjectError, match=r"found 'Identity' .*640\]: .* the error of a reconstruction"):
        export_foreign(FILES / name, contract=contract, out=tmp_path / "x.edgeml", unscored=True)
    assert list(tmp_path.iterdir()) == []
