"""Everything a caller can hand in wrongly, and what is right although it looks unusual."""

from __future__ import annotations

import numpy as np
import pytest

from edgeml_runtime import InputError, Model
from edgeml_runtime.tensors import DType, InputSpec
from edgeml_runtime.validate import batch_feeds, compile_feeds

F32, I16 = np.float32, np.int16


@pytest.fixture(params=["onnx-fp32", "tflite-fp32"])
def variant(request):
    return request.param


def spoiled(value, at=3, dtype=F32):
    x = np.zeros(16, dtype)
    x[at] = value
    return x


def masked():
    return np.ma.masked_array(np.zeros(16, F32), mask=[True] + [False] * 15)


BAD = {
    # kind, item, what the message says
    "list": ("scores", [0.0] * 16, ["'x'", "numpy array float32[16]", "found list", "np.asarray(x, dtype=np.float32)"]),
    "str": ("scores", "abc", ["numpy array", "found str"]),
    "None": ("scores", None, ["numpy array", "found NoneType"]),
    "bytes": ("scores", bytes(64), ["numpy array", "found bytes"]),
    "numpy scalar": ("scores", F32(1), ["numpy array", "found numpy.float32"]),
    "float64": ("scores", np.zeros(16), ["expected dtype float32, found float64", "x.astype(np.float32)"]),
    "float16": ("scores", np.zeros(16, np.float16), ["found float16", "astype"]),
    "int for float": ("scores", np.zeros(16, np.int32), ["found int32", "astype(np.float32)"]),
    "bool": ("scores", np.zeros(16, bool), ["found bool"]),
    "float for int": ("widen", np.zeros(16, F32), ["expected dtype int16, found float32", "scale and round", "V"]),
    "uint16 for int16": ("widen", np.zeros(16, np.uint16), ["expected dtype int16, found uint16"]),
    "big endian": ("scores", np.zeros(16, ">f4"), ["found >f4", "byte order", "astype(np.float32)"]),
    "complex": ("scores", np.zeros(16, np.complex64), ["found complex64", "np.asarray"]),
    "objects": ("scores", np.array([None] * 16), ["found object", "np.asarray(x, dtype=np.float32)"]),
    "strings": ("scores", np.array(["a"] * 16), ["found <U1"]),
    "structured": ("scores", np.zeros(16, [("a", F32)]), ["expected dtype float32"]),
    "masked": ("scores", masked(), ["masked array", "x.filled(value)"]),
    "batch of one": ("scores", np.zeros((1, 16), F32), ["expected shape [16], found [1, 16]", "predict_batch(x)"]),
    "batch": ("scores", np.zeros((5, 16), F32), ["found [5, 16]", "predict_batch(x)"]),
    "empty batch": ("scores", np.zeros((0, 16), F32), ["found [0, 16]"]),
    "rank": ("scores", np.zeros((4, 4), F32), ["found [4, 4]", "rank must be 1, not 2", "x.reshape((16,))"]),
    "rank and size": ("pixels", np.zeros((4, 4), np.uint8), ["expected shape [4, 4, 1]", "reshape((4, 4, 1))"]),
    "0-d": ("scores", np.array(1, F32), ["expected shape [16], found []", "rank must be 1, not 0"]),
    "short": ("scores", np.zeros(15, F32), ["found [15]", "axis 0 must have 16 values, not 15"]),
    "long": ("scores", np.zeros(17, F32), ["found [17]"]),
    "empty": ("scores", np.zeros(0, F32), ["found [0]"]),
    "transposed": ("pixels", np.zeros((1, 4, 4), np.uint8), ["found [1, 4, 4]", "axis 0 must have 4 values, not 1"]),
    "NaN": ("scores", spoiled(np.nan), ["finite", "nan at index [3]", "fill them in"]),
    "all NaN": ("scores", np.full(16, np.nan, F32), ["nan at index [0] and 15 more"]),
    "infinity": ("scores", spoiled(np.inf), ["inf at index [3]", "division by zero"]),
    "minus infinity": ("scores", spoiled(-np.inf, 15), ["-inf at index [15]"]),
    "above": ("scores", spoiled(10.5), ["values from -10 to 10 V", "found 10.5 at index [3]", "unit and the scaling"]),
    "below": ("values", spoiled(-101, 15, I16), ["values from -100 to 100 V", "found -101 at index [15]"]),
    "several above": ("values", np.full(16, 101, I16), ["found 101 at index [0] and 15 more"]),
    "no names": (
        "two",
        np.zeros(4, F32),
        ["2 inputs", "'pressure': float32[4]", "'counts': int32[2]", "numpy.ndarray"],
    ),
    "no mapping": ("two", [np.zeros(4, F32)], ["expected a mapping", "found list"]),
    "missing name": ("two", {"counts": np.zeros(2, np.int32)}, ["'pressure', 'counts'", "'pressure' missing"]),
    "no name at all": ("two", {}, ["found 0 of them", "'pressure', 'counts' missing"]),
    "typing error": (
        "two",
        {"presure": np.zeros(4, F32), "counts": np.zeros(2, np.int32)},
        ["unknown name 'presure'", "did you mean 'pressure'?"],
    ),
    "name too many": (
        "two",
        {"pressure": np.zeros(4, F32), "counts": np.zeros(2, np.int32), "zzz": 1},
        ["unknown name 'zzz'", "remove it"],
    ),
    "name that is no string": ("scores", {7: np.zeros(16, F32)}, ["unknown name 7"]),
    "None by name": ("two", {"pressure": None, "counts": np.zeros(2, np.int32)}, ["'pressure'", "found NoneType"]),
    "infinity where NaN may be": (
        "two",
        {"pressure": np.array([np.nan, 1, np.inf, 1], F32), "counts": np.zeros(2, np.int32)},
        ["inf at index [2];"],
    ),
    "above where NaN may be": (
        "two",
        {"pressure": np.array([np.nan, 1, 1, 101], F32), "counts": np.zeros(2, np.int32)},
        ["from -100 to 100", "101.0 at index [3]"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_item_is_explained_and_the_model_goes_on(bundle_of, case):
    kind, item, fragments = BAD[case]
    with Model.load(bundle_of(kind, "onnx-fp32")) as model:
        good = {spec.name: np.zeros(spec.shape, spec.dtype.value) for spec in model.manifest.inputs}
        before = model.predict(good)
        with pytest.raises(InputError) as caught:
            model.predict(item)
        message = str(caught.value)
        assert [fragment for fragment in fragments if fragment not in message] == [], message
        after = model.predict(good)
        for name, array in before.outputs.items():
            np.testing.assert_array_equal(after.outputs[name], array)


BAD_BATCH = {
    "one item": ("scores", np.zeros(16, F32), ["batch of shape [n, 16], found [16]", "predict takes one item"]),
    "0-d": ("scores", np.array(0, F32), ["found []"]),
    "empty": ("scores", np.zeros((0, 16), F32), ["at least one item", "empty batch"]),
    "list": ("scores", [np.zeros(16, F32)], ["numpy array", "found list"]),
    "dtype": ("scores", np.zeros((2, 16)), ["found float64"]),
    "last is NaN": ("scores", np.stack([spoiled(0), spoiled(np.nan)]), ["nan at index [1, 3]"]),
    "last is above": ("values", np.stack([spoiled(0, 3, I16), spoiled(101, 5, I16)]), ["101 at index [1, 5]"]),
    "no names": ("two", np.zeros((2, 4), F32), ["expected a mapping"]),
    "missing name": ("two", {"counts": np.zeros((2, 2), np.int32)}, ["'pressure' missing"]),
    "lengths": (
        "two",
        {"pressure": np.zeros((2, 4), F32), "counts": np.zeros((3, 2), np.int32)},
        ["as many items", "'pressure': 2", "'counts': 3"],
    ),
}


@pytest.mark.parametrize("case", BAD_BATCH)
def test_of_a_bad_batch_nothing_is_run(bundle_of, monkeypatch, case):
    kind, items, fragments = BAD_BATCH[case]
    with Model.load(bundle_of(kind, "onnx-fp32")) as model:
        runs = []
        monkeypatch.setattr(model._backend, "run", runs.append)
        with pytest.raises(InputError) as caught:
            model.predict_batch(items)
        assert [fragment for fragment in fragments if fragment not in str(caught.value)] == [], str(caught.value)
        assert runs == []


def ramp(dtype=F32):
    return np.linspace(-5, 5, 16).astype(dtype)


GOOD = {
    "strided": lambda x: np.repeat(x, 2)[::2],
    "reversed": lambda x: x[::-1].copy()[::-1],
    "column": lambda x: np.stack([x, x + 1], axis=1)[:, 0],
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype),
    "unaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), x.dtype, offset=1),
    "memory map": lambda x: np.asarray(x).view(np.memmap),
    "subclass": lambda x: x.view(Tagged),
    "native byte order": lambda x: x.astype(x.dtype.newbyteorder(">")).astype(x.dtype.newbyteorder("<")),
    "by name": lambda x: {"x": x},
    "limits": lambda x: np.where(np.arange(16) % 2, 10, -10).astype(x.dtype),
}


class Tagged(np.ndarray):
    """A subclass that changes nothing."""


@pytest.mark.parametrize("kind", ["scores", "widen"])
@pytest.mark.parametrize("case", GOOD)
def test_unusual_arrays_give_the_same_result(bundle_of, variant, kind, case):
    with Model.load(bundle_of(kind, variant)) as model:
        x = ramp(model.manifest.inputs[0].dtype.value)
        item = GOOD[case](x)
        plain = np.array(item["x"] if isinstance(item, dict) else item, dtype=x.dtype, subok=False)
        np.testing.assert_array_equal(model.predict(item).outputs["scores"], model.predict(plain).outputs["scores"])


def test_fortran_order(bundle_of, variant):
    with Model.load(bundle_of("pixels", variant)) as model:
        image = (np.arange(16, dtype=np.uint8) * 16).reshape(4, 4, 1)
        expected = model.predict(image).outputs["scores"]
        assert len(set(expected.tolist())) == 4
        np.testing.assert_array_equal(model.predict(np.asfortranarray(image)).outputs["scores"], expected)


def test_missing_values_where_the_contract_allows_them(bundle_of, variant):
    with Model.load(bundle_of("two", variant)) as model:
        counts = np.array([1, 2], np.int32)
        result = model.predict({"pressure": np.array([np.nan, 1, 2, 100], F32), "counts": counts})
        np.testing.assert_array_equal(result.outputs["total"][1:], [5, 7, 203])
        assert np.isnan(result.outputs["total"][0])
        model.predict({"pressure": np.full(4, np.nan, F32), "counts": counts})


def test_an_input_may_change_after_the_prediction(bundle_of, variant):
    with Model.load(bundle_of("widen", variant)) as model:
        x = np.arange(16, dtype=I16)
        result = model.predict(x)
        x[:] = 0
        np.testing.assert_array_equal(result.outputs["scores"], np.arange(16))
        assert result.label == "p"


def one_input(dtype, range_, shape=(5,), **more):
    return InputSpec(name="x", dtype=DType(dtype), shape=shape, range=range_, unit="", source="", **more)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 65, 130])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.5, -0.5])
