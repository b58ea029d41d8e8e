"""Inputs that a model file holds in another encoding than the contract's."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from edgeml_runtime import BackendFailedError, BundleFormatError, InputError, Model
from edgeml_runtime.backends import load_backend
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.manifest import InputEncoding
from edgeml_runtime.manifest_json import manifest_to_dict

OFFSET = InputEncoding.OFFSET_BINARY
TFLITE = "tflite-fp32"
ALL_BYTES = np.random.default_rng(0).permutation(256).astype(np.uint8).reshape(16, 4, 4, 1)


def encoded(**inputs):
    return {TFLITE: {"input_encodings": inputs}}


@pytest.fixture
def signed(bundle_of):
    """A model whose file takes pixels less 128, and the same model on the pixels themselves."""
    with Model.load(bundle_of("signed", TFLITE, change=encoded(image=OFFSET))) as model:
        yield model


def test_every_byte_comes_out_as_from_the_file_that_takes_them_as_they_are(signed, bundle_of):
    with Model.load(bundle_of("pixels", TFLITE)) as plain:
        expected = [result.outputs["scores"] for result in plain.predict_batch(ALL_BYTES)]
    found = [result.outputs["scores"] for result in signed.predict_batch(ALL_BYTES)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert len({array.tobytes() for array in found}) == 16


def test_the_encoding_stands_in_the_manifest(signed):
    with Bundle.open(signed.bundle_path) as bundle:
        assert bundle.manifest.variants[0].input_encodings == {"image": OFFSET}
        (variant,) = manifest_to_dict(bundle.manifest)["variants"]
    assert variant["input_encodings"] == {"image": "offset_binary"}
    assert "refused_by" not in variant


def test_inputs_are_only_read_and_checked_as_ever(signed):
    image = np.full((4, 4, 1), 200, np.uint8)
    image.setflags(write=False)
    signed.predict(image)
    strided = np.zeros((8, 8, 1), np.uint8)[::2, ::2]
    assert signed.predict(strided).score == pytest.approx(0.25)
    assert (image == 200).all()
    with pytest.raises(InputError, match="expected dtype uint8, found int8"):
        signed.predict(image.view(np.int8))


def test_one_input_of_several(bundle_of):
    with Model.load(bundle_of("mixed", TFLITE, change=encoded(a=OFFSET))) as model:
        a, b = np.array([0, 127, 128, 255], np.uint8), np.array([1, -2, 3, -4], np.int32)
        outputs = model.predict({"a": a, "b": b}).outputs
    np.testing.assert_array_equal(outputs["same"], a.astype(np.float32))
    np.testing.assert_array_equal(outputs["total"], a.astype(np.float32) + b)


@pytest.mark.usefixtures("eager_threads")
def test_several_threads_at_once(signed):
    expected = [signed.predict(image).scores for image in ALL_BYTES]
    wrong = []

    def work(number):
        wrong.extend(number for _ in range(300) if signed.predict(ALL_BYTES[number]).scores != expected[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(0, 16, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    "feeds",
    [
        [np.zeros((1, 4, 4), np.uint8)],
        [np.zeros((1, 1, 1, 1), np.uint8)],
        [np.zeros((2, 4, 4, 1), np.uint8)],
        [np.zeros((1, 4, 4, 1), np.int8)],
        [np.zeros((1, 4, 4, 1), np.float32)],
        [],
        [ALL_BYTES[:1]] * 2,
    ],
    ids=["rank", "broadcast", "batch", "int8", "float32", "none", "two"],
)
def test_feeds_that_do_not_fit_never_give_a_result(model_bytes, feeds):
    backend = load_backend("litert").create(
        model_bytes("signed.tflite"),
        input_names=["pixels"],
        output_names=["probabilities"],
        threads=1,
        encodings=[OFFSET],
    )
    with pytest.raises(BackendFailedError, match="failed while running the model"):
        backend.run(feeds)
    np.testing.assert_allclose(backend.run([ALL_BYTES[:1] * 0])[0], np.full((1, 4), 0.25), rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "variant", "change", "error", "message"),
    [
        ("signed", TFLITE, {}, BundleFormatError, r"'image' is uint8\[1, 4, 4, 1\] .* tensor is 'pixels' int8"),
        (
            "pixels",
            TFLITE,
            {"image": OFFSET},
            BackendFailedError,
            r"offset_binary needs an int8 input, found 'pixels' uint8",
        ),
        ("pixels", "onnx-fp32", {"image": OFFSET}, BackendFailedError, "onnxruntime takes no encoded inputs"),
    ],
    ids=["not_declared", "declared_of_a_uint8_tensor", "a_backend_that_encodes_nothing"],
)
def test_encodings_that_do_not_fit_the_file(bundle_of, kind, variant, change, error, message):
    path = bundle_of(kind, variant, change={variant: {"input_encodings": change}})
    with pytest.raises(error, match=message):
        Model.load(path)
