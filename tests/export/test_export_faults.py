"""Models, contracts and machines that do not fit: a clear error or a report, and nothing half-written."""

from __future__ import annotations

import resource
import tempfile
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgeml_runtime.bundle import Bundle
from edgeml_runtime.errors import ProjectError, StorageError


def zeroed(converted):
    """The same file with every int8 weight zero: it runs, and is wrong."""
    model = onnx.load_from_string(converted.content)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) > 1:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros(list(tensor.dims), np.int8), tensor.name))
    return replace(converted, content=model.SerializeToString())


@pytest.fixture
def occupied(tmp_path):
    """A folder in which a bundle lies already."""
    out = tmp_path / "there" / "tiny.edgeml"
    out.parent.mkdir()
    out.write_bytes(b"the bundle of yesterday")
    return out


def assert_untouched(out):
    assert out.read_bytes() == b"the bundle of yesterday"
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_failing_required_variant_means_no_bundle(exported, replay, run_export, occupied):
    replay(onnx_int8=zeroed(exported.converted["onnx-int8"]))
    report = run_export(occupied)
    assert not report.ok
    assert report.to_dict()["bundle"] is None
    bad = next(variant for variant in report.variants if variant.id == "onnx-int8")
    assert not bad.shipped
    assert bad.reason.startswith("loses 0.")
    assert "0.0198 is allowed" in bad.reason, "two of 101 items"
    assert sum(variant.shipped for variant in report.variants) == 3
    assert_untouched(occupied)


def test_failing_optional_variant_is_left_out(exported, replay, run_export, make_contract, tmp_path):
    replay(onnx_int8=zeroed(exported.converted["onnx-int8"]))
    report = run_export(tmp_path / "tiny.edgeml", contract=make_contract(required=["onnx-fp32"]))
    assert report.ok
    with Bundle.open(report.bundle) as bundle:
        bundle.verify()
        assert [variant.id for variant in bundle.manifest.variants] == ["tflite-int8", "tflite-fp32", "onnx-fp32"]


def test_fp32_beyond_the_tolerance_is_not_shipped(replay, run_export, make_contract, occupied):
    replay()
    report = run_export(occupied, contract=make_contract(fp32_max_abs_of_std=1e-12))
    reasons = {variant.id: variant.reason for variant in report.variants}
    assert "export.fp32_max_abs_of_std allows 1.00e-12" in reasons["tflite-fp32"]
    assert reasons["tflite-int8"] is None
    assert not report.ok
    assert_untouched(occupied)


def test_no_variant_left_means_no_bundle(replay, run_export, make_contract, occupied):
    replay()
    rules = {"variants": ["onnx-fp32"], "required": [], "fp32_max_abs_of_std": 1e-12}
    assert not run_export(occupied, contract=make_contract(**rules)).ok
    assert_untouched(occupied)


def test_full_disk_leaves_nothing_behind(replay, run_export, occupied):
    replay()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(StorageError, match="no room"):
            run_export(occupied)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_untouched(occupied)


def test_missing_folder_is_named(replay, run_export, tmp_path):
    replay()
    with pytest.raises(StorageError, match="nowhere"):
        run_export(tmp_path / "nowhere" / "tiny.edgeml")


