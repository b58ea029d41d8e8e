"""The loader ``image``: an encoded picture to uint8 pixels of a fixed size. Needs Pillow (extra ``[image]``)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, cast

import numpy as np

from edgeml_runtime.errors import Fault, InputError
from edgeml_runtime.loaders.base import choice_fault, integer_fault, unknown_option_faults
from edgeml_runtime.tensors import DType

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray
    from PIL.Image import Image

    from edgeml_runtime.loaders.base import LoaderLimits
    from edgeml_runtime.tensors import InputSpec, LoaderSpec

__all__ = ["ImageLoader"]

_FITS = ("pad", "crop", "stretch")
# Formats whose decoders are part of Pillow itself; EPS, for one, would start another program.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_NEUTRAL = 128


class ImageLoader:
    """Decode, turn upright, convert, resize, pad or crop: in this order (docs/loaders.md).

    Options: ``fit``, ``"pad"`` (default: the whole picture, borders filled), ``"crop"`` (the middle, cut to the
        tensor's
    aspect ratio) or ``"stretch"`` (the whole picture, aspect ratio given up); ``pad_value``, the value of the borders
    (128, which the default normalisation of image features turns into 0).
    """

    versions = (1,)

    def faults(self, spec: InputSpec, path: str) -> list[Fault]:
        """Check dtype (uint8), shape ([height, width], or with 1 or 3 channels behind) and options.

        Args:
            spec: The input.
            path: Key path of the input in the contract.

        Returns:
            Every fault.
        """
        options = cast("LoaderSpec", spec.loader).options
        faults = unknown_option_faults(options, ("fit", "pad_value"), f"{path}.loader")
        faults += choice_fault(options, "fit", _FITS, f"{path}.loader")
        faults += integer_fault(options, "pad_value", 0, 255, f"{path}.loader", default=_NEUTRAL)
        if spec.dtype is not DType.UINT8:
            faults.append(Fault(f"{path}.dtype", '"uint8" for the loader "image"', repr(spec.dtype.value)))
        if len(spec.shape) not in (2, 3) or (len(spec.shape) == 3 and spec.shape[2] not in (1, 3)):
            expected = '[height, width], [height, width, 1] or [height, width, 3] for the loader "image"'
            faults.append(Fault(f"{path}.shape", expected, str(list(spec.shape))))
        return faults

    def load(self, spec: InputSpec, data: bytes, *, name: str, limits: LoaderLimits) -> NDArray[Any]:
        """Decode a picture.

        Args:
            spec: The input, without faults.
            data: The file: JPEG, PNG, BMP, GIF, TIFF, WebP or PPM; the first frame where there are several.
            name: What to call it in messages.
            limits: Largest number of pixels.

        Returns:
            uint8 of the input's shape; RGB with three channels, luma (ITU-R BT.601) otherwise.

        Raises:
            InputError: Pillow is missing, or the data is no such picture, corrupt, truncated or too large.
        """
        options = cast("LoaderSpec", spec.loader).options
        height, width = spec.shape[:2]
        mode = "RGB" if spec.shape[2:] == (3,) else "L"
        picture = _decode(data, mode=mode, name=name, limits=limits)
        pixels = _fit(picture, (width, height), str(options.get("fit", "pad")), int(options.get("pad_value", _NEUTRAL)))
        return np.array(pixels, dtype=np.uint8).reshape(spec.shape)


def _decode(data: bytes, *, mode: str, name: str, limits: LoaderLimits) -> Image:
    """Return the upright picture as ``RGB`` or ``L``."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise InputError(
            f"{name}: expected Pillow for the loader \"image\", found none; run pip install 'edgeml-runtime[image]'"
        ) from error
    # Pillow's decoders are foreign code that meets hostile bytes: besides OSError they let struct, zlib and other
    # errors out.
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            pixels = picture.width * picture.height
            if pixels <= limits.image_pixels:
                picture.load()
                return _convert(ImageOps.exif_transpose(picture), mode)
            size = f"{picture.width} × {picture.height}"
    except Exception as error:
        raise InputError(
            f"{name}: expected a whole picture ({', '.join(_FORMATS)}), found one that cannot be decoded: {error}"
        ) from error
    raise InputError(
        f"{name}: expected at most {limits.image_pixels} pixels, found {size} = {pixels}; scale it down first"
    )


def _convert(picture: Image, mode: str) -> Image:
    """Return the picture as ``RGB`` or ``L``: transparent parts lie over white, 16 bits are rounded to 8."""
    from PIL import Image

    if picture.mode.startswith("I"):
        wide = np.asarray(picture).astype(np.int64)
        if wide.min(initial=0) < 0 or wide.max(initial=0) > 65535:
            raise ValueError("gray levels outside 0 to 65535")
        picture = Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    elif picture.mode == "F":
        raise ValueError("gray levels are floating-point numbers of unknown range")
    elif picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, layer)
    return picture.convert(mode)


def _fit(picture: Image, size: tuple[int, int], fit: str, pad_value: int) -> Image:
    """Resize to (width, height) with Pillow's bilinear filter, whose support grows when shrinking (antialias)."""
    from PIL import Image

    width, height = size
    bilinear = Image.Resampling.BILINEAR
    if fit == "stretch":
        return picture.resize(size, bilinear)
    if fit == "crop":
        scale = min(picture.width / width, picture.height / height)
        left, top = (picture.width - width * scale) / 2, (picture.height - height * scale) / 2
        return picture.resize(size, bilinear, box=(left, top, left + width * scale, top + height * scale))
    scale = min(width / picture.width, height / picture.height)
    inner = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    inner = (min(width, inner[0]), min(height, inner[1]))
    canvas = Image.new(picture.mode, size, (pad_value,) * len(picture.getbands()))
    canvas.paste(picture.resize(inner, bilinear), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return canvas
