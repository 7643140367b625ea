"""`python -m peer.check POSTS.jsonl BINARY [BUNDLE]`: do both peers answer as the worker does?

Scores a list of posts with `sentistream score` and with the peers' own functions, no broker needed, and compares probabilities, relevance,
effects, tags and flags. PNG and WebP are read alike by all, and so is any JPEG too small to be decoded at a reduced size; of a larger one
the worker and `tuned` see slightly different pixels than `plain`, each by its own right, so that it may move an answer by `JPEG`.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .bundle import Bundle, read_bundle
from .model import Model, Threading, one_run
from .pixels import reduced, whole
from .posts import Message, PixelsOf, prepare
from .results import result
from .tuned import BATCH as TUNED_BATCH
from .tuned import short_first
from .plain import BATCH as PLAIN_BATCH

EXACT = 1e-4
"""Of PNG and WebP where no text is padded."""
PADDED = 0.02
"""Where texts are padded: int8 rounds otherwise."""
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
    """The largest among all numbers; infinite where anything else differs."""
    if any(one[key] != other[key] for key in ("result_id", "id", "tags", "flags", "model")) or one.get("source") != other.get("source"):
        return float("inf")
    pairs = [(one["sentiment"]["probabilities"], other["sentiment"]["probabilities"])]
    pairs += [(one[key], other[key]) for key in ("relevance", "effects")]
    if any(mine.keys() != theirs.keys() for mine, theirs in pairs):
        return float("inf")
    return max(abs(mine[key] - theirs[key]) for mine, theirs in pairs for key in mine)


def compare(name: str, bundle: Bundle, found: Sequence[dict[str, Any]], asked: Sequence[dict[str, Any]], posts: Sequence[Sample]) -> bool:
    """Prints what differs, by kind of image."""
    holds = len(found) == len(asked)
    for kind, is_jpeg in (("JPEG", True), ("PNG and WebP", False)):
        differences = [
            difference(one, other)
            for one, other, post in zip(found, asked, posts, strict=True)
            if (post.image.suffix in (".jpg", ".jpeg")) == is_jpeg
        ]
        most = max(differences, default=0.0)
        limit = JPEG if is_jpeg else PADDED
        exact = sum(one <= EXACT for one in differences)
        print(f"{name:<6} {kind:<13} {len(differences)} posts, {exact} within {EXACT:g}, most {most:.5f} (limit {limit:g})")
        holds &= most <= limit
    return holds


def main() -> None:
    """Exit code 1 where a peer answers otherwise."""
    listed, binary = Path(sys.argv[1]), sys.argv[2]
    bundle = read_bundle(Path(sys.argv[3] if len(sys.argv) > 3 else "models/default"))
    run = subprocess.run([binary, "score", str(listed)], stdout=subprocess.PIPE, check=True, env=None)
    asked = [json.loads(line) for line in run.stdout.splitlines()]
    posts = samples(listed)
    one_thread = Threading(1, spinning=False)
    plain = list(scored(Model(bundle, one_thread, one_run, True), posts, whole, PLAIN_BATCH))
    tuned = list(scored(Model(bundle, one_thread, short_first, True), posts, reduced, TUNED_BATCH))
    alone = list(scored(Model(bundle, one_thread, one_run, True), posts, whole, 1))
    agree = [compare(name, bundle, found, asked, posts) for name, found in (("alone", alone), ("plain", plain), ("tuned", tuned))]
    sys.exit(0 if all(agree) else 1)


if __name__ == "__main__":
    main()
