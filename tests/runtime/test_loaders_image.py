"""The loader ``image``: formats and modes, EXIF rotation, the three fits, and bad files."""

from __future__ import annotations

import io
import random
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from edgeml_runtime.errors import ContractError, InputError
from edgeml_runtime.loaders import LoaderLimits, load_tensor, loader_faults
from edgeml_runtime.tensors import DType, InputSpec, LoaderSpec

RNG = np.random.default_rng(5)
COLOUR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)


def spec(shape, dtype=DType.UINT8, version=1, **options):
    return InputSpec(
        name="image",
        dtype=dtype,
        shape=shape,
        range=(0, 255),
        unit="pixel",
        source="camera",
        loader=LoaderSpec(name="image", version=version, options=options),
    )


def encode(picture, kind="PNG", **settings):
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **settings)
    return buffer.getvalue()


def test_colour_of_the_same_size_comes_through_unchanged():
    tensor = load_tensor(spec((5, 7, 3)), encode(COLOUR))
    assert tensor.dtype == np.uint8
    assert np.array_equal(tensor, COLOUR)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1)])
def test_gray_of_the_same_size_comes_through_unchanged(shape):
    tensor = load_tensor(spec(shape), encode(GRAY))
    assert tensor.shape == shape
    assert np.array_equal(tensor.reshape(5, 7), GRAY)


def test_the_tensor_can_be_written_to():
    load_tensor(spec((5, 7, 3)), encode(COLOUR))[0, 0, 0] = 1


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "JPEG", "GIF"])
def test_every_format_is_decoded(kind):
    settings = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(kind, {})
    smooth = np.broadcast_to(np.linspace(40, 200, 16, dtype=np.uint8), (16, 16))
    tensor = load_tensor(spec((16, 16)), encode(np.ascontiguousarray(smooth), kind, **settings))
    # JPEG rounds its coefficients; the others are lossless here.
    assert np.abs(tensor.astype(int) - smooth).max() <= (3 if kind == "JPEG" else 0)


# EXIF 2.3, tag 0x0112: where row 0 and column 0 of the stored picture are to be shown.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied_before_the_size_is_fitted(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = UPRIGHT[orientation](COLOUR)
    tensor = load_tensor(spec(expected.shape), encode(COLOUR, exif=exif))
    assert np.array_equal(tensor, expected)


def test_luma_follows_bt_601():
    tensor = load_tensor(spec((5, 7)), encode(COLOUR))
    assert np.abs(tensor - COLOUR @ [0.299, 0.587, 0.114]).max() <= 0.51


def test_gray_becomes_three_equal_channels():
    assert np.array_equal(load_tensor(spec((5, 7, 3)), encode(GRAY)), np.repeat(GRAY[:, :, None], 3, axis=2))


def test_sixteen_bits_are_rounded_to_eight():
    wide = np.array([[0, 128, 129, 257, 65535, 32768]], np.uint16)
    assert load_tensor(spec((1, 6)), encode(wide)).tolist() == [[0, 0, 1, 1, 255, 128]]


def test_transparent_pixels_lie_over_white():
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], np.uint8)
    expected = [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]]
    assert load_tensor(spec((1, 3, 3)), encode(pixels)).tolist() == expected
    assert load_tensor(
        spec((1, 2)), encode(Image.fromarray(np.array([[[9, 255], [9, 0]]], np.uint8), "LA"))
    ).tolist() == [[9, 255]]


def test_transparent_palette_entry_lies_over_white():
    palette = Image.new("P", (2, 1))
    palette.putpalette([1, 2, 3, 200, 100, 50])
    palette.putdata([0, 1])
    assert load_tensor(spec((1, 2, 3)), encode(palette, transparency=0)).tolist() == [[[255] * 3, [200, 100, 50]]]


