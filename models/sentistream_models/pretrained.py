"""`encoders`: the default bundle's encoders as they were pretrained, in int8. Nothing research-only taught them anything, so heads
fitted over them to posts of one's own are one's own. The ranges of int8 are taken from posts, which need no labels.
"""

import argparse
import random
import tempfile
from pathlib import Path

from . import contract
from .encoders import CALIBRATION_IMAGES, text_feeds, write_graphs
from .labelled import read_listed
from .manifest import Encoders, ImageSide, TaggerSide, new_folder, write_encoders
from .preprocess import image_pixels
from .refused import Refused
from .run_record import write_run
from .text_encoder import TextEncoder, export_tokenizer

FEWEST = 50


def described() -> Encoders:
    """Their side of the manifest."""
    mean, std = contract.PIXEL_ZERO / 255, contract.PIXEL_SCALE / 255
    return Encoders(
        name="pretrained",
        version=contract.VERSION,
        license="Apache-2.0",
        precision="int8",
        image=ImageSide(contract.IMAGE_SIZE, contract.IMAGE_SIZE, contract.IMAGE_CROP, (mean,) * 3, (std,) * 3),
        max_tokens=contract.MAX_TOKENS,
        fields=contract.FIELDS,
        tagger=TaggerSide(contract.TAG_THRESHOLD, contract.MAX_TAGS, contract.TAG_NAMES),
    )


def make_pretrained(chosen: argparse.Namespace) -> None:
    """The whole command."""
    posts, target = read_listed(chosen.data), new_folder(chosen.out)
    if len(posts) < FEWEST:
        raise Refused(f"{chosen.data} has {len(posts)} posts; int8 takes its ranges from at least {FEWEST} (no labels needed)")
    drawn = random.Random(contract.SEED).sample(posts, min(len(posts), CALIBRATION_IMAGES))
    images = [{"pixels": image_pixels(post.opened(), contract.IMAGE_SIZE, contract.IMAGE_CROP)[None]} for post in drawn]
    export_tokenizer(target / contract.TOKENIZER)
    texts = text_feeds(posts, target / contract.TOKENIZER)
    with tempfile.TemporaryDirectory() as twins:
        write_graphs(TextEncoder().eval(), images, texts, target, Path(twins))
    write_run(target, "encoders", {"data": chosen.data, "seed": contract.SEED}, {"pictures": len(images), "texts": len(texts)})
    write_encoders(target, described())
    print(f"encoders in {target}; `train --encoders {target} --data DATA --out BUNDLE` completes them")
