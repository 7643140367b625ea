"""Turns a post's metadata into field texts and its image into pixels, exactly as docs/bundle.md says.

Pure functions, no state. They are the reference that the worker's own preprocessing is tested against
(tests/fixtures/goldens). What the contract leaves open is settled here:

- every value is trimmed, and white space inside `scene`, `objects` and `hashtags` is collapsed; a value of white space alone is empty;
- hashtags are told apart by their lower-case form, object labels by their exact text; the first one stays;
- an object whose score is not given counts as 1; a score of exactly 0.4 is kept.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy
import regex
from PIL import Image, ImageOps, JpegImagePlugin

LINK = regex.compile(r"(?:https?://|www\.)\P{White_Space}+", regex.IGNORECASE)
MENTION = regex.compile(r"@[\p{L}\p{N}_]+")
HASHTAG = regex.compile(r"#([\p{L}\p{N}_]+)")
WHITE_SPACE = regex.compile(r"\p{White_Space}+")
TEMPLATE_VALUE = regex.compile(r"\{(\w+)\}")
WORD_BORDERS = [
    regex.compile(pattern) for pattern in (r"(\p{Ll})(\p{Lu})", r"(\p{Lu})(\p{Lu}\p{Ll})", r"(\p{L})(\p{N})", r"(\p{N})(\p{L})")
]
MIN_OBJECT_SCORE = 0.4

ORIENTATION = 0x0112  # the EXIF tag
LYING = (5, 6, 7, 8)  # orientations whose upright x axis is the stored y axis
MIRRORED_X = (2, 3, 6, 7)  # whose upright x axis runs against the stored one
MIRRORED_Y = (3, 4, 7, 8)
REDUCTIONS = ((8, 2.5), (4, 2.5), (2, 2.0))  # how many times smaller a JPEG may be decoded, and how many times larger than wanted it then stays


def collapse(text: str) -> str:
    """White space (Unicode's `White_Space`) becomes single spaces; none is left at the ends."""
    return WHITE_SPACE.sub(" ", text).strip(" ")


def split_hashtag(tag: str) -> str:
    """`NYCMarathon2026` becomes `NYC Marathon 2026`."""
    words = tag.replace("_", " ")
    for border in WORD_BORDERS:
        words = border.sub(r"\1 \2", words)
    return collapse(words)


def deduplicate(values: Iterable[str], key: Callable[[str], str]) -> list[str]:
    """Keeps the first of the values that share a key, and no empty ones."""
    first_by_key: dict[str, str] = {}
    for value in values:
        if value:
            first_by_key.setdefault(key(value), value)
    return list(first_by_key.values())


def split_caption(text: str) -> tuple[str, list[str]]:
    """The caption without links, mentions and hashtags, and the hashtags as written (without `#`)."""
    without_mentions = MENTION.sub(" ", LINK.sub(" ", text))
    return collapse(HASHTAG.sub(" ", without_mentions)), HASHTAG.findall(without_mentions)


def object_labels(objects: Sequence[Mapping[str, Any]]) -> list[str]:
    """Labels in descending order of score (ties keep their order), those below the least score dropped."""
    scored = [(1.0 if item.get("score") is None else float(item["score"]), str(item["label"])) for item in objects]
    kept = sorted((pair for pair in scored if pair[0] >= MIN_OBJECT_SCORE), key=lambda pair: -pair[0])
    return deduplicate((collapse(label.replace("_", " ")) for _, label in kept), key=lambda label: label)


def metadata_values(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Every value a field's template may name; an empty string where the post brings nothing."""
    caption, hashtags = split_caption(metadata.get("caption") or "")
    given_tags = [collapse(tag).removeprefix("#") for tag in metadata.get("tags") or []]
    tags = deduplicate(map(split_hashtag, [*hashtags, *given_tags]), key=str.lower)
    return {
        "caption": caption,
        "hashtags": ", ".join(tags),
        "scene": collapse((metadata.get("scene") or "").replace("_", " ")),
        "objects": ", ".join(object_labels(metadata.get("objects") or [])),
        "place": trim(metadata.get("place") or ""),
        "taken_at": trim(metadata.get("taken_at") or ""),
    }


def trim(text: str) -> str:
    """White space (Unicode's) taken off both ends, what lies between left as it is."""
    return regex.sub(r"^\p{White_Space}+|\p{White_Space}+$", "", text)


def field_text(parts: Sequence[str], values: Mapping[str, str]) -> str:
    """The parts whose values are all non-empty, filled in and joined; empty means the field is absent."""
    used = [part for part in parts if all(values[name] for name in TEMPLATE_VALUE.findall(part))]
    return ", ".join(TEMPLATE_VALUE.sub(lambda match: values[match.group(1)], part) for part in used)


def to_rgb(image: Image.Image) -> Image.Image:
    """First frame, upright by its EXIF orientation, alpha laid over white, 8-bit RGB."""
    image.seek(0)
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        with_alpha = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", with_alpha.size, "white"), with_alpha).convert("RGB")
    return upright.convert("RGB")


def centred_square(size: tuple[int, int], crop: float) -> tuple[float, float, float, float]:
    """The box (left, top, right, bottom) of the centred square of side `crop * min(size)`."""
    width, height = size
    side = crop * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def resized(rgb: Image.Image, size: int, box: tuple[float, float, float, float]) -> Image.Image:
    """What lies in the box, by Pillow's antialiased bicubic filter."""
    return rgb.resize((size, size), Image.Resampling.BICUBIC, box=box)


def reduction(image: Image.Image, size: int, crop: float) -> int:
    """How many times smaller a JPEG is decoded: as much as leaves the square large enough (REDUCTIONS)."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return 1
    side = crop * min(image.size)
    return next((by for by, least in REDUCTIONS if side >= by * least * size), 1)


def reduce(image: Image.Image, by: int) -> None:
    """Has libjpeg-turbo decode at a `by`-th of the size. A size that is no multiple is rounded up."""
    width, height = image.size
    image.draft(None, (width // by, height // by))
    if image.size != (-(-width // by), -(-height // by)):
        raise RuntimeError(f"asked for a {by}th of {width} x {height}, Pillow decodes {image.size}")


def square_of(image: Image.Image, by: int, crop: float) -> tuple[float, float, float, float]:
    """The centred square of a picture that is not reduced yet, in pixels of the reduced and upright one."""
    orientation = image.getexif().get(ORIENTATION, 1)
    # What a reduced picture has beyond the whole one lies at its right and bottom, until it is turned.
    beyond = [-(-length // by) - length / by for length in image.size]
    across, down = beyond[::-1] if orientation in LYING else beyond
    size = (image.height, image.width) if orientation in LYING else image.size
    left, top, right, bottom = (edge / by for edge in centred_square(size, crop))
    across, down = (across if orientation in MIRRORED_X else 0.0), (down if orientation in MIRRORED_Y else 0.0)
    return left + across, top + down, right + across, bottom + down


def image_pixels(image: Image.Image, size: int, crop: float) -> numpy.ndarray:
    """u8 [size, size, 3]: the centred square. An image that has not been loaded yet may be decoded at a reduced size."""
    by = reduction(image, size, crop)
    box = square_of(image, by, crop)
    if by > 1:
        reduce(image, by)
    return numpy.asarray(resized(to_rgb(image), size, box))
