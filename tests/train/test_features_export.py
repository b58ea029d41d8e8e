"""Fused features and networks in both formats, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgeml_train.features import Cepstra, Chain, ImageFeatures, LogMel, Standardise, Window
from edgeml_train.networks import dense_autoencoder, digit_cnn, ds_cnn, resnet8

RNG = np.random.default_rng(2)

# Notices of the exporters themselves, about their own use of PyTorch and Python.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def one_thread():
    """Threads that wait for each other cost more than they bring on layers this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def spoken_digits():
    time = np.arange(8000) / 8000
    tones = [a * np.sin(2 * np.pi * f * time) for a, f in ((15000, 300), (300, 900), (20, 2500))]
    noise = RNG.normal(0, [[3000], [100], [5]], (3, 8000))
    edges = np.stack([np.zeros(8000), np.full(8000, -32768), np.where(np.arange(8000) % 50 < 25, 32767, -32768)])
    pcm = np.concatenate([tones + noise, noise, edges]).round().astype(np.int16)
    return LogMel(samples=8000, sample_rate_hz=8000), ds_cnn(10, channels=16, blocks=2), pcm


def keywords():
    _, _, pcm = spoken_digits()
    cepstra = Cepstra(mels=40, coefficients=10)
    return Chain(LogMel(samples=8000, sample_rate_hz=8000), cepstra), ds_cnn(12, channels=8, blocks=1), pcm


def small_photographs():
    return ImageFeatures(), resnet8(10, width=4), RNG.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)


def machine_sounds():
    features = LogMel(samples=3072, sample_rate_hz=16_000, frame=1024, hop=512, mels=16)
    pcm = RNG.integers(-20_000, 20_000, (10, 3072), dtype=np.int16)
    return features, nn.Sequential(nn.Flatten(), dense_autoencoder(80, width=16)), pcm


def handwritten_digits():
    return ImageFeatures(channels=1), digit_cnn(width=8), RNG.integers(0, 256, (10, 8, 8, 1), dtype=np.uint8)


def photographs():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))
    return ImageFeatures(per_channel=True), network, RNG.integers(0, 256, (10, 12, 16, 3), dtype=np.uint8)


def machine_temperature():
    series = RNG.normal(80.0, 5.0, (20, 60)).astype(np.float32)
    series[::3, 7:9] = np.nan
    features = Chain(Window(length=60, size=12, step=4), Standardise(columns=12, indicators=True))
    return features, nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), series


CASES = [
    spoken_digits,
    keywords,
    small_photographs,
    machine_sounds,
    handwritten_digits,
    photographs,
    machine_temperature,
]


def onnx_runner(model, example):
    import onnxruntime

    program = torch.onnx.export(model, (example,), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda item: session.run(None, {name: item})[0]


def tflite_interpreter(model, example, tmp_path):
    import litert_torch
    from ai_edge_litert.interpreter import Interpreter

    path = tmp_path / "model.tflite"
    litert_torch.convert(model, (example,)).export(str(path))
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    return interpreter


def tflite_runner(model, example, tmp_path):
    interpreter = tflite_interpreter(model, example, tmp_path)
    given, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(item):
        interpreter.set_tensor(given, item)
        interpreter.invoke()
        return interpreter.get_tensor(result)

    return run


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.__name__)
def fused(request):
    """A fitted and, as far as batch statistics go, trained model with items and PyTorch's logits."""
    torch.manual_seed(0)
    features, network, items = request.param()
    features.fit(items)
    model = nn.Sequential(features, network)
    with torch.no_grad():
        for _ in range(20):
            model(torch.from_numpy(items))
        model.eval()
        return model, items, model(torch.from_numpy(items)).numpy()


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_fused_model_gives_the_logits_of_pytorch(fused, form, tmp_path):
    model, items, expected = fused
    example = torch.from_numpy(items[:1])
    run = onnx_runner(model, example) if form == "onnx" else tflite_runner(model, example, tmp_path)
    found = np.concatenate([run(items[i : i + 1]) for i in range(len(items))])
    assert np.isfinite(found).all()
    # The bar of the contract (ExportRules.fp32_max_abs_of_std); measured 1e-7 to 1e-6.
    assert np.abs(found - expected).max() <= 1e-4 * expected.std()


def test_a_spectrum_is_computed_by_convolutions_without_transpositions_in_tflite(tmp_path):
    """Products with a constant on their left took 90 of 115 µs of the zoo's autoencoder."""
    features, _, pcm = machine_sounds()
    interpreter = tflite_interpreter(features, torch.from_numpy(pcm[:1]), tmp_path)
    operators = {detail["op_name"] for detail in interpreter._get_ops_details()}
    assert {"DEPTHWISE_CONV_2D", "CONV_2D", "FULLY_CONNECTED"} <= operators
    assert not operators & {"BATCH_MATMUL", "TRANSPOSE"}
