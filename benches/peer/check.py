"""`python -m peer.check POSTS.jsonl BINARY [BUNDLE]`: do both peers answer as the worker does?

Scores a list of posts with `sentistream score` and with the peers' own functions, no broker needed. Compared are probabilities,
relevance and effects. PNG and WebP are seen alike by all. A large JPEG is decoded at a reduced size by `tuned` and by the worker, each
in its own way, and they see it a little otherwise than `plain`: it may differ by `JPEG`, and its label and inferred tags may turn over.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import plain, stream, tuned
from .bundle import read_bundle
from .model import Model
from .pixels import reduced, whole
from .posts import Message, PixelsOf, prepare
from .results import result

EXACT = 1e-4
JPEG = 0.05
TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".gif": "image/gif"}


@dataclass(frozen=True)
class Sample:
    """A post of a file, in the shape of a record."""

    path: Path
    line: int
    post: Mapping[str, Any]
    image: Path

    def topic(self) -> str:
        """As `sentistream score` has it."""
        return str(self.path)

    def partition(self) -> int:
        """As above."""
        return 0

    def offset(self) -> int:
        """As above."""
        return self.line

    def key(self) -> bytes | None:
        """The id."""
        return str(self.post["id"]).encode()

    def value(self) -> bytes | None:
        """The image."""
        return self.image.read_bytes()

    def headers(self) -> list[tuple[str, bytes]] | None:
        """As `sentistream feed` makes them."""
        headers = {"content-type": TYPES[self.image.suffix], "ce_id": self.post["id"], "ce_source": self.post.get("source")}
        headers["metadata"] = json.dumps(self.post.get("metadata"))
        return [(name, value.encode()) for name, value in headers.items() if value]

    def timestamp(self) -> tuple[int, int]:
        """None."""
        return 0, -1


def samples(path: Path) -> list[Sample]:
    """The posts of a list."""
    posts = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Sample(path, line, post, path.parent / post["image"]["path"]) for line, post in enumerate(posts)]


def scored(model: Model, posts: Sequence[Message], pixels_of: PixelsOf, batch: int) -> Iterator[dict[str, Any]]:
    """Results, a batch at a time."""
    for start in range(0, len(posts), batch):
        prepared = [prepare(model.bundle, post, pixels_of) for post in posts[start : start + batch]]
        for one, answer in zip(prepared, model.score(prepared), strict=True):
            yield result(model.bundle, one, answer)


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """The largest among all numbers of the same meaning: an effect is one on the label found, a weight one beside the fields present.
    Infinite where a post is taken for another."""
    if any(one.get(key) != other.get(key) for key in ("result_id", "id", "source", "model")):
        return float("inf")
    pairs = [(one["sentiment"]["probabilities"], other["sentiment"]["probabilities"])]
    if not_numbers(one) == not_numbers(other):
        pairs += [(one[key], other[key]) for key in ("relevance", "effects")]
    return max(abs(mine[key] - theirs[key]) for mine, theirs in pairs for key in mine | theirs)


def not_numbers(result: Mapping[str, Any]) -> list[Any]:
    """What a small difference of pixels turns over at once, or not at all."""
    return [result["sentiment"]["label"], result["tags"], result["flags"]]


def compare(name: str, found: Sequence[dict[str, Any]], asked: Sequence[dict[str, Any]], posts: Sequence[Sample]) -> bool:
    """Prints what differs, by kind of image. Label, tags and flags must be the same but of JPEG."""
    holds = True
    for kind, limit in (("JPEG", JPEG), ("other", EXACT)):
        is_jpeg = kind == "JPEG"
        of_kind = [index for index, post in enumerate(posts) if (post.image.suffix in (".jpg", ".jpeg")) == is_jpeg]
        differences = [difference(found[index], asked[index]) for index in of_kind]
        told = [index for index in of_kind if not_numbers(found[index]) != not_numbers(asked[index])]
        most = max(differences, default=0.0)
        print(
            f"{name}: {len(of_kind)} {kind}, {sum(one <= EXACT for one in differences)} within {EXACT:g}, most {most:.5f} "
            f"(limit {limit:g}), label, tags or flags differ in {len(told)}"
        )
        holds &= most <= limit and (is_jpeg or not told)
    return holds


def main() -> None:
    """Exit code 1 where a peer answers otherwise."""
    listed, binary = Path(sys.argv[1]), sys.argv[2]
    bundle = read_bundle(Path(sys.argv[3] if len(sys.argv) > 3 else "models/default"))
    environment = os.environ | {"SENTISTREAM__MODEL__BUNDLE": str(bundle.folder), "SENTISTREAM__MODEL__EFFECTS": "true"}
    run = subprocess.run([binary, "score", str(listed)], stdout=subprocess.PIPE, check=True, env=environment)
    asked = [json.loads(line) for line in run.stdout.splitlines()]
    posts = samples(listed)
    threads = stream.cores()
    found = {
        "plain": list(scored(Model(bundle, plain.layout(threads), effects=True), posts, whole, plain.BATCH)),
        "tuned": list(scored(Model(bundle, tuned.LAYOUT, effects=True), posts, reduced, tuned.BATCH)),
    }
    agree = [compare(name, results, asked, posts) for name, results in found.items()]
    sys.exit(0 if all(agree) else 1)


if __name__ == "__main__":
    main()
