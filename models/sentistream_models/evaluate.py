"""Cross-validation of the heads on frozen features, by duplicate group: what the model card tells is measured here.

Folds, seeds and recipe are fixed; the heads are trained anew in each fold. Whatever is reported of a fold's test posts comes from
heads that saw none of them.
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import numpy
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from .contract import CAPTION, CONTEXT, FIELDS, LABELS, SEED, TAGS
from .features import Features
from .manifest import Reference
from .posts import Split
from .reference import reference_of
from .scores import (
    Bin,
    Scores,
    Summary,
    best_temperature,
    calibration_error,
    fairly_tempered,
    reliability,
    scores,
    separation,
    summary,
    tempered,
)
from .train import Recipe, Rows, adapted, predict, rows_of, train_heads

Array = numpy.ndarray
FLOOR_C = 2.7
NOISE_LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
LABEL_COUNTS = (50, 100, 200, 500)
ALL = "all"


@dataclass(frozen=True)
class Held:
    """What one fold's heads say of its test posts: logits by condition, and relevance of true and swapped fields."""

    labels: Array
    logits: dict[str, Array]
    relevance: Array
    swapped: dict[str, tuple[Array, Array]]


@dataclass(frozen=True)
class Report:
    """Everything cross-validation tells."""

    table: dict[str, Summary]
    ablation: dict[str, Summary]
    accuracy_by_noise: dict[str, list[float]]
    by_labels: dict[str, Summary]
    separations: dict[str, float]
    relevance_mean: list[float]
    relevance_deviation: list[float]
    temperature: float
    calibration_raw: float
    calibration_tempered: float
    reliability: list[Bin]
    reference: Reference


# --- what a fold's heads are asked about ---


def only(rows: Rows, fields: tuple[int, ...]) -> Rows:
    """Only these fields kept present."""
    keep = torch.zeros(len(FIELDS), dtype=torch.bool)
    keep[list(fields)] = True
    return replace(rows, present=rows.present & keep)


def swapped_with(rows: Rows, fields: tuple[int, ...], level: float, order: torch.Tensor, chance: torch.Tensor) -> Rows:
    """The fields of a share `level` of the posts replaced by another post's."""
    lying = (chance < level)[:, None] & torch.zeros_like(rows.present).index_fill(1, torch.tensor(fields), True)
    embeddings = torch.where(lying.unsqueeze(-1), rows.fields[order], rows.fields)
    return replace(rows, fields=embeddings, present=torch.where(lying, rows.present[order], rows.present))


def missing_from(rows: Rows, level: float, chance: torch.Tensor) -> Rows:
    """The author's own fields (caption, tags) taken from a share `level` of the posts."""
    gone = torch.zeros_like(rows.present)
    gone[:, [CAPTION, TAGS]] = (chance < level)[:, None]
    return replace(rows, present=rows.present & ~gone)


