"""A user's labelled posts: a folder with `posts.jsonl` or `posts.csv`, or such a list, as `sentistream score` reads it, with a `label`.

A post without a label is passed over, and so is one whose image cannot be read; both are counted. A line that is no post, a label
without a polarity, or too few posts of a label are refused.
"""

import base64
import binascii
import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import regex
from PIL import Image, UnidentifiedImageError

from .manifest import Label
from .refused import Refused

ENDINGS = ("jpg", "jpeg", "png", "webp", "gif")
LISTS = ("posts.jsonl", "posts.csv")
FEWEST_POSTS = 5  # of a label: one for each fold
MOST_CELL_CHARACTERS = 1_000_000
UNREADABLE = (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError)
POSITIVE, NEGATIVE, NEUTRAL = ("positive", "amusement", "awe", "contentment", "excitement", "joy"), (
    "negative", "anger", "disgust", "fear", "sadness",
), ("neutral",)  # fmt: skip
KNOWN = {**dict.fromkeys(POSITIVE, 1.0), **dict.fromkeys(NEGATIVE, -1.0), **dict.fromkeys(NEUTRAL, 0.0)}


@dataclass(frozen=True)
class ListedPost:
    """One post; `image` is a file, or the bytes that came with the line, `label` empty where it has none."""

    label: str
    image: Path | bytes
    metadata: dict[str, Any]

    def image_bytes(self) -> bytes:
        """The file as it is."""
        return self.image if isinstance(self.image, bytes) else self.image.read_bytes()

    def opened(self) -> Image.Image:
        """The picture, not decoded yet."""
        return Image.open(io.BytesIO(self.image_bytes()))


def list_of(data: Path) -> Path:
    """The list that is meant."""
    path = next((data / name for name in LISTS if (data / name).is_file()), None) if data.is_dir() else data
    if path is None or not path.is_file() or path.suffix.lower() not in (".jsonl", ".ndjson", ".csv"):
        raise Refused(f"--data {data} is neither a list of posts (.jsonl, .csv) nor a folder with a {' or '.join(LISTS)}")
    return path


def read_listed(data: Path) -> list[ListedPost]:
    """Every post of the list, labelled or not."""
    path = list_of(data)
    return list(csv_posts(path) if path.suffix.lower() == ".csv" else json_posts(path))


def read_labelled(data: Path) -> tuple[list[ListedPost], int]:
    """The labelled posts, and how many had no label."""
    posts = read_listed(data)
    labelled = [replace(post, label=post.label.casefold()) for post in posts if post.label]
    if not labelled:
        raise Refused(f"{data} has no labelled post; give each a `label` (a column, or a key beside `id`)")
    return labelled, len(posts) - len(labelled)


def csv_posts(path: Path) -> Iterator[ListedPost]:
    """A CSV's rows."""
    csv.field_size_limit(MOST_CELL_CHARACTERS)
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        if not {"image", "id"} & set(columns):
            raise Refused(f"{path} needs a column `image` or `id`; it has {', '.join(columns) or 'none'}")
        for row in rows_of(reader, path):
            cells = {name: value for name, value in row.items() if isinstance(value, str) and value}
            yield ListedPost(cells.get("label", "").strip(), csv_image(path, cells, reader.line_num), csv_metadata(cells))


def rows_of(reader: "csv.DictReader[str]", path: Path) -> "Iterator[dict[str | Any, str | Any]]":
    """Its rows; what is no CSV is refused by its line."""
    try:
        yield from reader
    except csv.Error as error:
        raise Refused(f"{path}, line {reader.line_num}: {error}") from error


def csv_image(path: Path, cells: Mapping[str, str], line: int) -> Path:
    """The row's picture: as named, or found by its id beside the list or in images/."""
    if "image" in cells:
        return path.parent / cells["image"]
    names = [f"{folder}{cells.get('id', '')}.{ending}" for ending in ENDINGS for folder in ("", "images/")]
    found = next((path.parent / name for name in names if "id" in cells and (path.parent / name).is_file()), None)
    if found is None:
        raise Refused(f"{path}, line {line}: no `image`, and no image for id {cells.get('id')!r} beside the list or in images/")
    return found


