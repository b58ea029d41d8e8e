"""Variants, contracts and machines that do not fit: a report or a clear error, and nothing half-written."""

from __future__ import annotations

import resource
import tempfile
from dataclasses import replace

import numpy as np
import onnx
import pytest

from edgeml_runtime.bundle import Bundle
from edgeml_runtime.errors import ProjectError, StorageError


def zeroed(converted):
    """The same file with every int8 weight zero: it runs, and is wrong."""
    model = onnx.load_from_string(converted.content)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) > 1:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros(list(tensor.dims), np.int8), tensor.name))
    return replace(converted, content=model.SerializeToString())


def test_failing_required_variant_means_no_bundle(exported, replay, run_export, occupied):
    replay(onnx_int8=zeroed(exported.converted["onnx-int8"]))
    report = run_export(occupied.path)
    assert not report.ok
    assert report.to_dict()["bundle"] is None
    bad = next(variant for variant in report.variants if variant.id == "onnx-int8")
    assert not bad.shipped
    assert bad.reason.startswith("loses 0.")
    assert "0.0198 is allowed" in bad.reason, "two of 101 items"
    assert sum(variant.shipped for variant in report.variants) == 3
    occupied.assert_untouched()


def test_failing_optional_variant_is_left_out(exported, replay, run_export, make_contract, tmp_path):
    replay(onnx_int8=zeroed(exported.converted["onnx-int8"]))
    report = run_export(tmp_path / "tiny.edgeml", contract=make_contract(required=["onnx-fp32"]))
    assert report.ok
    with Bundle.open(report.bundle) as bundle:
        bundle.verify()
        assert [variant.id for variant in bundle.manifest.variants] == ["tflite-int8", "tflite-fp32", "onnx-fp32"]


def test_fp32_beyond_the_tolerance_is_not_shipped(replay, run_export, make_contract, occupied):
    replay()
    report = run_export(occupied.path, contract=make_contract(fp32_max_abs_of_std=1e-12))
    reasons = {variant.id: variant.reason for variant in report.variants}
    assert "export.fp32_max_abs_of_std allows 1.00e-12" in reasons["tflite-fp32"]
    assert reasons["tflite-int8"] is None
    assert not report.ok
    occupied.assert_untouched()


def test_no_variant_left_means_no_bundle(replay, run_export, make_contract, occupied):
    replay()
    rules = {"variants": ["onnx-fp32"], "required": [], "fp32_max_abs_of_std": 1e-12}
    assert not run_export(occupied.path, contract=make_contract(**rules)).ok
    occupied.assert_untouched()


def test_full_disk_leaves_nothing_behind(replay, run_export, occupied):
    replay()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(StorageError, match="no room"):
            run_export(occupied.path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    occupied.assert_untouched()


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
        run_export(occupied.path, progress=interrupt)
    occupied.assert_untouched()
    assert list(scratch.iterdir()) == []


def test_interrupt_while_calibrating_restores_the_streams(
    run_export, make_contract, occupied, tmp_path, monkeypatch, capfd
):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    def interrupt(event):
        if event.step == "calibrate onnx" and event.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_export(occupied.path, contract=make_contract(variants=["onnx-int8"], required=[]), progress=interrupt)
    occupied.assert_untouched()
    assert list(scratch.iterdir()) == []
    print("heard")
    assert capfd.readouterr() == ("heard\n", "")


CONTRACT_FAULTS = {
    "a scope that is not there": ({"float_scopes": ["frontend"]}, "parts are features, network; found 'frontend'"),
}


@pytest.mark.parametrize(("rules", "message"), CONTRACT_FAULTS.values(), ids=CONTRACT_FAULTS)
def test_unusable_rules_are_refused(run_export, make_contract, occupied, rules, message):
    with pytest.raises(ProjectError, match=message):
        run_export(occupied.path, contract=make_contract(**rules))
    occupied.assert_untouched()


def test_unknown_variant_lists_the_known_ones(exported, run_export, occupied):
    rules = replace(exported.contract.export, variants=("onnx-int4",), required=())
    with pytest.raises(ProjectError, match=r"expected one of onnx-fp32, .*tflite-int16x8.*, found 'onnx-int4'"):
        run_export(occupied.path, contract=replace(exported.contract, export=rules))


def test_required_variant_must_be_exported(exported, run_export, occupied):
    rules = replace(exported.contract.export, variants=("onnx-fp32",))
    with pytest.raises(ProjectError, match=r"export.required.*found 'onnx-int8'"):
        run_export(occupied.path, contract=replace(exported.contract, export=rules))


def test_file_that_is_another_item(replay, run_export, wav_file, occupied):
    replay()
    with pytest.raises(ProjectError, match="makes another tensor of this file"):
        run_export(occupied.path, golden_files={8: str(wav_file)})
    occupied.assert_untouched()


def test_file_that_is_not_there(replay, run_export, tmp_path, occupied):
    replay()
    with pytest.raises(ProjectError, match=r"gone\.wav"):
        run_export(occupied.path, golden_files={7: str(tmp_path / "gone.wav")})
