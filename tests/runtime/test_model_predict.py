"""Predictions and results."""

from __future__ import annotations

import io
import threading
import wave
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from edgeml_runtime import BackendError, BackendFailedError, InputError, Model
from edgeml_runtime.result import Result, ResultLayout
from edgeml_runtime.tensors import DType, LoaderSpec, OutputRole, OutputSpec


@pytest.fixture(params=["onnx-fp32", "tflite-fp32"])
def variant(request):
    return request.param


@pytest.fixture
def model_of(bundle_of, variant):
    opened = []

    def load(kind, **options):
        opened.append(Model.load(bundle_of(kind, variant), **options))
        return opened[-1]

    yield load
    for model in opened:
        model.close()


def one_hot(at, dtype=np.float32):
    x = np.zeros(16, dtype)
    x[at] = 5
    return x


def test_result(model_of, variant):
    model = model_of("scores")
    x = one_hot(2)
    result = model.predict(x)
    expected = np.exp(x) / np.exp(x).sum()
    assert result.label == "c"
    assert result.score == pytest.approx(expected[2], rel=1e-6)
    assert list(result.scores) == list("abcdefghijklmnop")
    assert list(result.scores.values()) == pytest.approx(expected.tolist(), rel=1e-6)
    assert all(type(value) is float for value in result.scores.values())
    assert result.variant == variant
    assert list(result.outputs) == ["scores"]
    assert (result.outputs["scores"].shape, result.outputs["scores"].dtype) == ((16,), np.float32)
    np.testing.assert_allclose(result.outputs["scores"], expected, rtol=1e-6)
    assert repr(result) == f"Result(label='c', score={expected[2]:.4g}, variant={variant!r})"


def test_every_label(model_of):
    model = model_of("scores")
    assert "".join(model.predict(one_hot(at)).label for at in range(16)) == "abcdefghijklmnop"


def test_several_inputs_and_outputs_by_the_contracts_names(model_of):
    result = model_of("two").predict(
        {"counts": np.array([3, 4], np.int32), "pressure": np.array([1, 2, 3, 0], np.float32)}
    )
    assert list(result.outputs) == ["scores", "total"]
    np.testing.assert_array_equal(result.outputs["total"], [9, 11, 13, 7])
    assert result.label == "c"


def test_without_labels(model_of, variant):
    result = model_of("values").predict(np.arange(16, dtype=np.int16))
    assert (result.label, result.score, result.scores) == (None, None, None)
    np.testing.assert_array_equal(result.outputs["wide"], np.arange(16))
    assert repr(result).startswith("Result(outputs={'wide': array(")


def test_a_score_that_is_nan_has_no_label(model_of):
    pressure = np.array([1, np.nan, 3, 4], np.float32)
    result = model_of("two").predict({"pressure": pressure, "counts": np.zeros(2, np.int32)})
    assert result.label is None
    assert np.isnan(result.score)


def test_the_first_of_equal_scores_wins_and_a_scalar_output_stays_an_array():
    outputs = (
        OutputSpec(name="v", dtype=DType.FLOAT32, shape=(), role=OutputRole.VALUE),
        OutputSpec(name="s", dtype=DType.FLOAT32, shape=(3,), role=OutputRole.SCORES, labels=("a", "b", "c")),
    )
    arrays = [np.array([7], np.float32), np.array([[0.2, 0.4, 0.4]], np.float32)]
    result = Result(arrays, ResultLayout(outputs, "onnx-fp32"))
    assert result.label == "b"
    assert isinstance(result.outputs["v"], np.ndarray)
    assert result.outputs["v"].shape == ()


def test_results_keep_their_values(model_of):
    model = model_of("scores")
    results = [model.predict(one_hot(at)) for at in range(16)]
    assert [result.outputs["scores"].argmax() for result in results] == list(range(16))
    results[0].outputs["scores"][:] = 0
    assert model.predict(one_hot(0)).label == "a"


