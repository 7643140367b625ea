"""make.py FOLDER_OF_SCIKIT_IMAGE FOLDER_OF_SCIKIT_LEARN OUT: the sample photographs, small enough to embed in the binary.

The formats are mixed on purpose: colour and grey JPEG, colour and grey PNG, WebP.
"""

import pathlib
import sys

from PIL import Image

SHORT_SIDE = 480
PHOTOS = [
    # name, source, short side
    ("astronaut.jpg", "astronaut.png", SHORT_SIDE),
    ("cameraman.jpg", "camera.png", SHORT_SIDE),
    ("cat.jpg", "chelsea.png", SHORT_SIDE),
    ("coffee.jpg", "coffee.png", SHORT_SIDE),
    ("coins.png", "coins.png", SHORT_SIDE),
    ("flower.webp", "flower.jpg", SHORT_SIDE),
    ("hubble.jpg", "hubble_deep_field.jpg", SHORT_SIDE),
    ("retina.png", "retina.jpg", 256),
    ("rocket.webp", "rocket.jpg", SHORT_SIDE),
    ("temple.jpg", "china.jpg", SHORT_SIDE),
]
SAVE_AS = {
    ".jpg": {"quality": 85},
    ".png": {"optimize": True},
    ".webp": {"quality": 85},
}


def shrunk(image, short_side):
    scale = min(1, short_side / min(image.size))
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)


def main(scikit_image, scikit_learn, out):
    for name, source, short_side in PHOTOS:
        path = next(folder / source for folder in (scikit_image, scikit_learn) if (folder / source).exists())
        target = out / name
        with Image.open(path) as image:
            shrunk(image, short_side).save(target, **SAVE_AS[target.suffix])
        print(f"{target.name:16} {target.stat().st_size:7} bytes")


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