def test_one_bit_and_cmyk_are_converted():
    assert load_tensor(spec((1, 2)), encode(Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1"))).tolist() == [
        [0, 255]
    ]
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red = load_tensor(spec((16, 16, 3)), encode(cmyk, "JPEG", quality=100))[8, 8]
    assert red[0] > 250
    assert red[1] < 5


def test_first_frame_of_an_animation_is_taken():
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (10, 200)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert load_tensor(spec((4, 4)), data)[0, 0] == 10


WIDE = np.repeat(np.repeat(np.array([[10, 90, 170, 250]], np.uint8), 8, axis=0), 4, axis=1)  # 8 × 16, four stripes


def test_pad_keeps_the_whole_picture_and_fills_the_borders_with_128():
    tensor = load_tensor(spec((16, 16)), encode(WIDE))
    assert np.array_equal(tensor[4:12], WIDE)
    assert (tensor[:4] == 128).all()
    assert (tensor[12:] == 128).all()


def test_pad_value_and_the_odd_row_below():
    tensor = load_tensor(spec((9, 16, 3), pad_value=7), encode(WIDE))
    assert (tensor[8] == 7).all()
    assert np.array_equal(tensor[:8, :, 0], WIDE)


def test_crop_keeps_the_middle_at_full_size():
    assert np.array_equal(load_tensor(spec((8, 8), fit="crop"), encode(WIDE)), WIDE[:, 4:12])


def test_crop_scales_the_middle():
    tensor = load_tensor(spec((4, 4), fit="crop"), encode(WIDE))
    assert tensor[0, 0] < 100
    assert tensor[0, 3] > 160
    # The filter looks over the cut by half a pixel of the source, so the outermost column mixes in a quarter of 10.
    assert load_tensor(spec((16, 16), fit="crop"), encode(WIDE)).min() == 70


def test_stretch_gives_up_the_aspect_ratio():
    tensor = load_tensor(spec((8, 4), fit="stretch"), encode(WIDE))
    assert np.abs(tensor.astype(int) - [10, 90, 170, 250]).max() <= 21
    assert (np.diff(tensor.astype(int), axis=1) > 50).all()


def test_shrinking_averages_instead_of_picking_pixels():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    tensor = load_tensor(spec((8, 8), fit="stretch"), encode(stripes))
    assert np.abs(tensor.astype(int) - 127.5).max() < 10


def test_a_line_is_never_scaled_away():
    line = np.full((1, 900), 200, np.uint8)
    tensor = load_tensor(spec((8, 8)), encode(line))
    assert (tensor == 200).sum() == 8


def png_of_size(width, height):
    """A PNG that claims a size and holds nearly nothing."""

    def part(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(b"")) + part(b"IEND", b"")


PHOTO = encode(np.kron(COLOUR, np.ones((8, 8, 1), np.uint8)), "JPEG")
BAD = {
    "empty": (b"", "0 bytes"),
    "text": (b"hello, this is no picture", "cannot be decoded"),
    "truncated JPEG": (PHOTO[: len(PHOTO) // 2], "cannot be decoded"),
    "truncated PNG": (encode(COLOUR)[:-30], "cannot be decoded"),
    "format that is not listed": (encode(GRAY, "PCX"), "cannot be decoded"),
    "too many pixels": (png_of_size(9000, 8000), "at most 64000000 pixels, found 9000 × 8000"),
    "decompression bomb": (png_of_size(60000, 60000), "bomb"),
    "float TIFF": (encode(Image.new("F", (4, 4)), "TIFF"), "floating-point"),
    "32-bit TIFF": (encode(Image.fromarray(np.full((2, 2), 70000, np.int32)), "TIFF"), "outside 0 to 65535"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_refused_and_named(case, tmp_path):
    data, words = BAD[case]
    path = tmp_path / "bad.img"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        load_tensor(spec((8, 8)), path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_pixel_limit_can_be_lowered():
    with pytest.raises(InputError, match="at most 34 pixels, found 7 × 5 = 35"):
        load_tensor(spec((5, 7)), encode(GRAY), limits=LoaderLimits(image_pixels=34))
    assert load_tensor(spec((5, 7)), encode(GRAY), limits=LoaderLimits(image_pixels=35)).shape == (5, 7)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "PPM"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_altered_bytes_give_a_tensor_or_an_input_error(kind):
    data = encode(GRAY, kind)
    generator = random.Random(11)
    for _ in range(150):
        altered = bytearray(data[: generator.randint(len(data) // 2, len(data))])
        for _ in range(generator.randint(1, 4)):
            altered[generator.randrange(len(altered))] = generator.randrange(256)
        try:
            tensor = load_tensor(spec((8, 8)), bytes(altered), limits=LoaderLimits(image_pixels=10_000))
        except InputError:
            continue
        assert tensor.shape == (8, 8)


def test_without_pillow_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match=r"pip install 'edgeml-runtime\[image\]'"):
        load_tensor(spec((5, 7)), b"x")


FAULTS = {
    "unknown version": (spec((8, 8), version=9), "i.loader.version", "this runtime has (1)"),
    "unknown option": (spec((8, 8), resample="bicubic"), "i.loader.resample", "fit, pad_value"),
    "unknown fit": (spec((8, 8), fit="letterbox"), "i.loader.fit", '"pad", "crop", "stretch"'),
    "border value": (spec((8, 8), pad_value=256), "i.loader.pad_value", "from 0 to 255"),
    "dtype": (spec((8, 8), dtype=DType.FLOAT32), "i.dtype", '"uint8"'),
    "channels": (spec((8, 8, 4)), "i.shape", "[height, width, 3]"),
    "channels first": (spec((3, 8, 8)), "i.shape", "[height, width, 3]"),
    "rank": (spec((8,)), "i.shape", "[height, width]"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_fault_of_the_contract_names_key_and_expectation(case):
    wrong, path, expected = FAULTS[case]
    (fault,) = loader_faults(wrong, "i")
    assert fault.path == path
    assert expected in fault.expected
    with pytest.raises(ContractError):
        load_tensor(wrong, encode(GRAY))
