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
from PIL import Image, ImageOps

LINK = regex.compile(r"(?:https?://|www\.)\P{White_Space}+", regex.IGNORECASE)
MENTION = regex.compile(r"@[\p{L}\p{N}_]+")
HASHTAG = regex.compile(r"#([\p{L}\p{N}_]+)")
WHITE_SPACE = regex.compile(r"\p{White_Space}+")
TEMPLATE_VALUE = regex.compile(r"\{(\w+)\}")
WORD_BORDERS = [
    regex.compile(pattern) for pattern in (r"(\p{Ll})(\p{Lu})", r"(\p{Lu})(\p{Lu}\p{Ll})", r"(\p{L})(\p{N})", r"(\p{N})(\p{L})")
]
MIN_OBJECT_SCORE = 0.4


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


def image_pixels(image: Image.Image, size: int, crop: float) -> numpy.ndarray:
    """u8 [size, size, 3]: the centred square."""
    rgb = to_rgb(image)
    return numpy.asarray(resized(rgb, size, centred_square(rgb.size, crop)))
