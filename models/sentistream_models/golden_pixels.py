"""The pixel goldens: photographs in every form a feed brings them, and what Pillow makes of each. They depend on no weight.

The pictures are cut from tests/fixtures/photos. `pixels.json` pins the whole result by its SHA-256; `pixels.png` shows it small, one
picture below the other, so that a reader who differs can say by how much. Pillow clips 16-bit grey to white, so for that the reference
is numpy's high byte.
"""

import hashlib
import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy
from PIL import Image
from tqdm import tqdm

from . import contract
from .preprocess import image_pixels

PHOTOS = Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "photos"
PICTURES = "pixels"
ORIENTATION = 0x0112  # the EXIF tag
SHOWN = 32  # side of a picture in pixels.png
ADOBE = b"Adobe"
PNG = b"\x89PNG\r\n\x1a\n"
PICTURE_SUFFIXES = (".jpg", ".png", ".webp", ".gif")
DEEP_GREY = "I;16"

Save = Callable[[Path], object]


def photo(name: str, width: int, height: int) -> Image.Image:
    """A sample photograph at this size."""
    return Image.open(PHOTOS / name).convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def turned(image: Image.Image, orientation: int, **options: object) -> Save:
    """Saves with an EXIF orientation, whatever way up it is."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return lambda path: image.save(path, exif=exif, **options)


def fading(image: Image.Image) -> Image.Image:
    """An alpha channel: opaque in the middle, transparent towards the corners."""
    rows, columns = numpy.mgrid[-1 : 1 : image.height * 1j, -1 : 1 : image.width * 1j]
    return Image.fromarray((numpy.clip(1.6 - 1.5 * numpy.hypot(rows, columns), 0, 1) * 255).astype(numpy.uint8))


def with_alpha(image: Image.Image) -> Image.Image:
    """The picture, fading."""
    image.putalpha(fading(image))
    return image


def inks(image: Image.Image) -> Image.Image:
    """Four inks with some black in each, which Pillow's own conversion does not make."""
    cyan, magenta, yellow, _ = image.convert("CMYK").split()
    black = image.convert("L").point(lambda level: (255 - level) // 2)
    return Image.merge("CMYK", (cyan, magenta, yellow, black))


def save_as_ycck(image: Image.Image) -> Save:
    """Adobe's YCCK, which Pillow reads and does not write: the three inks as YCbCr, and the marker that says so."""

    def save(path: Path) -> None:
        cyan, magenta, yellow, black = inks(image).split()
        light = Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr").split()
        stored = [channel.point(lambda level: 255 - level) for channel in light]  # Pillow inverts what it writes
        buffer = io.BytesIO()
        Image.merge("CMYK", (*stored, black)).save(buffer, "JPEG", quality=88)
        data = bytearray(buffer.getvalue())
        data[data.index(ADOBE) + 11] = 2  # the transform: YCCK
        path.write_bytes(data)

    return save


def deep(name: str, width: int, height: int) -> numpy.ndarray:
    """u16 [H, W, 3] whose low bytes are as good as random."""
    levels = numpy.asarray(photo(name, width, height), numpy.uint32)
    rows, columns, colours = numpy.indices(levels.shape)
    return (levels * 256 + (rows * 151 + columns * 83 + colours * 37 + levels * 29) % 256).astype(numpy.uint16)


def save_deep(values: numpy.ndarray, colour: int) -> Save:
    """A 16-bit PNG of this colour type, which Pillow writes for grey alone."""
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = values.shape[:2]
    rows = values.astype(">u2").reshape(height, -1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")
    return lambda path: path.write_bytes(PNG + chunks)


def deep_alpha(name: str) -> numpy.ndarray:
    """u16 [H, W, 4], fading."""
    colours = deep(name, 49, 37)
    alpha = numpy.asarray(fading(Image.new("L", (49, 37))), numpy.uint32) * 256
    return numpy.dstack([colours, (alpha + numpy.arange(49) * 5 % 256).clip(0, 65535).astype(numpy.uint16)])


def palette(image: Image.Image, transparent: bool) -> Save:
    """At most 64 colours; the commonest half transparent and the next wholly so, where asked for."""
    small = image.quantize(64)
    return lambda path: small.save(path, optimize=True, **({"transparency": bytes([128, 0])} if transparent else {}))


def variants() -> dict[str, Save]:
    """How each file is written."""
    cat, coffee, temple, flower = (photo(f, 97, 73) for f in ("cat.jpg", "coffee.jpg", "temple.jpg", "flower.webp"))
    rocket, small = photo("rocket.webp", 67, 101), photo("astronaut.jpg", 65, 49)
    made: dict[str, Save] = {f"turned_{way}.jpg": turned(temple, way, quality=85) for way in range(1, 9)}
    made |= {f"turned_{way}.png": turned(small, way, optimize=True) for way in (3, 6)}
    made |= {"turned_8.webp": turned(rocket, 8, quality=85)}
    for name, subsampling in (("444", 0), ("422", 1), ("420", 2)):
        made[f"chroma_{name}.jpg"] = lambda path, chosen=subsampling: coffee.save(path, quality=85, subsampling=chosen)
    made |= {
        # Odd, and at SHOWN decoded at a half, a quarter and an eighth of their size.
        **{f"reduced_{way}.jpg": turned(photo("temple.jpg", 283, 237), way, quality=60) for way in range(1, 9)},
        "reduced_444.jpg": lambda path: photo("coffee.jpg", 291, 275).save(path, quality=60, subsampling=0),
        "reduced_grey.jpg": lambda path: photo("rocket.webp", 227, 303).convert("L").save(path, quality=60),
        "reduced_ycck.jpg": save_as_ycck(photo("cat.jpg", 285, 225)),
        "reduced_progressive.jpg": lambda path: photo("flower.webp", 527, 445).save(path, quality=60, progressive=True),
        "reduced_to_a_quarter.jpg": turned(photo("temple.jpg", 603, 451), 6, quality=60),
        "reduced_to_an_eighth.jpg": turned(photo("temple.jpg", 1183, 885), 8, quality=50),
        "progressive.jpg": lambda path: flower.save(path, quality=85, progressive=True),
        "restarts.jpg": lambda path: flower.save(path, quality=85, restart_marker_blocks=3),
        "tall.jpg": lambda path: photo("rocket.webp", 60, 300).save(path, quality=85),  # resized along its columns first
        "grey.jpg": lambda path: rocket.convert("L").save(path, quality=85),
        "cmyk.jpg": lambda path: inks(cat).save(path, quality=88),
        "ycck.jpg": save_as_ycck(cat),
        "grey.png": lambda path: small.convert("L").save(path, optimize=True),
        "grey_alpha.png": lambda path: with_alpha(small.convert("L")).save(path, optimize=True),
        "one_bit.png": lambda path: small.convert("1").save(path, optimize=True),
        "alpha.png": lambda path: with_alpha(small.copy()).save(path, optimize=True),
        "colour_key.png": lambda path: small.point(lambda level: level // 64 * 64).save(path, optimize=True, transparency=(0, 0, 0)),
        "palette.png": palette(small, transparent=False),
        "palette_alpha.png": palette(small, transparent=True),
        "deep.png": save_deep(deep("cat.jpg", 49, 37), 2),
        "deep_alpha.png": save_deep(deep_alpha("coffee.jpg"), 6),
        "deep_grey.png": save_deep(deep("temple.jpg", 49, 37)[..., 1], 0),
        "deep_grey_alpha.png": save_deep(deep_alpha("flower.webp")[..., [1, 3]], 4),
        "lossy.webp": lambda path: flower.save(path, quality=80),
        "lossy_alpha.webp": lambda path: with_alpha(coffee.copy()).save(path, quality=80),
        "lossless.webp": lambda path: small.save(path, lossless=True),
        "lossless_alpha.webp": lambda path: with_alpha(small.copy()).save(path, lossless=True),
        "palette.gif": lambda path: small.quantize(64).save(path),
    }
    return made


def reference(path: Path, size: int) -> numpy.ndarray:
    """u8 [size, size, 3]."""
    image = Image.open(path)
    if image.mode.startswith(DEEP_GREY):
        image = Image.fromarray((numpy.asarray(image) >> 8).astype(numpy.uint8))
    return image_pixels(image, size, contract.IMAGE_CROP)


def write_pixels(folder: Path) -> None:
    """The pictures, `pixels.json` and `pixels.png`."""
    pictures, sheet = folder / PICTURES, folder / "pixels.png"
    pictures.mkdir(exist_ok=True)
    for name, save in variants().items():
        save(pictures / name)
    found = [path for where in (PHOTOS, folder, pictures) for path in sorted(where.iterdir()) if path.suffix in PICTURE_SUFFIXES]
    cases, shown = [], []
    for path in tqdm([path for path in found if path != sheet], desc="pixels"):
        digest = hashlib.sha256(reference(path, contract.IMAGE_SIZE).tobytes()).hexdigest()
        where = path.relative_to(PHOTOS.parent if path.parent == PHOTOS else folder.parent)
        cases.append({"file": where.as_posix(), "sha256": digest})
        shown.append(reference(path, SHOWN))
    golden = {"size": contract.IMAGE_SIZE, "crop": contract.IMAGE_CROP, "shown": SHOWN, "cases": cases}
    (folder / "pixels.json").write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
    Image.fromarray(numpy.vstack(shown)).save(sheet, optimize=True)
