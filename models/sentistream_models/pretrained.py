"""`encoders`: the default bundle's encoders as they were pretrained and published (Apache-2.0, say their authors), in int8: without what
research-only tweets taught the default bundle's. The ranges of int8 are taken from posts, which need no labels.
"""

import argparse
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import contract
from .encoders import CALIBRATION_IMAGES, text_feeds, write_graphs
from .labelled import UNREADABLE, ListedPost, read_listed
from .manifest import default_encoders, new_folder, write_encoders
from .preprocess import image_pixels
from .quantise import Feed
from .refused import Refused
from .run_record import write_run
from .text_encoder import TextEncoder, export_tokenizer

FEWEST = 50


def image_feeds_of(posts: Sequence[ListedPost]) -> list[Feed]:
    """The first pictures that can be read."""
    feeds: list[Feed] = []
    for post in posts:
        if len(feeds) == CALIBRATION_IMAGES:
            break
        try:
            with post.opened() as picture:
                feeds.append({"pixels": image_pixels(picture, contract.IMAGE_SIZE, contract.IMAGE_CROP)[None]})
        except UNREADABLE:
            continue
    return feeds


def make_pretrained(chosen: argparse.Namespace) -> None:
    """The whole command."""
    posts = read_listed(chosen.data)
    images = image_feeds_of(random.Random(contract.SEED).sample(posts, len(posts)))
    if len(images) < FEWEST:
        raise Refused(f"{chosen.data} has {len(images)} pictures that can be read; int8 takes its ranges from at least {FEWEST}")
    target = new_folder(chosen.out)
    export_tokenizer(target / contract.TOKENIZER)
    texts = text_feeds(posts, target / contract.TOKENIZER)
    with tempfile.TemporaryDirectory() as twins:
        write_graphs(TextEncoder().eval(), images, texts, target, Path(twins))
    write_run(target, "encoders", {"data": chosen.data, "seed": contract.SEED}, {"pictures": len(images), "texts": len(texts)})
    write_encoders(target, default_encoders("pretrained", "Apache-2.0"))
    print(f"encoders in {target}; `train --encoders {target} --data DATA --out BUNDLE` completes them")
