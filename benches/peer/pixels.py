"""From an encoded image to what the image encoder sees, u8 [H, W, 3], with Pillow. Pure functions."""

import io
import math
from typing import Any

import numpy
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from sentistream_models.preprocess import centred_square, to_rgb

Pixels = NDArray[numpy.uint8]
Size = tuple[int, int]
ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)
GAP = 1.5
"""How many decoded pixels a side must have for one that is seen; README.md says what fewer would save, and do to the answers."""


def whole(image: bytes, size: Size, crop: float) -> Pixels:
    """By the letter of docs/bundle.md: every pixel is decoded."""
    rgb = to_rgb(Image.open(io.BytesIO(image)))
    return numpy.asarray(rgb.resize(size, Image.Resampling.BICUBIC, box=centred_square(rgb.size, crop)))


def reduced(image: bytes, size: Size, crop: float) -> Pixels:
    """As `whole`, but libjpeg decodes at 1/2, 1/4 or 1/8 where that leaves `GAP` pixels for each that is seen, and EXIF turns the
    small image only: the square is in the middle whichever way."""
    opened: Any = Image.open(io.BytesIO(image))
    if not isinstance(opened, JpegImageFile):
        return whole(image, size, crop)
    width, height = opened.size
    least = max(size) * GAP / (crop * min(width, height))
    drafted = opened.draft("RGB", (math.ceil(width * least), math.ceil(height * least)))
    reduction = width / drafted[1][2] if drafted else 1
    left, top, right, bottom = (edge / reduction for edge in centred_square((width, height), crop))
    rgb = opened if opened.mode == "RGB" else opened.convert("RGB")
    as_stored = size[::-1] if opened.getexif().get(ORIENTATION) in SIDEWAYS else size
    seen = rgb.resize(as_stored, Image.Resampling.BICUBIC, box=(left, top, right, bottom))
    return numpy.asarray(ImageOps.exif_transpose(seen))
