"""The photographs of the goldens: public-domain and CC0 pictures that scikit-image carries, written in the formats that differ.

JPEG decoders may differ by a level or two; PNG, GIF and lossless WebP may not.
"""

from pathlib import Path

import numpy
import skimage.data
from PIL import Image

ORIENTATION = 0x0112  # the EXIF tag

LICENCES = """# Goldens

Made by `python -m sentistream_models goldens` from the committed bundle with Pillow, tokenizers and ONNX Runtime in Python; other
implementations are held against them.

- `goldens.json`: posts scored alone; the only one that depends on the bundle's weights.
- `text.json`: metadata and the field texts it makes.
- `tokens.json`: texts and the token ids that `transformers` makes of them.
- `pixels.json`: pictures (those below, `pixels/`, and `../photos`) and the SHA-256 of what Pillow makes of each, u8 [224, 224, 3];
  `pixels.png` has the same at 32 x 32, one below the other, to tell by how much a reader differs.

`pixels/` is cut from `../photos`, whose README has authors and terms: every EXIF orientation, JPEG of each chroma, progressive, with
restarts, grey, CMYK and YCCK, PNG and WebP with and without alpha, palettes, 1 and 16 bits.

The other pictures are from the scikit-image package (`skimage.data`; the terms are those its documentation gives), reduced and re-encoded:

| file | picture | terms |
|---|---|---|
| `cat.jpg`, `cat_alpha.png` | `chelsea`, Stefan van der Walt | CC0 |
| `coffee.webp` | `coffee`, Rachel Michetti | CC0 |
| `astronaut.png`, `astronaut_turned.jpg` (EXIF orientation 6) | `astronaut`, NASA Great Images | public domain |
| `camera_grey.jpg` | `camera`, Lav Varshney | CC0 |
| `rocket.jpg`, `rocket_palette.png` | `rocket`, SpaceX | public domain |
| `galaxies.webp` (lossless) | `hubble_deep_field`, NASA | public domain |
| `two_frames.gif` | `coffee`, then `chelsea` | CC0 |
"""


def photo(name: str, width: int) -> Image.Image:
    """A picture of scikit-image's, reduced to this width."""
    image = Image.fromarray(getattr(skimage.data, name)())
    return image.resize((width, round(width * image.height / image.width)), Image.Resampling.LANCZOS)


def fading(image: Image.Image) -> Image.Image:
    """Opaque in the middle, transparent towards the corners."""
    rows, columns = numpy.mgrid[-1 : 1 : image.height * 1j, -1 : 1 : image.width * 1j]
    alpha = numpy.clip(1.6 - 1.5 * numpy.hypot(rows, columns), 0, 1) * 255
    return Image.merge("RGBA", [*image.split(), Image.fromarray(alpha.astype(numpy.uint8))])


def write_images(folder: Path) -> None:
    """All files, and the note on their terms."""
    photo("chelsea", 440).save(folder / "cat.jpg", quality=88)
    fading(photo("chelsea", 320)).save(folder / "cat_alpha.png", optimize=True)
    photo("coffee", 480).save(folder / "coffee.webp", quality=85)
    photo("astronaut", 320).save(folder / "astronaut.png", optimize=True)
    turned = photo("astronaut", 400).resize((400, 520)).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned.save(folder / "astronaut_turned.jpg", quality=88, exif=exif)
    photo("camera", 380).save(folder / "camera_grey.jpg", quality=88)
    photo("rocket", 520).save(folder / "rocket.jpg", quality=85, progressive=True)
    photo("rocket", 320).quantize(64).save(folder / "rocket_palette.png", optimize=True)
    photo("hubble_deep_field", 320).save(folder / "galaxies.webp", lossless=True)
    first, second = (photo(name, 320).resize((320, 213)).quantize(32) for name in ("coffee", "chelsea"))
    first.save(folder / "two_frames.gif", save_all=True, append_images=[second], duration=400)
    (folder / "README.md").write_text(LICENCES, encoding="utf-8")
