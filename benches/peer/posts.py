"""From a record to what the model reads of the post in it (docs/messages.md). What cannot be read raises `Refused`."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from PIL import Image
from sentistream_models.preprocess import deduplicate, field_text, metadata_values

from .bundle import Bundle
from .pixels import Pixels, Size

MAX_TAGS = 16
MAX_TAG_CHARS = 64
PixelsOf = Callable[[bytes, Size, float], Pixels]


class Message(Protocol):
    """What the peers read of confluent_kafka.Message."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[tuple[str, bytes]] | None: ...
    def timestamp(self) -> tuple[int, int]: ...


class Refused(Exception):
    """A post that becomes a dead letter: a code of docs/messages.md, and what was found."""

    def __init__(self, reason: str, detail: object) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, str(detail)[:300]


@dataclass(frozen=True)
class Post:
    """A post as it came."""

    identifier: str
    source: str | None
    published_at: datetime | None
    image: bytes
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Prepared:
    """What the model reads of a post, and what of it travels to the result."""

    message: Message
    post: Post
    pixels: Pixels
    texts: list[list[int] | None]
    """Token ids of each field; none where it is absent."""
    truncated: bool
    tags: list[str]


def prepare(bundle: Bundle, message: Message, pixels_of: PixelsOf) -> Prepared:
    """Decodes the image and tokenises the texts."""
    post = read(message)
    image = bundle.encoders.image
    try:
        pixels = pixels_of(post.image, bundle.size, image.crop)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise Refused("corrupt_image", error) from error
    try:
        values = metadata_values(post.metadata)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Refused("bad_field", error) from error
    texts = [field_text(field.parts, values) for field in bundle.encoders.fields]
    encoded = iter(bundle.tokenizer.encode_batch_fast([text for text in texts if text]))
    encodings = [next(encoded) if text else None for text in texts]
    return Prepared(
        message,
        post,
        pixels,
        [encoding.ids or None if encoding else None for encoding in encodings],
        any(encoding and encoding.overflowing for encoding in encodings),
        told_tags(values),
    )


def read(message: Message) -> Post:
    """The post in a record, in either encoding."""
    headers = dict(reversed(message.headers() or []))
    value = message.value() or b""
    if not value:
        raise Refused("empty", "the value is 0 bytes long")
    try:
        if headers.get("content-type", b"application/json").startswith(b"image/"):
            fields = {name: headers[f"ce_{header}"].decode() for name, header in FROM_HEADERS.items() if f"ce_{header}" in headers}
            image, metadata = value, json.loads(headers.get("metadata", b"{}"))
        else:
            fields = json.loads(value)
            image, metadata = base64.b64decode(fields["image"]["data"], validate=True), fields.get("metadata")
        key = message.key()
        at = f"{message.topic()}/{message.partition()}/{message.offset()}"
        identifier = fields.get("id") or (key.decode() if key else at)
        return Post(identifier, fields.get("source"), published_at(fields.get("published_at"), message), image, metadata or {})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Refused("bad_field", error) from error


FROM_HEADERS = {"id": "id", "source": "source", "published_at": "time"}


def published_at(given: str | None, message: Message) -> datetime | None:
    """As given, else the record's timestamp."""
    if given:
        return datetime.fromisoformat(given).astimezone(UTC)
    kind, milliseconds = message.timestamp()
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if kind else None


def told_tags(values: Mapping[str, str]) -> list[str]:
    """The post's hashtags, then its objects, as they travel to the result."""
    tags = [tag[:MAX_TAG_CHARS] for name in ("hashtags", "objects") for tag in values[name].split(", ")]
    return deduplicate(tags, key=str.lower)[:MAX_TAGS]
