"""Other views of a picture, for training: mirrored, cut elsewhere, compressed anew. The first view is the picture as it is served."""

import io
import random
from collections.abc import Iterator

import numpy
from PIL import Image

from .contract import IMAGE_CROP, IMAGE_SIZE
from .preprocess import centred_square, resized, to_rgb

VIEWS = 6
LEAST_CROP = 0.65
QUALITIES = (50, 90)


def views(image: Image.Image, chooser: random.Random) -> Iterator[numpy.ndarray]:
    """VIEWS times u8 [H, W, 3]: as served, mirrored, the whole square, and squares drawn at random."""
    rgb = to_rgb(image)
    served = resized(rgb, IMAGE_SIZE, centred_square(rgb.size, IMAGE_CROP))
    yield numpy.asarray(served)
    yield numpy.asarray(mirrored(served))
    yield numpy.asarray(resized(rgb, IMAGE_SIZE, centred_square(rgb.size, 1.0)))
    for _ in range(VIEWS - 3):
        view = resized(rgb, IMAGE_SIZE, random_square(rgb.size, chooser))
        view = mirrored(view) if chooser.random() < 0.5 else view
        yield numpy.asarray(compressed(view, chooser) if chooser.random() < 0.5 else view)


def mirrored(image: Image.Image) -> Image.Image:
    """Left for right."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def random_square(size: tuple[int, int], chooser: random.Random) -> tuple[float, float, float, float]:
    """A square of at least LEAST_CROP of the short side, anywhere."""
    side = chooser.uniform(LEAST_CROP, 1.0) * min(size)
    left, top = (chooser.uniform(0, length - side) for length in size)
    return left, top, left + side, top + side


def compressed(image: Image.Image, chooser: random.Random) -> Image.Image:
    """As JPEG leaves it."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=chooser.randint(*QUALITIES))
    return Image.open(buffer).convert("RGB")
