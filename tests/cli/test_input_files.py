"""Numbers for ``edgeml predict`` from .npy and JSON."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from edgeml_cli.input_files import read_arrays
from edgeml_runtime.errors import InputError
from edgeml_runtime.tensors import DType, InputSpec


def spec(name="x", dtype=DType.INT16, shape=(3,)):
    return InputSpec(name=name, dtype=dtype, shape=shape, range=(-100, 100), unit="", source="test")


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("inputs", "data", "expected"),
    [
        ([spec()], b"[1, 2, 3]", {"x": np.array([1, 2, 3], np.int16)}),
        ([spec()], b"  [1.0, 2, -3]", {"x": np.array([1, 2, -3], np.int16)}),
        ([spec(dtype=DType.FLOAT32)], b"[1, 2.5, null]", {"x": np.array([1, 2.5, np.nan], np.float32)}),
        ([spec(shape=(2, 1))], b"[[1], [2]]", {"x": np.array([[1], [2]], np.int16)}),
        ([spec("a"), spec("b", DType.UINT8)], b'{"a": [1], "b": [255]}', {"a": np.int16([1]), "b": np.uint8([255])}),
        ([spec()], npy(np.array([1, 2, 3], np.int16)), {"x": np.array([1, 2, 3], np.int16)}),
        ([spec()], b"RIFF....WAVE", None),
    ],
)
def test_what_is_read(inputs, data, expected):
    arrays = read_arrays(inputs, "-", data)
    if expected is None:
        assert arrays is None
        return
    assert set(arrays) == set(expected)
    for name, array in expected.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


@pytest.mark.parametrize(
    ("inputs", "data", "says"),
    [
        ([spec()], b"[1, 2", "expected JSON"),
        ([spec()], b"[1.5, 2, 3]", "fit int16, found 1.5"),
        ([spec()], b"[40000, 2, 3]", "fit int16, found 40000"),
        ([spec()], b"[1e400, 2, 3]", "fit int16, found inf"),
        ([spec()], b'["a", "b", "c"]', "no numbers"),
        ([spec(dtype=DType.FLOAT32)], b'["1.5"]', "no numbers"),
        ([spec()], b"[true, false, true]", "no numbers"),
        ([spec()], b"[[1], [2, 3]]", "unequal length"),
        ([spec()], b'{"y": [1]}', "expected the inputs x, found y"),
        ([spec("a"), spec("b")], b"[1, 2, 3]", "the model has the inputs a, b"),
        ([spec("a"), spec("b")], npy(np.zeros(3)), "the model has the inputs a, b"),
        ([spec()], npy(np.zeros(3))[:-5], "numpy.save"),
        ([spec()], npy(np.array([{}], dtype=object)), "numpy.save"),
    ],
)
def test_what_does_not_fit_is_refused(inputs, data, says):
    with pytest.raises(InputError, match=says):
        read_arrays(inputs, "-", data)


def test_files_are_told_by_their_ending(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps([1, 2, 3]))
    np.save(tmp_path / "x.npy", np.zeros(3, np.int16))
    assert read_arrays([spec()], str(tmp_path / "x.json"), None)["x"].tolist() == [1, 2, 3]
    assert read_arrays([spec()], str(tmp_path / "x.npy"), None)["x"].tolist() == [0, 0, 0]
    assert read_arrays([spec()], str(tmp_path / "x.wav"), None) is None


def test_an_archive_of_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    (tmp_path / "x.npz").rename(tmp_path / "x.npy")
    with pytest.raises(InputError, match="one array"):
        read_arrays([spec()], str(tmp_path / "x.npy"), None)