def test_batch(model_of):
    model = model_of("scores")
    items = np.stack([one_hot(at) for at in (3, 1, 2)])
    results = model.predict_batch(items)
    assert [result.label for result in results] == ["d", "b", "c"]
    for item, result in zip(items, results, strict=True):
        np.testing.assert_array_equal(result.outputs["scores"], model.predict(item).outputs["scores"])
    assert [result.label for result in model.predict_batch(np.asfortranarray(items))] == ["d", "b", "c"]


def test_batch_by_name(model_of):
    pressure, counts = np.arange(8, dtype=np.float32).reshape(2, 4), np.array([[1, 2], [3, 4]], np.int32)
    results = model_of("two").predict_batch({"pressure": pressure, "counts": counts})
    np.testing.assert_array_equal(results[1].outputs["total"], pressure[1] * 2 + 7)


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_file(model_of, tmp_path):
    model = model_of("pixels")
    pixels = (np.arange(16, dtype=np.uint8) * 16).reshape(4, 4)
    path = tmp_path / "ramp.png"
    path.write_bytes(png(pixels))
    np.testing.assert_array_equal(model.load_file(path), pixels[..., None])
    result = model.predict_file(path)
    np.testing.assert_array_equal(result.outputs["scores"], model.predict(pixels[..., None]).outputs["scores"])
    (tmp_path / "broken.png").write_bytes(path.read_bytes()[:30])
    with pytest.raises(InputError, match=r"broken\.png"):
        model.predict_file(tmp_path / "broken.png")
    with pytest.raises(InputError, match=r"missing\.png"):
        model.predict_file(tmp_path / "missing.png")
    assert model.predict_file(path).label == result.label


def test_file_without_a_loader(model_of):
    with pytest.raises(InputError, match="exactly one input with a loader; those of this model: none"):
        model_of("scores").predict_file("x.png")


def test_recording(bundle_of, variant, kinds, tmp_path):
    loader = LoaderSpec(name="wav", version=1, options={"sample_rate_hz": 8000})
    widen = kinds["widen"]
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.arange(16, dtype="<i2").tobytes())
    with Model.load(bundle_of(replace(widen, inputs=(replace(widen.inputs[0], loader=loader),)), variant)) as model:
        np.testing.assert_array_equal(model.load_file(tmp_path / "a.wav"), np.arange(16))
        assert model.predict_file(tmp_path / "a.wav").label == "p"


def test_a_failing_backend(model_of):
    model = model_of("lookup")
    with pytest.raises(BackendFailedError, match="bounds"):
        model.predict(np.array([4], np.int32))
    assert model.predict(np.array([3], np.int32)).label == "d"


def test_closed(model_of):
    model = model_of("scores")
    result = model.predict(one_hot(1))
    with model as same:
        assert same is model
    model.close()
    for call in (model.predict, lambda x: model.predict_batch(x[None])):
        with pytest.raises(BackendError, match="closed"):
            call(one_hot(1))
    assert result.label == "b"


@pytest.mark.usefixtures("eager_threads")
def test_threads_share_a_model(model_of):
    model = model_of("scores")
    wrong = []
    start = threading.Barrier(8)

    def work(number):
        start.wait()
        for turn in range(200):
            at = (number * 5 + turn) % 16
            result = model.predict(one_hot(at))
            if result.label != "abcdefghijklmnop"[at] or result.outputs["scores"].argmax() != at:
                wrong.append((number, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.usefixtures("eager_threads")
def test_closing_while_others_predict(model_of):
    model = model_of("scores")
    outcomes = []

    def work():
        try:
            while True:
                assert model.predict(one_hot(4)).label == "e"
        except Exception as error:  # noqa: BLE001 - whatever comes out is what is tested
            outcomes.append(type(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    model.close()
    for thread in threads:
        thread.join(timeout=20)
    assert outcomes == [BackendError] * 4