def hold(features: Features, asked: Features, train: Array, test: Array, recipe: Recipe, title: str) -> Held:
    """Trains on one part and asks about the other, under every condition reported."""
    torch.set_num_threads(1)
    model, rows = train_heads(rows_of(features, train), adapted(recipe, len(train)), title), rows_of(asked, test)
    generator = torch.Generator().manual_seed(SEED)
    order = torch.arange(len(test)).roll(len(test) // 2)
    chance = torch.rand(len(test), generator=generator)
    conditions = {ALL: rows, "image": only(rows, ()), "caption and tags": only(rows, (CAPTION, TAGS))}
    for level in NOISE_LEVELS:
        conditions[f"swapped {level}"] = swapped_with(rows, (CAPTION, TAGS), level, order, chance)
        conditions[f"missing {level}"] = missing_from(rows, level, chance)
    logits = {name: predict(model, condition)[0] for name, condition in conditions.items()}
    relevance = predict(model, rows)[1]
    swapped = {}
    for index, field in enumerate(FIELDS):
        weights = predict(model, swapped_with(rows, (index,), 2.0, order, chance))[1]
        both = (rows.present[:, index] & rows.present[order, index]).numpy()
        swapped[field.name] = (relevance[both, 1 + index], weights[both, 1 + index])
    return Held(rows.labels.numpy(), logits, relevance, swapped)


def hold_all(features: Features, split: Split, recipe: Recipe, title: str, asked: Features | None = None) -> list[Held]:
    """Every fold, two at a time, each asked with its own features unless told otherwise. A fold's arithmetic stays on one thread,
    so that it comes out the same."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(hold, features, asked or features, train, test, recipe, title) for train, test in split.folds]
        return [future.result() for future in tqdm(waiting, desc=title)]


# --- what is trained anew to see what a part is worth ---


def without_image(features: Features) -> Features:
    """The image says nothing: neither its embedding nor the context inferred from it."""
    present = features.present.copy()
    present[:, CONTEXT] = False
    return replace(features, image=numpy.zeros_like(features.image[:, :1]), present=present)


def without_fields(features: Features) -> Features:
    """The image alone."""
    return replace(features, present=numpy.zeros_like(features.present))


def without_context(features: Features) -> Features:
    """No tags inferred from the image."""
    present = features.present.copy()
    present[:, CONTEXT] = False
    return replace(features, present=present)


def ablations(recipe: Recipe) -> dict[str, tuple[Callable[[Features], Features], Recipe]]:
    """Each with the features it sees and the recipe it is trained by."""

    def same(features: Features) -> Features:
        return features

    sizes, shape = recipe.sizes, recipe.shape
    return {
        "image only": (without_fields, recipe),
        "text only": (without_image, recipe),
        "without inferred context": (without_context, recipe),
        "without ARL": (same, replace(recipe, sizes=replace(sizes, arl_layers=0), ranking_weight=0.0)),
        "without fusion": (same, replace(recipe, sizes=replace(sizes, fusion_blocks=0))),
        "caption as the query": (same, replace(recipe, shape=replace(shape, query=1 + CAPTION))),
    }


def fewer_labels(split: Split, count: int) -> Split:
    """The same test posts; of each fold's other posts only some, drawn at random."""
    chooser = numpy.random.default_rng(SEED)
    return replace(split, folds=[(chooser.choice(train, count, replace=False), test) for train, test in split.folds])


# --- floors ---


def floor_inputs(features: Features, train: Array) -> dict[str, Array]:
    """What logistic regression is given: blocks of about unit length, the image standardised by the training part."""
    served = features.image[:, 0]
    image = StandardScaler().fit(served[train]).transform(served) / served.shape[1] ** 0.5
    text = features.fields[:, [CAPTION, TAGS]].reshape(len(image), -1)
    context = features.fields[:, CONTEXT]
    return {"image": image, "caption and tags": text, "image, caption, tags, context": numpy.hstack([image, text, context])}


def floors(features: Features, split: Split) -> dict[str, Summary]:
    """Always the commonest label, and logistic regression on the same frozen features."""
    labels = features.labels
    common = int(numpy.bincount(labels).argmax())
    held: dict[str, list[tuple[Array, Array]]] = {}
    for train, test in tqdm(split.folds, desc="logistic regression"):
        held.setdefault(f"always {LABELS[common]}", []).append((labels[test], numpy.full(len(test), common)))
        for name, inputs in floor_inputs(features, train).items():
            model = LogisticRegression(C=FLOOR_C, max_iter=500).fit(inputs[train], labels[train])
            held.setdefault(f"logistic regression, {name}", []).append((labels[test], model.predict(inputs[test])))
    return {name: summary(folds, split.tested) for name, folds in held.items()}


# --- the report ---


def condition_summary(held: list[Held], condition: str, split: Split) -> Summary:
    """The three scores under one condition."""
    return summary([(fold.labels, fold.logits[condition].argmax(axis=1)) for fold in held], split.tested)


def condition_accuracy(held: list[Held], condition: str) -> float:
    """Mean over folds."""
    return float(numpy.mean([scores(fold.labels, fold.logits[condition].argmax(axis=1)).accuracy for fold in held]))


@dataclass(frozen=True)
class Calibration:
    """Temperature over all folds; errors raw, and with each fold's temperature taken from the other folds."""

    temperature: float
    raw: float
    tempered: float
    bins: list[Bin]
    answers: Array  # probabilities, fold after fold


def calibration(held: list[Held]) -> Calibration:
    """Of the logits under no noise."""
    logits, labels = [fold.logits[ALL] for fold in held], [fold.labels for fold in held]
    everything, answers = numpy.concatenate(logits), numpy.concatenate(labels)
    tests = numpy.split(numpy.arange(len(answers)), numpy.cumsum([len(fold) for fold in labels])[:-1])
    told = fairly_tempered(everything, answers, tests)
    bins = reliability(told, answers)
    raw = reliability(tempered(everything, 1.0), answers)
    return Calibration(best_temperature(everything, answers), calibration_error(raw), calibration_error(bins), bins, told)


def ablation_table(features: Features, split: Split, recipe: Recipe) -> dict[str, Summary]:
    """Each ablation, trained anew in each fold."""
    return {
        name: condition_summary(hold_all(seen(features), split, own, name), ALL, split)
        for name, (seen, own) in ablations(recipe).items()
    }


def asked_with(features: Features, asked: Features, split: Split, recipe: Recipe, title: str) -> Summary:
    """The heads of each fold, trained on the first and asked with the other."""
    return condition_summary(hold_all(features, split, recipe, title, asked), ALL, split)


def label_table(features: Features, split: Split, recipe: Recipe) -> dict[str, Summary]:
    """What fewer labels do."""
    return {
        str(count): condition_summary(hold_all(features, fewer_labels(split, count), recipe, f"{count} labels"), ALL, split)
        for count in LABEL_COUNTS
    }


def report(features: Features, split: Split, recipe: Recipe) -> Report:
    """Cross-validates the heads, what they are without each part, and their floors."""
    held = hold_all(features, split, recipe, "cross-validation")
    whole = condition_summary(held, ALL, split)
    noise = {kind: [condition_accuracy(held, f"{kind} {level}") for level in NOISE_LEVELS] for kind in ("swapped", "missing")}
    relevance = numpy.concatenate([fold.relevance for fold in held])
    calibrated = calibration(held)
    asked = {f"asked about {name} only": condition_summary(held, name, split) for name in ("image", "caption and tags")}
    return Report(
        table={**floors(features, split), "SentiFormer": whole},
        ablation={"SentiFormer": whole, **asked, **ablation_table(features, split, recipe)},
        accuracy_by_noise=noise,
        by_labels={**label_table(features, split, recipe), ALL: whole},
        separations={field.name: float(numpy.mean([separation(*fold.swapped[field.name]) for fold in held])) for field in FIELDS},
        relevance_mean=relevance.mean(axis=0).tolist(),
        relevance_deviation=relevance.std(axis=0).tolist(),
        temperature=calibrated.temperature,
        calibration_raw=calibrated.raw,
        calibration_tempered=calibrated.tempered,
        reliability=calibrated.bins,
        reference=reference_of(calibrated.answers, ~features.present, LABELS, [field.name for field in FIELDS]),
    )
