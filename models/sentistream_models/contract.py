"""What the default bundle is: its fields, labels, sizes and files (docs/bundle.md).

Everything that two modules must agree on stands here, and nothing else.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

FORMAT = 1
NAME = "default"
VERSION = "0.2.1"
LICENSE = "research use: heads trained on MVSA-Single, text encoder taught on SemEval tweets; encoders Apache-2.0"
SEED = 20251

LABELS = ("negative", "neutral", "positive")
POLARITIES = (-1.0, 0.0, 1.0)

IMAGE_SIZE = 224
IMAGE_CROP = 0.875
PIXEL_ZERO = 127  # EfficientNet-Lite saw (value - 127) / 128
PIXEL_SCALE = 128
IMAGE_WIDTH = 1280  # Dv
TEXT_WIDTH = 384  # Dt
MAX_TOKENS = 64

TAG_COUNT = 1000
TAG_THRESHOLD = 0.1
MAX_TAGS = 5
OBJECTS_PART = "the image contains the following objects: {objects}"
SCENE_PART = "the scene or background of image is {scene}"

OPSET = 17


@dataclass(frozen=True)
class Field:
    """One metadata field: its place in `field_embedding` is its place in FIELDS."""

    name: str
    parts: tuple[str, ...]
    inferred_by: str | None = None


FIELDS = (
    Field("caption", ("{caption}",)),
    Field("tags", ("{hashtags}",)),
    Field("context", (SCENE_PART, OBJECTS_PART), inferred_by="tagger"),
)
CAPTION, TAGS, CONTEXT = range(len(FIELDS))

IMAGE_ENCODER = "image_encoder.onnx"
TEXT_ENCODER = "text_encoder.onnx"
TAGGER = "tagger.onnx"
RELEVANCE = "relevance.onnx"
FUSION = "fusion.onnx"
TOKENIZER = "tokenizer.json"
TAG_NAMES = "tags.txt"
CARD = "README.md"
MANIFEST = "bundle.toml"
RUN_RECORD = "run.json"
BUNDLE_FILES = (IMAGE_ENCODER, TEXT_ENCODER, TAGGER, RELEVANCE, FUSION, TOKENIZER, TAG_NAMES, CARD, RUN_RECORD)


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