def test_a_bad_value_is_seen_at_every_position(size, value):
    """Vectorised reductions treat the ends of an array apart."""
    feeds = compile_feeds([one_input("float32", (0, 1), (size,))])
    x = np.full(size, 0.5, F32)
    assert feeds(x)[0].shape == (1, size)
    for at in range(size):
        x[at] = value
        with pytest.raises(InputError, match=rf"at index \[{at}\];"):
            feeds(x)
        x[at] = 0.5


@pytest.mark.parametrize(
    ("dtype", "range_", "valid", "invalid"),
    [
        ("float32", (0.1, 0.3), [F32(0.1), F32(0.3)], [np.nextafter(F32(0.1), F32(0)), np.nextafter(F32(0.3), F32(1))]),
        ("float32", (-1e39, 1e39), [np.finfo(F32).max, np.finfo(F32).min], [np.inf, -np.inf, np.nan]),
        ("float32", (0, 0), [0.0, -0.0], [1e-45, -1e-45]),
        ("uint8", (0, 16), [0, 16], [17, 255]),
        ("uint8", (0, 255), [0, 255], []),
        ("int8", (-127, 127), [-127, 127], [-128]),
        ("int16", (-0.5, 2.5), [0, 2], [-1, 3]),
        ("int64", (-(2.0**63), 2.0**63), [-(2**63), 2**63 - 1], []),
        ("int64", (0, 2**53), [0, 2**53], [-1, 2**53 + 1]),
        ("int32", (-1e12, 1e12), [-(2**31), 2**31 - 1], []),
    ],
)
def test_limits(dtype, range_, valid, invalid):
    spec = one_input(dtype, range_)
    feeds = compile_feeds([spec])
    for value in valid:
        x = np.full(5, value, dtype)
        np.testing.assert_array_equal(feeds(x), [x[None]])
        np.testing.assert_array_equal(batch_feeds(x[None], [spec]), [x[None]])
    for value in invalid:
        middle = valid[0]
        x = np.array([middle, middle, value, middle, middle], dtype)
        with pytest.raises(InputError, match=r"at index \[2\];"):
            feeds(x)
        with pytest.raises(InputError, match=r"at index \[0, 2\];"):
            batch_feeds(x[None], [spec])


def test_checks_copy_nothing():
    spec = one_input("float32", (0, 1))
    x = np.zeros(5, F32)
    assert np.shares_memory(compile_feeds([spec])(x)[0], x)
    assert np.shares_memory(compile_feeds([spec])({"x": x})[0], x)


def test_a_scalar_input():
    feeds = compile_feeds([one_input("float32", (0, 1), ())])
    np.testing.assert_array_equal(feeds(np.array(0.5, F32)), [np.array([0.5], F32)])
    with pytest.raises(InputError, match=r"expected shape \[\], found \[1\]: predict takes one item"):
        feeds(np.array([0.5], F32))
