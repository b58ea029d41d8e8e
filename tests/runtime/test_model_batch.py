"""Files that leave the batch dimension open, and files of the format .ort."""

from __future__ import annotations

import numpy as np
import pytest

from edgeml_runtime import BackendFailedError, InputError, Model

ITEMS = np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32)


def count_runs(model):
    """Let the model's backend tell the length of each batch it is given."""
    lengths = []
    run = model._backend.run

    def counting(feeds):
        lengths.append(len(feeds[0]))
        return run(feeds)

    model._backend.run = counting
    return lengths


@pytest.mark.parametrize(
    ("kind", "lengths"), [("batch", [40]), ("half_open", [1] * 40), ("scores", [1] * 40)], ids=["open", "half", "fixed"]
)
def test_a_batch_is_one_run_where_input_and_output_are_open(bundle_of, kind, lengths):
    with Model.load(bundle_of("scores", "onnx-fp32")) as model:
        expected = [model.predict(item) for item in ITEMS]
    with Model.load(bundle_of(kind, "onnx-fp32")) as model:
        runs = count_runs(model)
        results = model.predict_batch(ITEMS)
    assert runs == lengths
    assert [result.label for result in results] == [result.label for result in expected]
    for found, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(found.outputs["scores"], wanted.outputs["scores"], rtol=1e-6)
        assert found.outputs["scores"].shape == (16,)
        assert found.score == pytest.approx(wanted.score)


def test_items_of_an_open_batch(bundle_of):
    with Model.load(bundle_of("batch", "onnx-fp32")) as model:
        assert model.predict(ITEMS[3]).label == model.predict_batch(ITEMS[3:4])[0].label
        strided = model.predict_batch(np.repeat(ITEMS, 2, axis=0)[::2])
        assert [r.label for r in strided] == [r.label for r in model.predict_batch(ITEMS)]
        first, second = model.predict_batch(ITEMS[:2])
        kept = second.outputs["scores"].copy()
        first.outputs["scores"][:] = -1
        np.testing.assert_array_equal(second.outputs["scores"], kept)
        with pytest.raises(InputError, match="empty batch"):
            model.predict_batch(ITEMS[:0])


def test_a_file_that_drops_items_of_a_batch_is_told(bundle_of):
    with Model.load(bundle_of("first_only", "onnx-fp32")) as model:
        model.predict(ITEMS[0])
        with pytest.raises(BackendFailedError, match=r"expected outputs for 40 items, found \[\(1, 16\)\]; export"):
            model.predict_batch(ITEMS)


def test_ort_files_run_in_onnxruntime(bundle_of):
    with Model.load(bundle_of("scores", "ort-fp32", "onnx-fp32")) as model:
        assert (model.variant.id, model.backend_name) == ("ort-fp32", "onnxruntime")
        found = [result.outputs["scores"] for result in model.predict_batch(ITEMS)]
    with Model.load(bundle_of("scores", "onnx-fp32")) as model:
        expected = [result.outputs["scores"] for result in model.predict_batch(ITEMS)]
    np.testing.assert_array_equal(found, expected)
