"""The loader ``wav``: every encoding, mix-down, resampling, fitting to the fixed length, and bad files."""

from __future__ import annotations

import hashlib
import os
import random
import struct

import numpy as np
import pytest

from edgeml_runtime.errors import ContractError, InputError
from edgeml_runtime.loaders import LOADERS, LoaderLimits, load_tensor, loader_faults
from edgeml_runtime.loaders.resample import resample, resampled_length
from edgeml_runtime.tensors import DType, InputSpec, LoaderSpec

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")


def spec(samples=4, dtype=DType.INT16, name="wav", version=1, **options):
    return InputSpec(
        name="waveform",
        dtype=dtype,
        shape=(samples,),
        range=(-32768, 32767),
        unit="PCM sample",
        source="microphone",
        loader=LoaderSpec(name=name, version=version, options={"sample_rate_hz": 8000} | options),
    )


def chunk(kind, body):
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def wav(body, *, rate=8000, channels=1, bits=16, code=PCM, extensible=False, before=b"", data_size=None):
    fields = (
        EXTENSIBLE if extensible else code,
        channels,
        rate,
        rate * channels * bits // 8,
        channels * bits // 8,
        bits,
    )
    fmt = struct.pack("<HHIIHH", *fields)
    if extensible:
        fmt += struct.pack("<HHIH", 22, bits, 0, code) + GUID_TAIL
    data = chunk(b"data", body)
    if data_size is not None:
        data = b"data" + struct.pack("<I", data_size) + body
    content = b"WAVE" + chunk(b"fmt ", fmt) + before + data
    return b"RIFF" + struct.pack("<I", len(content)) + content


def pcm16(values, **header):
    return wav(np.asarray(values, dtype="<i2").tobytes(), **header)


ENCODINGS = {
    "8-bit": ({"bits": 8}, np.array([0, 128, 255, 129], np.uint8), [-32768, 0, 32512, 256]),
    "16-bit": ({"bits": 16}, np.array([-32768, -1, 0, 32767], "<i2"), [-32768, -1, 0, 32767]),
    "24-bit": (
        {"bits": 24},
        np.frombuffer(
            b"".join((v & 0xFFFFFF).to_bytes(3, "little") for v in (-(2**23), -256, 384, 2**23 - 1)), np.uint8
        ),
        [-32768, -1, 2, 32767],  # 384 / 256 = 1.5 goes to the even neighbour, the largest value is clipped
    ),
    "32-bit": ({"bits": 32}, np.array([-(2**31), -65536, 32768, 2**31 - 1], "<i4"), [-32768, -1, 0, 32767]),
    "float": ({"bits": 32, "code": FLOAT}, np.array([-1.0, -0.5, 0.25, 1.0], "<f4"), [-32768, -16384, 8192, 32767]),
    "double": ({"bits": 64, "code": FLOAT}, np.array([-2.0, -0.5, 0.25, 2.0], "<f8"), [-32768, -16384, 8192, 32767]),
}