def csv_metadata(cells: Mapping[str, str]) -> dict[str, Any]:
    """A row's metadata as it would travel."""
    metadata: dict[str, Any] = {key: cells[key] for key in ("scene", "place", "taken_at") if key in cells}
    if caption := cells.get("caption") or cells.get("text"):
        metadata["caption"] = caption
    if "tags" in cells:
        metadata["tags"] = words(cells["tags"])
    if "objects" in cells:
        metadata["objects"] = [{"label": label} for label in words(cells["objects"])]
    return metadata


def words(cell: str) -> list[str]:
    """Separated by `;` where there is one, else by white space."""
    parts = cell.split(";") if ";" in cell else cell.split()
    return [part.strip() for part in parts if part.strip()]


def json_posts(path: Path) -> Iterator[ListedPost]:
    """A JSONL's lines."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield json_post(path, number, line)


def json_post(path: Path, number: int, line: str) -> ListedPost:
    """One line."""
    try:
        post = json.loads(line)
        image, label = post["image"], post.get("label")
        source = path.parent / image["path"] if "path" in image else base64.b64decode(image["data"], validate=True)
        return ListedPost("" if label is None else str(label).strip(), source, checked_metadata(post.get("metadata") or {}))
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        wanted = '{"id", "label", "image": {"path": …} or {"data": …}, "metadata"}'
        raise Refused(f"{path}, line {number}: not a post like {wanted} ({error})") from error


def checked_metadata(metadata: Any) -> dict[str, Any]:
    """Of the types that docs/messages.md has."""
    texts = [metadata.get(key) for key in ("caption", "scene", "place", "taken_at")]
    tags, objects = metadata.get("tags") or [], metadata.get("objects") or []
    if not all(text is None or isinstance(text, str) for text in [*texts, *tags]):
        raise TypeError("metadata: texts must be texts, and tags a list of them")
    if not all(isinstance(item, dict) and isinstance(item.get("label"), str) for item in objects):
        raise TypeError("metadata.objects must be a list of objects with a label")
    if not isinstance(metadata, dict) or not isinstance(tags, list) or not isinstance(objects, list):
        raise TypeError("metadata must be an object, its tags and objects lists")
    return metadata


def polarities(option: str) -> dict[str, float]:
    """`negative=-1,neutral=0` as a table."""
    found = {}
    for part in option.split(","):
        named = regex.fullmatch(r"\s*(.+?)\s*=\s*([+-]?\d*\.?\d+)\s*", part)
        if not named or not -1 <= float(named[2]) <= 1:
            raise Refused(f"--labels: {part!r} is not name=polarity with a polarity from -1 to 1")
        found[named[1].casefold()] = float(named[2])
    return found


def labels_of(posts: Sequence[ListedPost], option: str | None) -> tuple[Label, ...]:
    """The labels in the order given, or from bad to good; each has enough posts and each post one of them."""
    counts = Counter(post.label for post in posts)
    given = polarities(option) if option else {}
    unknown = sorted(set(counts) - set(given or KNOWN))
    if unknown:
        example = ",".join(f"{name}={KNOWN.get(name, 0):g}" for name in sorted(counts))
        raise Refused(f"labels without a polarity: {', '.join(unknown[:8])}; say how good each is, for example --labels {example}")
    chosen = given or dict(sorted(((name, KNOWN[name]) for name in counts), key=lambda item: (item[1], item[0])))
    few = [f"{name} ({counts[name]})" for name in chosen if counts[name] < FEWEST_POSTS]
    if few or len(chosen) < 2:
        raise Refused(f"at least two labels with {FEWEST_POSTS} posts each are needed; too few: {', '.join(few) or 'labels'}")
    return tuple(Label(name, polarity) for name, polarity in chosen.items())
