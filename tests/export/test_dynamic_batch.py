"""An open batch dimension: ONNX only, for code that does not fix the batch, with the same answers at once as alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgeml_export import ExportOptions
from edgeml_runtime import Model
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.errors import ProjectError

OPEN = ExportOptions(dynamic_batch=True)
PRECISIONS = ["onnx-fp32", "onnx-fp16", "onnx-w8", "onnx-int8"]


@pytest.fixture(scope="module")
def bundle(trained, make_contract, items, tmp_path_factory):
    """Every precision of ONNX with an open batch."""
    from edgeml_export import export_bundle, vnni_check

    out = tmp_path_factory.mktemp("dynamic") / "tiny.edgeml"
    contract = make_contract(variants=PRECISIONS, required=[])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vnni_check, "emulator", lambda: None)
        report = export_bundle(
            trained, contract=contract, calibration=items.train, test=items.test, out=out, options=OPEN
        )
    assert [variant.reason for variant in report.variants] == [None] * len(PRECISIONS)
    return report


@pytest.mark.parametrize("variant_id", PRECISIONS)
def test_a_batch_gives_what_its_items_give_alone(bundle, items, variant_id):
    waveforms = items.test.inputs["waveform"][:9]
    with Model.load(bundle.bundle, variant=variant_id) as model:
        assert model.self_test().passed
        together = model.predict_batch(waveforms)
        alone = [model.predict(waveform) for waveform in waveforms]
        (single,) = model.predict_batch(waveforms[:1])
    for one, other in zip((*together, single), (*alone, alone[0]), strict=True):
        assert one.outputs["logits"] == pytest.approx(other.outputs["logits"], abs=1e-5)
        assert one.outputs["logits"].shape == (4,)


def test_the_files_leave_the_batch_open_and_run_it_at_once(bundle, items):
    with Bundle.open(bundle.bundle) as opened:
        for variant in opened.manifest.variants:
            graph = onnx.load_from_string(opened.read(variant.file)).graph
            for tensor in (*graph.input, *graph.output):
                batch, *rest = tensor.type.tensor_type.shape.dim
                assert batch.dim_param, (variant.id, tensor.name)
                assert not batch.HasField("dim_value")
                assert all(size.dim_value > 0 for size in rest)
    runs = []
    with Model.load(bundle.bundle, variant="onnx-int8") as model:
        run = model._backend.run
        model._backend.run = lambda feeds: runs.append(len(feeds[0])) or run(feeds)
        model.predict_batch(items.test.inputs["waveform"][:9])
    assert runs == [9]


def test_static_files_run_items_one_by_one(exported, items):
    """The default: a batch of one, which is what devices are fastest with."""
    with Bundle.open(exported.out) as opened:
        graph = onnx.load_from_string(opened.read("variants/onnx-fp32.onnx")).graph
    assert [tensor.type.tensor_type.shape.dim[0].dim_value for tensor in graph.input] == [1]
    with Model.load(exported.out, variant="onnx-fp32") as model:
        results = model.predict_batch(items.test.inputs["waveform"][:3])
    assert len(results) == 3


def test_int8_with_an_open_batch_is_int8_too(bundle):
    counted = next(variant for variant in bundle.variants if variant.id == "onnx-int8").inventory.operators
    assert (counted.int8, counted.float_inside, counted.float_outside) == (3, 1, 0)


def test_tflite_has_a_batch_of_one(run_export, make_contract, occupied):
    contract = make_contract(variants=["tflite-int8"], required=[])
    with pytest.raises(ProjectError, match="TFLite variants have a batch of one: for --dynamic-batch take ONNX"):
        run_export(occupied.path, contract=contract, options=OPEN)
    occupied.assert_untouched()


def test_ranges_found_at_run_time_would_be_those_of_the_batch(run_export, make_contract, occupied):
    contract = make_contract(variants=["onnx-int8-dynamic"], required=[])
    with pytest.raises(ProjectError, match=r"onnx-int8-dynamic: .*answer would depend on the others"):
        run_export(occupied.path, contract=contract, options=OPEN)
    occupied.assert_untouched()


class Reshaping(nn.Module):
    """Ends the tiny model with code that is written for so many items at once."""

    def __init__(self, inner, *shape):
        super().__init__()
        self.inner, self.shape = inner, shape

    def forward(self, waveform):
        logits = self.inner(waveform)["logits"].reshape(self.shape)
        return {"logits": logits, "scores": torch.softmax(logits, -1)}


@pytest.mark.parametrize("shape", [(1, 4), (1, -1)])
def test_code_that_fixes_the_batch_is_told(trained, run_export, make_contract, items, occupied, shape):
    """One fails where it is traced with two items; the other gives one item for all of them."""
    contract = make_contract(variants=["onnx-fp32"], required=[], float_scopes=[])
    with pytest.raises(ProjectError, match=r"open batch dimension.*x\.shape\[0\] or -1.*without --dynamic-batch"):
        run_export(occupied.path, fused=Reshaping(trained, *shape), contract=contract, options=OPEN)
    occupied.assert_untouched()


def test_code_that_fixes_the_batch_is_exported_with_a_batch_of_one(trained, run_export, make_contract, items, tmp_path):
    contract = make_contract(variants=["onnx-fp32"], required=[], float_scopes=[])
    report = run_export(tmp_path / "tiny.edgeml", fused=Reshaping(trained, 1, 4), contract=contract)
    assert report.ok
    waveforms = items.test.inputs["waveform"][:4]
    with Model.load(report.bundle) as model:
        results = model.predict_batch(waveforms)
    expected = trained.eval()(torch.from_numpy(waveforms))["logits"].detach().numpy()
    trained.train()
    assert np.stack([result.outputs["logits"] for result in results]) == pytest.approx(expected, abs=1e-4)
