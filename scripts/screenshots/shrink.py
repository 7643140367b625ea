"""Writes the PNGs of a folder anew with 128 colours, which a page of plain colours does not miss."""

import sys
from pathlib import Path

from PIL import Image

COLOURS = 128


def shrink(path: Path) -> None:
    """Replaces one picture."""
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(path, "PNG", optimize=True)
    print(f"{path}: {path.stat().st_size} bytes")


def main() -> None:
    """Shrinks what the first argument holds."""
    for path in sorted(Path(sys.argv[1]).glob("*.png")):
        shrink(path)


if __name__ == "__main__":
    main()
