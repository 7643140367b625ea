"""Frozen features of the labelled posts, computed by the int8 graphs that ship, and cached under the digest of those graphs."""

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path

import numpy
from PIL import Image
from tqdm import tqdm

from . import contract
from .posts import Post, field_texts
from .preprocess import image_pixels
from .runtime import TextSide, open_session
from .views import views


@dataclass(frozen=True)
class Features:
    """Rows in the order of the posts; `fields` of an absent field are zeros."""

    image: numpy.ndarray  # f32 [N, V, Dv]: view 0 is the picture as it is served (views.py)
    fields: numpy.ndarray  # f32 [N, K, Dt]
    present: numpy.ndarray  # bool [N, K]
    labels: numpy.ndarray  # i64 [N]
    memory: numpy.ndarray | None = None  # f32 [Dt, Dt]: the way back from a taught text encoder (teach.py)


def all_pixels(posts: list[Post], cache: Path) -> numpy.ndarray:
    """u8 [N, H, W, 3] of every post, decoded once."""
    path = cache / f"pixels-{contract.IMAGE_SIZE}-{contract.IMAGE_CROP}.npy"
    if not path.exists():
        rows = [image_pixels(Image.open(post.image), contract.IMAGE_SIZE, contract.IMAGE_CROP) for post in tqdm(posts, desc="pixels")]
        numpy.save(path, numpy.stack(rows))
    pixels: numpy.ndarray = numpy.load(path, mmap_mode="r")
    return pixels


def image_features(graph: Path, pixels: numpy.ndarray) -> numpy.ndarray:
    """f32 [N, Dv], each image alone."""
    session = open_session(graph)
    return numpy.stack([session.run(None, {"pixels": row[None]})[0][0] for row in tqdm(pixels, desc=f"{graph.stem}")])


def view_features(graph: Path, posts: list[Post]) -> numpy.ndarray:
    """f32 [N, V, Dv], each view alone."""
    session, chooser = open_session(graph), random.Random(contract.SEED)

    def of_post(post: Post) -> numpy.ndarray:
        with Image.open(post.image) as image:
            return numpy.stack([session.run(None, {"pixels": view[None]})[0][0] for view in views(image, chooser)])

    return numpy.stack([of_post(post) for post in tqdm(posts, desc="views")])


def text_features(text: TextSide, posts: list[Post]) -> tuple[numpy.ndarray, numpy.ndarray]:
    """f32 [N, K, Dt] and bool [N, K] of the fields that the posts bring themselves."""
    fields = numpy.zeros((len(posts), len(contract.FIELDS), contract.TEXT_WIDTH), numpy.float32)
    present = numpy.zeros((len(posts), len(contract.FIELDS)), bool)
    for row, post in enumerate(tqdm(posts, desc="texts")):
        for field, words in enumerate(field_texts(post.metadata)):
            if words:
                fields[row, field] = text.embed(words)
                present[row, field] = True
    return fields, present


def post_features(bundle: Path, posts: list[Post], cache: Path) -> Features:
    """Features of every post, `context` from the tagger where the post brings none."""
    inputs = (contract.IMAGE_ENCODER, contract.TEXT_ENCODER, contract.TAGGER, contract.TOKENIZER)
    digest = hashlib.sha256("".join(contract.sha256(bundle / name) for name in inputs).encode()).hexdigest()[:16]
    path = cache / f"features-{digest}.npz"
    if not path.exists():
        image = view_features(bundle / contract.IMAGE_ENCODER, posts)
        fields, present = text_features(TextSide(bundle / contract.TOKENIZER, bundle / contract.TEXT_ENCODER), posts)
        tagger = open_session(bundle / contract.TAGGER)
        for row in numpy.flatnonzero(~present[:, contract.CONTEXT]):
            fields[row, contract.CONTEXT] = tagger.run(["tag_embedding"], {"image_embedding": image[row, :1]})[0][0]
        present[:, contract.CONTEXT] = True
        labels = numpy.array([post.label for post in posts])
        numpy.savez(path, image=image, fields=fields, present=present, labels=labels)
    stored = numpy.load(path)
    return Features(stored["image"], stored["fields"], stored["present"], stored["labels"])
