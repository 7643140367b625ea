"""Writes tests/fixtures/goldens: what this package makes of a few posts and of many pictures and texts, for other implementations to
meet. `goldens.json` alone depends on the bundle.
"""

import base64
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy
from PIL import Image
from tqdm import tqdm

from . import contract
from .golden_images import write_images
from .golden_pixels import write_pixels
from .golden_texts import CAPTIONS, METADATA, POSTS
from .golden_tokens import write_tokens
from .posts import field_texts
from .preprocess import image_pixels, metadata_values
from .runtime import Bundle

SHOWN = 8
GRID = (28, 84, 140, 196)
FIELD_NAMES = [field.name for field in contract.FIELDS]


def by_field(values: list[Any]) -> dict[str, Any]:
    """Named by field; nothing for an absent one."""
    return {name: value or None for name, value in zip(FIELD_NAMES, values, strict=True)}


def text_case(metadata: dict[str, Any]) -> dict[str, Any]:
    """One case of `text.json`."""
    return {
        "metadata": metadata,
        "values": metadata_values(metadata),
        "field_texts": by_field(field_texts(metadata)),
    }


def rounded(values: numpy.ndarray) -> list[float]:
    """As many digits as fp32 tells apart."""
    return [float(f"{value:.8g}") for value in values]


def direction(vector: numpy.ndarray) -> str:
    """Base64 of little-endian i16, the greatest of them 32767 in size: enough for a cosine."""
    return base64.b64encode(numpy.round(vector / numpy.abs(vector).max() * 32767).astype("<i2").tobytes()).decode()


def golden_post(bundle: Bundle, folder: Path, name: str, image: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """One entry of `goldens.json`: the post scored alone."""
    pixels = image_pixels(Image.open(folder / image), contract.IMAGE_SIZE, contract.IMAGE_CROP)
    texts = field_texts(metadata)
    scored = bundle.score(pixels, texts)
    tokens = [bundle.text.tokens(text) if text else None for text in texts]
    bundle.text.tokenizer.no_truncation()
    lengths = [len(bundle.text.tokenizer.encode(text).ids) if text else 0 for text in texts]
    bundle.text.tokenizer.enable_truncation(contract.MAX_TOKENS)
    best = numpy.argsort(-scored.tag_scores, kind="stable")[: contract.MAX_TAGS]
    return {
        "name": name,
        "image": image,
        "metadata": metadata,
        "pixel_mean": rounded(pixels.mean(axis=(0, 1))),
        "pixels": {f"{row},{column}": pixels[row, column].tolist() for row in GRID for column in GRID},
        "field_texts": by_field(texts),
        "token_ids": by_field(tokens),
        "truncated": [length > contract.MAX_TOKENS for length in lengths],
        "field_present": scored.field_present.tolist(),
        "field_inferred": scored.inferred,
        "image_embedding": rounded(scored.image_embedding[:SHOWN]),
        "image_direction": direction(scored.image_embedding),
        "field_embedding": {field: rounded(row[:SHOWN]) for field, row in zip(FIELD_NAMES, scored.field_embedding, strict=True)},
        "best_tags": [[bundle.tag_names[tag], float(f"{scored.tag_scores[tag]:.8g}")] for tag in best],
        "relevance": rounded(scored.relevance),
        "probabilities": rounded(scored.probabilities),
        "label": contract.LABELS[int(scored.probabilities.argmax())],
    }


def make_goldens(bundle: Path, folder: Path) -> None:
    """Everything in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_images(folder)
    write_pixels(folder)
    write_tokens(folder)
    runner = Bundle(bundle, threads=1)
    goldens = {
        "bundle_digest": contract.sha256(bundle / contract.MANIFEST),
        "made_with": {name: version(name) for name in ("onnxruntime", "pillow", "tokenizers", "regex")},
        "labels": list(contract.LABELS),
        "fields": FIELD_NAMES,
        "posts": [golden_post(runner, folder, *post) for post in tqdm(POSTS, desc="goldens")],
    }
    cases = [text_case({"caption": caption}) for caption in CAPTIONS] + [text_case(metadata) for metadata in METADATA]
    for name, value in (("goldens.json", goldens), ("text.json", {"cases": cases})):
        (folder / name).write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
