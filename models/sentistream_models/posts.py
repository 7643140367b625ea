"""Reads MVSA-Single (posts.csv and images/) and splits it so that no duplicate straddles two folds.

Two posts are duplicates when their image files hold the same bytes, or their texts are the same once links and mentions are
gone; duplicates of duplicates are one group.
"""

import csv
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from sklearn.model_selection import StratifiedGroupKFold

from .contract import FIELDS, LABELS, SEED
from .preprocess import LINK, MENTION, collapse, field_text, metadata_values


@dataclass(frozen=True)
class Post:
    """One labelled post."""

    identifier: str
    label: int
    text: str
    image: Path

    @property
    def metadata(self) -> dict[str, Any]:
        """The post as the worker would receive it: all its text is the caption."""
        return {"caption": self.text}


def read_posts(data: Path) -> list[Post]:
    """All posts, in the order of the file."""
    with (data / "posts.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [Post(row["id"], LABELS.index(row["label"]), row["text"], data / "images" / f"{row['id']}.jpg") for row in rows]


def field_texts(metadata: dict[str, Any]) -> list[str]:
    """The text of each field; empty where it is absent."""
    values = metadata_values(metadata)
    return [field_text(field.parts, values) for field in FIELDS]


def duplicate_groups(posts: list[Post]) -> numpy.ndarray:
    """A group number for each post: image bytes and bare text make duplicates."""
    return grouped([list(duplicate_keys(post.image.read_bytes(), post.text)) for post in posts])


def grouped(keys_of_posts: Sequence[Sequence[tuple[str, str]]]) -> numpy.ndarray:
    """A group number for each post (union-find over the keys they share)."""
    parent = list(range(len(keys_of_posts)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first_with_key: dict[tuple[str, str], int] = {}
    for index, keys in enumerate(keys_of_posts):
        for key in keys:
            parent[root(index)] = root(first_with_key.setdefault(key, index))
    return numpy.array([root(index) for index in range(len(parent))])


def duplicate_keys(image: bytes, text: str) -> Iterator[tuple[str, str]]:
    """What makes a post of this image and caption a duplicate of another. An empty text says nothing."""
    yield "image", hashlib.sha256(image).hexdigest()
    if bare := collapse(MENTION.sub(" ", LINK.sub(" ", text))).lower():
        yield "text", bare


@dataclass(frozen=True)
class Split:
    """Index arrays (train, test) of each fold, and the duplicate group of every post."""

    folds: list[tuple[numpy.ndarray, numpy.ndarray]]
    groups: numpy.ndarray

    @property
    def tested(self) -> numpy.ndarray:
        """The groups in the order in which the folds' test posts are told."""
        return self.groups[numpy.concatenate([test for _, test in self.folds])]


def split_posts(posts: list[Post], count: int = 5) -> Split:
    """The labelled posts in folds."""
    return split_by_group(numpy.array([post.label for post in posts]), duplicate_groups(posts), SEED, count)


def split_by_group(labels: numpy.ndarray, groups: numpy.ndarray, seed: int, count: int = 5) -> Split:
    """Stratified by label; no duplicate group straddles two folds."""
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    return Split(list(splitter.split(labels, labels, groups)), groups)
