"""From an encoded image to what the image encoder sees, u8 [H, W, 3], with Pillow. Pure functions."""

import io
import math
from typing import Any

import numpy
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from sentistream_models.preprocess import centred_square, to_rgb

Pixels = NDArray[numpy.uint8]
Size = tuple[int, int]
ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)
GAP = 1.5
"""How many decoded pixels a side must have for one that is seen; see README.md for what more would cost and give."""


def whole(image: bytes, size: Size, crop: float) -> Pixels:
    """By the letter of docs/bundle.md: every pixel is decoded."""
    rgb = to_rgb(Image.open(io.BytesIO(image)))
    return numpy.asarray(rgb.resize(size, Image.Resampling.BICUBIC, box=centred_square(rgb.size, crop)))


def reduced(image: bytes, size: Size, crop: float) -> Pixels:
    """As `whole`, but libjpeg decodes at 1/2, 1/4 or 1/8 where that leaves `GAP` pixels for each that is seen, and nothing is copied
    that is as it should be."""
    opened: Any = Image.open(io.BytesIO(image))
    width, height = opened.size
    if isinstance(opened, JpegImageFile):
        scale = max(size) * GAP / (crop * min(width, height))
        opened.draft("RGB", (max(1, math.ceil(width * scale)), max(1, math.ceil(height * scale))))
    turned = opened.getexif().get(ORIENTATION, 1)
    if opened.mode != "RGB" or turned != 1 or opened.has_transparency_data or getattr(opened, "n_frames", 1) > 1:
        rgb = to_rgb(opened)
        width, height = (height, width) if turned in SIDEWAYS else (width, height)
    else:
        rgb = opened
    # The square of the whole image: a side reduced is rounded up, and would move it.
    across, down = rgb.width / width, rgb.height / height
    left, top, right, bottom = centred_square((width, height), crop)
    box = (left * across, top * down, right * across, bottom * down)
    return numpy.asarray(rgb.resize(size, Image.Resampling.BICUBIC, box=box))
