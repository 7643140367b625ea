"""`export`: the encoders of a folder in another precision, its heads, where it has any, as they are."""

import argparse
import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy

from . import contract
from .half import halve
from .labelled import UNREADABLE, ListedPost, read_listed
from .manifest import Encoders, new_folder, read_encoders, read_heads, write_bundle, write_encoders
from .preprocess import field_text, image_pixels, metadata_values
from .quantise import Feed
from .quantise_products import quantise_products
from .refused import Refused
from .run_record import write_run
from .runtime import open_session, padded_texts
from .text_encoder import truncating_tokenizer

GRAPHS = (contract.IMAGE_ENCODER, contract.TEXT_ENCODER)
CALIBRATION = 200  # images, and texts
FEWEST = 20
COMPARED = 16


def feeds_of(folder: Path, encoders: Encoders, posts: Sequence[ListedPost], count: int) -> dict[str, list[Feed]]:
    """Images and texts of a fixed draw of posts."""
    chosen = random.Random(contract.SEED).sample(list(posts), len(posts))
    cutting = truncating_tokenizer(folder / contract.TOKENIZER, encoders.max_tokens)
    side, texts = encoders.image, dict.fromkeys([""])
    images: list[numpy.ndarray] = []
    for post in chosen:
        values = metadata_values(post.metadata)
        texts |= dict.fromkeys(field_text(field.parts, values) for field in encoders.fields)
        try:
            with post.opened() as picture:
                images += [image_pixels(picture, side.width, side.crop)[None]] if len(images) < count else []
        except UNREADABLE:
            continue
        if len(images) >= count and len(texts) > count:
            break
    told = [text for text in texts if text][:count]
    if min(len(images), len(told)) < FEWEST:
        raise Refused(f"--data brings {len(images)} pictures and {len(told)} different texts; int8 needs at least {FEWEST} of each")
    ids = [cutting.encode(text).ids for text in told]
    return {
        contract.IMAGE_ENCODER: [{"pixels": numpy.ascontiguousarray(image)} for image in images],
        contract.TEXT_ENCODER: [padded_texts([tokens]) for tokens in ids],
    }


def drawn_feeds(folder: Path, encoders: Encoders) -> dict[str, list[Feed]]:
    """Noise, to compare by where no posts are at hand."""
    generator = numpy.random.default_rng(contract.SEED)
    tokens = truncating_tokenizer(folder / contract.TOKENIZER, encoders.max_tokens)
    last = tokens.encode("").ids[-1:]
    words = [[int(word) for word in generator.integers(0, tokens.get_vocab_size() - 2, 7)] + last for _ in range(COMPARED)]
    shape = (1, encoders.image.height, encoders.image.width, 3)
    return {
        contract.IMAGE_ENCODER: [{"pixels": generator.integers(0, 256, shape, numpy.uint8)} for _ in range(COMPARED)],
        contract.TEXT_ENCODER: [padded_texts([ids]) for ids in words],
    }


def cosines(source: Path, target: Path, feeds: Sequence[Feed]) -> dict[str, float]:
    """How like each other the embeddings of two graphs are."""
    left, right = (numpy.concatenate([session.run(None, feed)[0] for feed in feeds]) for session in map(open_session, (source, target)))
    found = (left * right).sum(axis=1) / (numpy.linalg.norm(left, axis=1) * numpy.linalg.norm(right, axis=1))
    return {"mean cosine": float(found.mean()), "least cosine": float(found.min())}


def convert(source: Path, target: Path, precision: str, feeds: Sequence[Feed]) -> None:
    """One graph."""
    if precision == "int8":
        quantise_products(source, target, feeds)
    elif precision == "fp16":
        halve(source, target)
    else:
        shutil.copyfile(source, target)


def check(chosen: argparse.Namespace, given: Encoders) -> Path:
    """Refuses what cannot be done; returns where the fp32 graphs are."""
    fp32: Path = chosen.fp32 or chosen.source
    if chosen.fp32 is None and given.precision != "fp32":
        raise Refused(
            f"{chosen.source} is {given.precision}; an export starts from fp32: name the folder of the same encoders in fp32 with "
            "--fp32 (for the default bundle the folder fp32 in the cache of the run that made it)"
        )
    for name in GRAPHS:
        if not (fp32 / name).is_file():
            raise Refused(f"{fp32} has no {name}")
    if chosen.precision == "int8" and chosen.data is None:
        raise Refused("int8 needs posts to take its ranges from: --data DATA (a list that `sentistream score` reads; no labels needed)")
    return fp32


def export(chosen: argparse.Namespace) -> None:
    """The whole command."""
    source: Path = chosen.source
    given = read_encoders(source)
    fp32 = check(chosen, given)
    target = new_folder(chosen.out, [source, fp32])
    feeds = feeds_of(source, given, read_listed(chosen.data), CALIBRATION) if chosen.data else drawn_feeds(source, given)
    encoders, heads = replace(given, precision=chosen.precision), read_heads(source)
    for name in [*encoders.files, *(heads.files if heads else ())]:
        if name not in GRAPHS:
            shutil.copyfile(source / name, target / name)
    found = {}
    for name in GRAPHS:
        convert(fp32 / name, target / name, chosen.precision, feeds[name])
        found[name] = cosines(fp32 / name, target / name, feeds[name][:COMPARED])
        told = ", ".join(f"{kind} {value:.5f}" for kind, value in found[name].items())
        print(f"{name}: {chosen.precision} against fp32, {told}")
    settings = {"source": source, "precision": chosen.precision, "fp32": fp32, "data": chosen.data, "seed": contract.SEED}
    write_run(target, "export", settings, found)
    if heads:
        heads = replace(heads, files=tuple(dict.fromkeys([*heads.files, contract.RUN_RECORD])))
        print(f"bundle in {target}, digest {write_bundle(target, encoders, heads)}")
    else:
        write_encoders(target, encoders)
        print(f"encoders in {target}")