@pytest.mark.parametrize("extensible", [False, True], ids=["plain", "extensible"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_gives_the_expected_samples(encoding, extensible):
    header, body, expected = ENCODINGS[encoding]
    tensor = load_tensor(spec(), wav(body.tobytes(), extensible=extensible, **header))
    assert tensor.dtype == np.int16
    assert tensor.tolist() == expected


def test_float32_tensor_has_full_scale_one_and_is_clipped():
    body = np.array([-2.0, -0.5, 1.5, 0.1], "<f4").tobytes()
    tensor = load_tensor(spec(dtype=DType.FLOAT32), wav(body, bits=32, code=FLOAT))
    assert tensor.dtype == np.float32
    assert tensor.tolist() == [-1.0, -0.5, 1.0, np.float32(0.1)]


def test_mix_down_is_the_mean_rounded_half_to_even():
    pairs = [(0, 1), (1, 2), (-1, 0), (-1, -2), (32767, 32767), (-32768, 32767)]
    tensor = load_tensor(spec(samples=6), pcm16(np.ravel(pairs), channels=2))
    assert tensor.tolist() == [0, 2, 0, -2, 32767, 0]


def test_mix_down_of_three_channels_loses_nothing_on_the_way():
    tensor = load_tensor(spec(samples=1), pcm16([32767, 32767, 32766], channels=3))
    assert tensor.tolist() == [32767]


FITTING = {
    ("start", 5): [1, 2, 3, 4, 5],
    ("start", 8): [1, 2, 3, 4, 5, 6, 0, 0],
    ("start", 2): [1, 2],
    ("center", 4): [2, 3, 4, 5],
    ("center", 3): [2, 3, 4],
    ("center", 8): [0, 1, 2, 3, 4, 5, 6, 0],
    ("center", 9): [0, 1, 2, 3, 4, 5, 6, 0, 0],
}


@pytest.mark.parametrize(("align", "samples"), FITTING)
def test_recording_is_padded_or_cropped_to_the_fixed_length(align, samples):
    tensor = load_tensor(spec(samples=samples, align=align), pcm16([1, 2, 3, 4, 5, 6]))
    assert tensor.tolist() == FITTING[align, samples]


def test_alignment_is_at_the_start_by_default():
    data = pcm16([1, 2, 3])
    assert np.array_equal(load_tensor(spec(samples=9), data), load_tensor(spec(samples=9, align="start"), data))


def test_other_chunks_and_odd_sizes_are_skipped():
    tensor = load_tensor(spec(), pcm16([1, 2, 3, 4], before=chunk(b"LIST", b"odd")))
    assert tensor.tolist() == [1, 2, 3, 4]


def test_size_left_open_by_a_streaming_writer_means_up_to_the_end():
    assert load_tensor(spec(), pcm16([1, 2, 3, 4], data_size=0xFFFFFFFF)).tolist() == [1, 2, 3, 4]


def test_path_and_bytes_give_the_same(tmp_path):
    data = pcm16([5, 6, 7, 8])
    path = tmp_path / "ä b.wav"
    path.write_bytes(data)
    for source in (path, str(path), data):
        assert load_tensor(spec(), source).tolist() == [5, 6, 7, 8]


RATES = [(48000, 8000), (44100, 8000), (16000, 8000), (11025, 8000), (8000, 16000), (8000, 44100), (22254, 16000)]


@pytest.mark.parametrize(("source_hz", "target_hz"), RATES)
def test_resampled_tone_is_the_tone_at_the_other_rate(source_hz, target_hz):
    tone_hz, seconds = 440.0, 0.25
    source = np.sin(2 * np.pi * tone_hz * np.arange(round(source_hz * seconds)) / source_hz)
    count = resampled_length(len(source), source_hz=source_hz, target_hz=target_hz)
    out = resample(source, source_hz=source_hz, target_hz=target_hz, first=0, count=count, name="tone")
    expected = np.sin(2 * np.pi * tone_hz * np.arange(count) / target_hz)
    # The filter reaches 32 periods of the lower rate over the ends, where the tone starts and stops.
    edge = 32 * target_hz // min(source_hz, target_hz) + 1
    # The window's ripple in the pass band is about -80 dB.
    assert np.abs(out - expected)[edge:-edge].max() < 2e-4


def test_tone_above_the_new_nyquist_frequency_is_gone():
    source = np.sin(2 * np.pi * 4300.0 * np.arange(16000) / 16000)
    out = resample(source, source_hz=16000, target_hz=8000, first=0, count=8000, name="tone")
    assert np.abs(out[100:-100]).max() < 10 ** (-75 / 20)


def test_a_stretch_equals_the_same_part_of_the_whole():
    source = np.random.default_rng(1).standard_normal(5000)
    whole = resample(source, source_hz=44100, target_hz=16000, first=0, count=1815, name="noise")
    part = resample(source, source_hz=44100, target_hz=16000, first=700, count=400, name="noise")
    assert np.array_equal(whole[700:1100], part)


def test_length_after_resampling_counts_every_started_sample():
    assert [resampled_length(n, source_hz=3, target_hz=2) for n in range(5)] == [0, 1, 2, 2, 3]


def test_version_1_gives_the_same_bytes_for_ever():
    generator = random.Random(7)
    data = pcm16([generator.randint(-20000, 20000) for _ in range(4410)], rate=44100, channels=2)
    tensor = load_tensor(spec(samples=1000, align="center"), data)
    assert hashlib.sha256(tensor.astype("<i2").tobytes()).hexdigest() == GOLDEN_SHA256


GOLDEN_SHA256 = "2445c0bb9fb1493306ff423bcfbf409542a45180087b70ab5faafb4f06319850"

BAD = {
    "empty": (b"", "0 bytes"),
    "other kind": (b"OggS" + bytes(60), "expected a WAV file"),
    "riff of another kind": (b"RIFF\0\0\0\0AVI " + bytes(60), "expected a WAV file"),
    "RF64": (b"RF64" + pcm16([1])[4:], "RF64"),
    "header only": (pcm16([1])[:12], "data chunk"),
    "no data chunk": (pcm16([])[:-8], "data chunk"),
    "data before fmt": (b"RIFF\0\0\0\0WAVE" + chunk(b"data", b"\0\0"), "fmt chunk before"),
    "short fmt": (b"RIFF\0\0\0\0WAVE" + chunk(b"fmt ", b"\1\0\1\0"), "at least 16 bytes"),
    "truncated data": (pcm16(range(100))[:-40], "truncated"),
    "no frames": (pcm16([]), "empty or truncated"),
    "half a frame": (wav(b"\1\2\3"), "whole frames"),
    "A-law": (wav(bytes(4), bits=8, code=6), "A-law"),
    "unknown code": (wav(bytes(4), code=0x1234), "format 0x1234"),
    "12 bits": (wav(bytes(4), bits=12), "12-bit"),
    "float of 16 bits": (wav(bytes(4), bits=16, code=FLOAT), "16-bit"),
    "extensible of another kind": (wav(bytes(4), extensible=True).replace(GUID_TAIL, bytes(14)), "0xfffe"),
    "no channels": (wav(bytes(4), channels=0), "1 to 64 channels"),
    "too many channels": (wav(bytes(130), channels=65), "found 65"),
    "rate 0": (wav(bytes(4), rate=0), "at 0 Hz"),
    "rate over the limit": (wav(bytes(4), rate=768001), "768001"),
    "frame size that contradicts": (
        pcm16([1, 2]).replace(struct.pack("<HH", 2, 16), struct.pack("<HH", 3, 16), 1),
        "expected 2 bytes per frame",
    ),
    "NaN": (wav(np.array([0.0, np.nan], "<f4").tobytes(), bits=32, code=FLOAT), "NaN"),
    "infinity": (wav(np.array([0.0, np.inf], "<f8").tobytes(), bits=64, code=FLOAT), "infinity"),
    "rates without a common divisor": (pcm16([1] * 50, rate=700001), "standard rate"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_refused_and_named(case, tmp_path):
    data, words = BAD[case]
    path = tmp_path / "bad.wav"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        load_tensor(spec(), path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_every_prefix_of_a_file_is_refused():
    data = pcm16([1, 2, 3, 4], extensible=True)
    for length in range(len(data)):
        with pytest.raises(InputError):
            load_tensor(spec(), data[:length])


def test_altered_bytes_give_a_tensor_or_an_input_error():
    data = pcm16(range(40), extensible=True, before=chunk(b"LIST", b"abc"))
    generator = random.Random(3)
    for _ in range(2000):
        altered = bytearray(data)
        for _ in range(generator.randint(1, 4)):
            altered[generator.randrange(len(altered))] = generator.randrange(256)
        try:
            tensor = load_tensor(spec(), bytes(altered))
        except InputError:
            continue
        assert tensor.shape == (4,)


def test_file_over_the_limit_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "long.wav"
    with open(path, "wb") as file:
        file.truncate(1001)
    monkeypatch.setattr("builtins.open", lambda *args: pytest.fail("the file was opened"))
    with pytest.raises(InputError, match="at most 1000 bytes, found 1001"):
        load_tensor(spec(), path, limits=LoaderLimits(file_bytes=1000))


def test_bytes_over_the_limit_are_refused():
    with pytest.raises(InputError, match="at most 10 bytes"):
        load_tensor(spec(), bytes(11), limits=LoaderLimits(file_bytes=10))


def test_missing_file_folder_and_pipe_are_named(tmp_path):
    pipe = tmp_path / "pipe.wav"
    os.mkfifo(pipe)
    for path, words in (
        (tmp_path / "none.wav", "nothing there"),
        (tmp_path, "a folder"),
        (pipe, "a device, pipe or socket"),
    ):
        with pytest.raises(InputError) as caught:
            load_tensor(spec(), path)
        assert str(path) in str(caught.value)
        assert words in str(caught.value)


def test_path_with_a_null_character_is_refused():
    with pytest.raises(InputError, match="cannot be read"):
        load_tensor(spec(), "a\0b.wav")


def test_input_without_a_loader_says_what_to_hand_in():
    bare = InputSpec(name="x", dtype=DType.FLOAT32, shape=(3,), range=(0, 1), unit="", source="")
    assert loader_faults(bare, "inputs[0]") == []
    with pytest.raises(InputError, match=r"no loader.*float32 \[3\]"):
        load_tensor(bare, b"x")


FAULTS = {
    "unknown loader": (spec(name="flac"), "inputs[0].loader.name", '"image", "wav"'),
    "unknown version": (spec(version=2), "inputs[0].loader.version", "this runtime has (1)"),
    "unknown option": (spec(sample_rate=8000), "inputs[0].loader.sample_rate", "sample_rate_hz, align"),
    "rate of another type": (spec(sample_rate_hz="8k"), "inputs[0].loader.sample_rate_hz", "an integer from 1"),
    "rate that is a bool": (spec(sample_rate_hz=True), "inputs[0].loader.sample_rate_hz", "an integer from 1"),
    "unknown alignment": (spec(align="end"), "inputs[0].loader.align", '"start", "center"'),
    "dtype": (spec(dtype=DType.UINT8), "inputs[0].dtype", '"int16" or "float32"'),
}


@pytest.mark.parametrize("case", FAULTS)
def test_fault_of_the_contract_names_key_and_expectation(case):
    wrong, path, expected = FAULTS[case]
    (fault,) = loader_faults(wrong, "inputs[0]")
    assert fault.path == path
    assert expected in fault.expected
    with pytest.raises(ContractError):
        load_tensor(wrong, pcm16([1]))


def test_missing_rate_and_wrong_shape_are_reported_together():
    wrong = InputSpec(
        name="x",
        dtype=DType.INT16,
        shape=(2, 2),
        range=(0, 1),
        unit="",
        source="",
        loader=LoaderSpec(name="wav", version=1),
    )
    assert [fault.path for fault in loader_faults(wrong, "i")] == ["i.loader.sample_rate_hz", "i.shape"]


def test_the_table_of_loaders():
    assert sorted(LOADERS) == ["image", "wav"]
