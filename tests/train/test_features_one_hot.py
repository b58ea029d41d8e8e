"""OneHot and Join: what they make of their inputs, and both exported formats against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.preprocessing import OneHotEncoder
from torch import nn

from edgeml_runtime.errors import ProjectError
from edgeml_train.features import Fill, Join, OneHot, Standardise

RNG = np.random.default_rng(6)
SIZES = (3, 1, 5)
INDICES = np.stack([RNG.integers(-1, size, 200) for size in SIZES], axis=1).astype(np.int32)
NUMBERS = np.where(RNG.random((200, 4)) < 0.1, np.nan, RNG.normal(20.0, 5.0, (200, 4))).astype(np.float32)


def test_one_hot_equals_scikit_learn():
    encoder = OneHotEncoder(categories=[range(size + 1) for size in SIZES], sparse_output=False)
    unknown_last = np.where(INDICES < 0, SIZES, INDICES)
    pipeline = OneHot(SIZES)
    pipeline.fit({"categories": INDICES})
    found = pipeline(torch.from_numpy(INDICES))

    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found.numpy(), encoder.fit_transform(unknown_last))


@pytest.mark.parametrize("index", [-1, -2, 3, 4, 100, np.iinfo(np.int32).min, np.iinfo(np.int32).max])
def test_every_index_that_is_no_category_is_the_unknown(index):
    assert OneHot([3, 7])(torch.tensor([[index, 6]], dtype=torch.int32)).tolist() == [
        [0.0, 0.0, 0.0, 1.0, *[0.0] * 6, 1.0, 0.0]
    ]


@pytest.mark.parametrize("sizes", [(), (3, 0)])
def test_one_hot_refuses_columns_without_categories(sizes):
    with pytest.raises(ProjectError, match="OneHot: expected at least one column, each of one category or more"):
        OneHot(sizes)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (INDICES.astype(np.float32), r"expected indices of shape \[items, 3\], found float32 \[200, 3\]"),
        (INDICES[:, :2], r"found int32 \[200, 2\]"),
        (INDICES[:, 0], r"found int32 \[200\]"),
        (INDICES + 1, r"expected indices below \[3, 1, 5\], found up to \[3, 1, 5\]; correct the sizes"),
    ],
)
def test_one_hot_refuses_what_it_is_not_for(values, message):
    with pytest.raises(ProjectError, match=message):
        OneHot(SIZES).fit(values)


def joined():
    return Join({"numbers": Standardise(columns=4, fill=Fill.MEDIAN), "categories": OneHot(SIZES)})


def test_join_fits_each_on_its_own_input_and_joins_in_order():
    pipeline, alone = joined(), Standardise(columns=4, fill=Fill.MEDIAN)
    pipeline.fit({"categories": INDICES, "numbers": NUMBERS})
    alone.fit(NUMBERS)
    found = pipeline(torch.from_numpy(NUMBERS), torch.from_numpy(INDICES))

    assert found.shape == (200, 4 + 4 + 2 + 6)
    assert torch.equal(found[:, :4], alone(torch.from_numpy(NUMBERS)))
    assert torch.equal(found[:, 4:], OneHot(SIZES)(torch.from_numpy(INDICES)))


def test_join_of_one_is_that_one():
    pipeline = Join({"categories": OneHot(SIZES)})
    pipeline.fit({"categories": INDICES})

    assert torch.equal(pipeline(torch.from_numpy(INDICES)), OneHot(SIZES)(torch.from_numpy(INDICES)))


def test_join_refuses_other_inputs():
    with pytest.raises(ProjectError, match="Join: expected at least one pipeline, found none"):
        Join({})
    with pytest.raises(ProjectError, match=r"Join\.fit: expected the inputs 'numbers', 'categories', found 'numbers'"):
        joined().fit({"numbers": NUMBERS})
    with pytest.raises(ProjectError, match="found one array"):
        joined().fit(NUMBERS)
    with pytest.raises(ProjectError, match="Join: expected a FeaturePipeline for 'numbers', found ReLU"):
        Join({"numbers": nn.ReLU()}).fit({"numbers": NUMBERS})


def test_what_was_fitted_travels_in_the_state():
    pipeline, fresh = joined(), joined()
    pipeline.fit({"numbers": NUMBERS, "categories": INDICES})
    fresh.load_state_dict(pipeline.state_dict())
    items = torch.from_numpy(NUMBERS), torch.from_numpy(INDICES)

    assert torch.equal(fresh(*items), pipeline(*items))


@pytest.fixture(scope="module")
def fused():
    """Fitted features and a network, with items among which are every unknown, and PyTorch's logits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    features = joined()
    features.fit({"numbers": NUMBERS, "categories": INDICES})
    model = nn.Sequential()
    model.features, model.network = features, nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    model.forward = lambda *inputs: model.network(model.features(*inputs))
    numbers, indices = NUMBERS[:20].copy(), INDICES[:20].copy()
    numbers[0], indices[0], indices[1], indices[2] = np.nan, -1, 99, np.iinfo(np.int32).min
    with torch.no_grad():
        expected = model.eval()(torch.from_numpy(numbers), torch.from_numpy(indices)).numpy()
    yield model, (numbers, indices), expected
    torch.set_num_threads(threads)


def onnx_runner(model, example):
    import onnxruntime

    program = torch.onnx.export(model, example, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return lambda items: session.run(None, dict(zip(names, items, strict=True)))[0]


def tflite_runner(model, example, tmp_path):
    import litert_torch
    from ai_edge_litert.interpreter import Interpreter

    path = tmp_path / "model.tflite"
    litert_torch.convert(model, example).export(str(path))
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    given = sorted(interpreter.get_input_details(), key=lambda detail: detail["name"])
    result = interpreter.get_output_details()[0]["index"]

    def run(items):
        for detail, item in zip(given, items, strict=True):
            interpreter.set_tensor(detail["index"], item)
        interpreter.invoke()
        return interpreter.get_tensor(result)

    return run


@pytest.mark.filterwarnings("ignore")  # notices of the exporters themselves, about their own use of PyTorch and Python
@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_both_formats_give_the_logits_of_pytorch(fused, form, tmp_path):
    model, items, expected = fused
    example = tuple(torch.from_numpy(values[:1]) for values in items)
    run = onnx_runner(model, example) if form == "onnx" else tflite_runner(model, example, tmp_path)
    found = np.concatenate([run([values[i : i + 1] for values in items]) for i in range(20)])

    assert np.isfinite(found).all()
    # The bar of the contract (ExportRules.fp32_max_abs_of_std).
    assert np.abs(found - expected).max() <= 1e-4 * expected.std()
