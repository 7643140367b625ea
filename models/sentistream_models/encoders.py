"""Makes the frozen part of the bundle: both encoders in int8, the tokenizer and the tagger; fp32 twins are kept for comparison."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy

from . import contract
from .features import all_pixels
from .image_encoder import export_image_encoder
from .posts import Post, field_texts
from .quantise import Feed
from .quantise_image import quantise_image_encoder
from .quantise_text import quantise_text_encoder
from .runtime import TextSide, padded_texts
from .tagger import export_tagger, tag_names, tag_sentence
from .teach import Taught, taught_encoder
from .text_encoder import TextEncoder, export_text_encoder, export_tokenizer, truncating_tokenizer

CALIBRATION_IMAGES = 256
CALIBRATION_TEXTS = 400
CALIBRATION_TAGS = 40


def image_feeds(posts: list[Post], cache: Path) -> list[Feed]:
    """A fixed draw of the posts' images."""
    chosen = random.Random(contract.SEED).sample(range(len(posts)), CALIBRATION_IMAGES)
    pixels = all_pixels(posts, cache)
    return [{"pixels": numpy.ascontiguousarray(pixels[index][None])} for index in sorted(chosen)]


class Worded(Protocol):
    """A post's words."""

    @property
    def metadata(self) -> dict[str, Any]: ...


def text_feeds(posts: Sequence[Worded], tokenizer: Path) -> list[Feed]:
    """A fixed draw of the posts' field texts and of tag sentences."""
    chooser = random.Random(contract.SEED)
    texts = sorted({text for post in posts for text in field_texts(post.metadata) if text})
    chosen = chooser.sample(texts, min(len(texts), CALIBRATION_TEXTS))
    chosen += [tag_sentence(name) for name in chooser.sample(tag_names(), CALIBRATION_TAGS)]
    cutting = truncating_tokenizer(tokenizer)
    return [padded_texts([cutting.encode(text).ids]) for text in chosen]


def make_encoders(posts: list[Post], texts: Path, bundle: Path, cache: Path) -> tuple[Path, Taught]:
    """Writes encoders, tokenizer and tagger into the bundle; returns the folder of the fp32 twins, and the taught text encoder."""
    twins = cache / "fp32"
    export_tokenizer(bundle / contract.TOKENIZER)
    taught = taught_encoder(texts, bundle / contract.TOKENIZER, cache)
    write_graphs(taught.encoder, image_feeds(posts, cache), text_feeds(posts, bundle / contract.TOKENIZER), bundle, twins)
    return twins, taught


def write_graphs(encoder: TextEncoder, images: list[Feed], texts: list[Feed], folder: Path, twins: Path) -> None:
    """Encoders and tagger in int8, their ranges taken from the feeds, beside the tokenizer that is there; fp32 into `twins`."""
    twins.mkdir(parents=True, exist_ok=True)
    export_image_encoder(twins / contract.IMAGE_ENCODER)
    export_text_encoder(encoder, twins / contract.TEXT_ENCODER)
    quantise_image_encoder(twins / contract.IMAGE_ENCODER, folder / contract.IMAGE_ENCODER, images)
    quantise_text_encoder(encoder, folder / contract.TEXT_ENCODER, texts)
    text = TextSide(folder / contract.TOKENIZER, folder / contract.TEXT_ENCODER)
    export_tagger(text, folder / contract.TAGGER, folder / contract.TAG_NAMES)
