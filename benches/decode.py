"""What the same JPEGs cost in Pillow, for `benches/decode.rs`: a JSON object a file given, in ms of processor time, the mean of ROUNDS.

`full` decodes and resizes and nothing else, `usual` also turns it upright and makes it RGB, as feeds need it, and `draft` has Pillow decode at a reduced size, at least as large as wanted.
"""

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageOps

SIZE, CROP, ROUNDS = 224, 0.875, 50


def resized(image: Image.Image) -> Image.Image:
    """The centred square, by Pillow's bicubic filter."""
    width, height = image.size
    side = CROP * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))


def full(data: bytes) -> Image.Image:
    """The whole picture is decoded."""
    return resized(Image.open(io.BytesIO(data)))


def usual(data: bytes) -> Image.Image:
    """What a feed needs, as most would write it."""
    return resized(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def draft(data: bytes) -> Image.Image:
    """As small as libjpeg-turbo decodes it without falling below what is wanted."""
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (round(SIZE / CROP), round(SIZE / CROP)))
    return resized(image)


def cost(work: Callable[[bytes], Image.Image], data: bytes) -> float:
    """Milliseconds."""
    work(data)
    started = time.process_time()
    for _ in range(ROUNDS):
        work(data)
    return (time.process_time() - started) / ROUNDS * 1e3


for name in sys.argv[1:]:
    data = Path(name).read_bytes()
    print(json.dumps({work.__name__: cost(work, data) for work in (full, usual, draft)}))
