"""What the default bundle is: its fields, labels, sizes and files, and the manifest that says so (docs/bundle.md).

Everything that two modules must agree on stands here, and nothing else.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FORMAT = 1
NAME = "default"
VERSION = "0.2.0"
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


def toml_string(text: str) -> str:
    """A basic TOML string; the names used here hold no control characters."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def manifest_text(digests: Mapping[str, str]) -> str:
    """`bundle.toml` for these files."""
    mean, std = PIXEL_ZERO / 255, PIXEL_SCALE / 255
    lines = [
        f"format = {FORMAT}",
        f"name = {toml_string(NAME)}",
        f"version = {toml_string(VERSION)}",
        f"license = {toml_string(LICENSE)}",
        'precision = "int8"',
    ]
    for label, polarity in zip(LABELS, POLARITIES, strict=True):
        lines += ["", "[[labels]]", f"name = {toml_string(label)}", f"polarity = {polarity}"]
    lines += ["", "[image]", f"width = {IMAGE_SIZE}", f"height = {IMAGE_SIZE}", f"crop = {IMAGE_CROP}"]
    lines += [f"mean = [{mean:.6f}, {mean:.6f}, {mean:.6f}]", f"std = [{std:.6f}, {std:.6f}, {std:.6f}]"]
    lines += ["", "[text]", f"max_tokens = {MAX_TOKENS}"]
    for field in FIELDS:
        lines += ["", "[[fields]]", f"name = {toml_string(field.name)}"]
        lines += [f"parts = [{', '.join(map(toml_string, field.parts))}]"]
        lines += [f"inferred_by = {toml_string(field.inferred_by)}"] if field.inferred_by else []
    lines += ["", "[tagger]", f"threshold = {TAG_THRESHOLD}", f"max_tags = {MAX_TAGS}", f'tags_file = "{TAG_NAMES}"']
    lines += ["", "[files]"] + [f"{toml_string(name)} = {toml_string(digest)}" for name, digest in digests.items()]
    return "\n".join(lines) + "\n"


def write_manifest(bundle: Path) -> str:
    """Writes `bundle.toml` beside the files it pins; returns the bundle's digest."""
    manifest = bundle / MANIFEST
    manifest.write_text(manifest_text({name: sha256(bundle / name) for name in sorted(BUNDLE_FILES)}))
    return sha256(manifest)