@pytest.mark.parametrize("step", ["trace", "score PyTorch", "convert onnx-int8", "score onnx-fp32"])
def test_interrupt_leaves_nothing_behind(replay, run_export, occupied, step, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    replay()

    def interrupt(event):
        if event.step == step and event.done == event.total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_export(occupied, progress=interrupt)
    assert_untouched(occupied)
    assert list(scratch.iterdir()) == []


def test_interrupt_while_calibrating_restores_the_streams(
    run_export, make_contract, occupied, tmp_path, monkeypatch, capfd
):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    def interrupt(event):
        if event.step == "calibrate onnx-int8" and event.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_export(occupied, contract=make_contract(variants=["onnx-int8"], required=[]), progress=interrupt)
    assert_untouched(occupied)
    assert list(scratch.iterdir()) == []
    print("heard")
    assert capfd.readouterr() == ("heard\n", "")


def broken(model, change):
    """A copy of the model after a change."""
    import copy

    copied = copy.deepcopy(model)
    change(copied)
    return copied


class Other(nn.Module):
    """The tiny model with a post-processing of its own."""

    def __init__(self, model, after):
        super().__init__()
        self.features, self.network, self.after = model.features, model.network, after

    def forward(self, waveform):
        logits = self.network(self.features(waveform))
        return self.after(logits)


def outputs_of(logits):
    return {"logits": logits, "scores": torch.softmax(logits, dim=-1)}


def with_branch(logits):
    return outputs_of(logits if logits.sum() > 0 else -logits)


def with_nan_weight(model):
    model.network[3].weight.data[0, 0, 0, 0] = float("nan")


FAULTS = {
    "a weight that is NaN": (lambda m: broken(m, with_nan_weight), "finite weights.*network.3.weight"),
    "an output is missing": (lambda m: Other(m, lambda x: {"logits": x}), "no output 'scores'"),
    "no mapping": (lambda m: Other(m, lambda x: x), "mapping from output name to tensor, found Tensor"),
    "another shape": (lambda m: Other(m, lambda x: outputs_of(x[:, :3])), r"float32\[1, 4\].*float32\[1, 3\]"),
    "another dtype": (lambda m: Other(m, lambda x: outputs_of(x.double())), "found float64"),
    "random in eval": (lambda m: Other(m, lambda x: outputs_of(x + torch.rand(1))), "differs between two runs"),
    "NaN from finite weights": (lambda m: Other(m, lambda x: outputs_of(x * float("inf") * 0)), "holds NaN"),
    "forward raises": (lambda m: Other(m, lambda x: x.no_such_method()), "fails on one item of waveform: int16.1, 256"),
    "a branch on values": (lambda m: Other(m, with_branch), "cannot trace.*must not depend on the values"),
}


@pytest.mark.parametrize(("make", "message"), FAULTS.values(), ids=FAULTS)
def test_unusable_model_is_refused(exported, run_export, occupied, make, message):
    with pytest.raises(ProjectError, match=message):
        run_export(occupied, fused=make(exported.model))
    assert_untouched(occupied)


CONTRACT_FAULTS = {
    "a scope that is not there": ({"float_scopes": ["frontend"]}, "parts are features, network; found 'frontend'"),
}


@pytest.mark.parametrize(("rules", "message"), CONTRACT_FAULTS.values(), ids=CONTRACT_FAULTS)
def test_unusable_rules_are_refused(run_export, make_contract, occupied, rules, message):
    with pytest.raises(ProjectError, match=message):
        run_export(occupied, contract=make_contract(**rules))
    assert_untouched(occupied)


def test_unknown_variant_lists_the_known_ones(exported, run_export, occupied):
    rules = replace(exported.contract.export, variants=("onnx-int4",), required=())
    with pytest.raises(ProjectError, match=r"onnx-fp32, onnx-int8, tflite-fp32, tflite-int8, found 'onnx-int4'"):
        run_export(occupied, contract=replace(exported.contract, export=rules))


def test_required_variant_must_be_exported(exported, run_export, occupied):
    rules = replace(exported.contract.export, variants=("onnx-fp32",))
    with pytest.raises(ProjectError, match=r"export.required.*found 'onnx-int8'"):
        run_export(occupied, contract=replace(exported.contract, export=rules))


@pytest.mark.parametrize("which", ["calibration", "test"])
def test_no_items(run_export, items, occupied, which):
    with pytest.raises(ProjectError, match="at least one"):
        run_export(occupied, **{which: items.test.take(slice(0, 0))})


def test_wrong_calibration_items(run_export, items, occupied):
    wrong = replace(items.train, inputs={"waveform": items.train.inputs["waveform"].astype(np.float32)})
    with pytest.raises(ProjectError, match=r"expected int16\[256\] per item, found float32\[256\]"):
        run_export(occupied, calibration=wrong)


def test_file_that_is_another_item(replay, run_export, wav_file, occupied):
    replay()
    with pytest.raises(ProjectError, match="makes another tensor of this file"):
        run_export(occupied, golden_files={8: str(wav_file)})
    assert_untouched(occupied)


def test_file_that_is_not_there(replay, run_export, tmp_path, occupied):
    replay()
    with pytest.raises(ProjectError, match=r"gone\.wav"):
        run_export(occupied, golden_files={7: str(tmp_path / "gone.wav")})


class Sorting(nn.Module):
    """An operator that neither format's converter knows."""

    def forward(self, x):
        return x + torch.linalg.svdvals(x.reshape(-1, 2, 2)).sum()


@pytest.mark.parametrize("variant_id", ["onnx-fp32", "tflite-fp32"])
def test_missing_operator_names_module_and_line(exported, run_export, make_contract, occupied, variant_id):
    model = broken(exported.model, lambda m: m.network.append(Sorting()))
    contract = make_contract(variants=[variant_id], required=[])
    with pytest.raises(ProjectError) as caught:
        run_export(occupied, fused=model, contract=contract)
    message = str(caught.value)
    assert variant_id in message
    assert "svd" in message
    assert "module 'network.10'" in message
    assert "test_export_faults.py:" in message
    assert "export.variants" in message
    assert_untouched(occupied)
