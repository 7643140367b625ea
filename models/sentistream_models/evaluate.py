"""Cross-validation of the heads on frozen features, by duplicate group: what the model card tells is measured here.

Folds, seeds and recipe are fixed; the heads are trained anew in each fold. Whatever is reported of a fold's test posts comes from
heads that saw none of them.
"""

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
from .scores import Scores, Summary, best_temperature, calibration_error, scores, separation, summary, tempered
from .train import Recipe, Rows, predict, rows_of, train_heads

Array = numpy.ndarray
Folds = list[tuple[Array, Array]]
FLOOR_C = 2.7
NOISE_LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)


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
    accuracy_by_noise: dict[str, list[float]]
    separations: dict[str, float]
    relevance_mean: list[float]
    relevance_deviation: list[float]
    temperature: float
    calibration_raw: float
    calibration_tempered: float


def masked(rows: Rows, fields: tuple[int, ...]) -> Rows:
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


def hold(features: Features, train: Array, test: Array, recipe: Recipe, title: str) -> Held:
    """Trains on one part and asks about the other, under every condition reported."""
    torch.set_num_threads(1)
    model, rows = train_heads(rows_of(features, train), recipe, title), rows_of(features, test)
    generator = torch.Generator().manual_seed(SEED)
    order = torch.arange(len(test)).roll(len(test) // 2)
    chance = torch.rand(len(test), generator=generator)
    conditions = {"all": rows, "image only": masked(rows, ()), "caption only": masked(rows, (CAPTION,))}
    conditions["without inferred context"] = masked(rows, (CAPTION, TAGS))
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


def hold_all(features: Features, folds: Folds, recipe: Recipe, title: str) -> list[Held]:
    """Every fold, two at a time; a fold's arithmetic stays on one thread, so that it comes out the same."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(hold, features, train, test, recipe, title) for train, test in folds]
        return [future.result() for future in tqdm(waiting, desc=title)]


def floor_inputs(features: Features, train: Array) -> dict[str, Array]:
    """What logistic regression is given: blocks of about unit length, the image standardised by the training part."""
    served = features.image[:, 0]
    image = StandardScaler().fit(served[train]).transform(served) / served.shape[1] ** 0.5
    text = features.fields[:, [CAPTION, TAGS]].reshape(len(image), -1)
    context = features.fields[:, CONTEXT]
    return {"image": image, "caption and tags": text, "image, caption, tags, context": numpy.hstack([image, text, context])}


def floors(features: Features, folds: Folds) -> dict[str, Summary]:
    """Always the commonest label, and logistic regression on the same frozen features."""
    labels = features.labels
    common = int(numpy.bincount(labels).argmax())
    held: dict[str, list[Scores]] = {}
    for train, test in tqdm(folds, desc="logistic regression"):
        held.setdefault(f"always {LABELS[common]}", []).append(scores(labels[test], numpy.full(len(test), common)))
        for name, inputs in floor_inputs(features, train).items():
            model = LogisticRegression(C=FLOOR_C, max_iter=500).fit(inputs[train], labels[train])
            answers = scores(labels[test], model.predict(inputs[test]))
            held.setdefault(f"logistic regression, {name}", []).append(answers)
    return {name: summary(folds) for name, folds in held.items()}


def condition_summary(folds: list[Held], condition: str) -> Summary:
    """The three scores under one condition."""
    return summary([scores(fold.labels, fold.logits[condition].argmax(axis=1)) for fold in folds])


def temperatures(folds: list[Held]) -> tuple[float, float, float]:
    """Temperature over all folds; calibration error raw, and with each fold's temperature taken from the other folds."""
    logits, labels = [fold.logits["all"] for fold in folds], [fold.labels for fold in folds]
    raw, fair = [], []
    for index in range(len(folds)):
        others = [other for other in range(len(folds)) if other != index]
        temperature = best_temperature(
            numpy.concatenate([logits[other] for other in others]), numpy.concatenate([labels[other] for other in others])
        )
        raw.append(tempered(logits[index], 1.0))
        fair.append(tempered(logits[index], temperature))
    everything, answers = numpy.concatenate(logits), numpy.concatenate(labels)
    return (
        best_temperature(everything, answers),
        calibration_error(numpy.concatenate(raw), answers),
        calibration_error(numpy.concatenate(fair), answers),
    )


def report(features: Features, folds: Folds, recipe: Recipe) -> Report:
    """Cross-validates the heads and their floors."""
    held = hold_all(features, folds, recipe, "cross-validation")
    table = floors(features, folds)
    for condition in ("image only", "caption only", "without inferred context", "all"):
        table[f"heads, {condition}"] = condition_summary(held, condition)
    noise = {
        kind: [condition_summary(held, f"{kind} {level}").mean.accuracy for level in NOISE_LEVELS] for kind in ("swapped", "missing")
    }
    separations = {field.name: float(numpy.mean([separation(*fold.swapped[field.name]) for fold in held])) for field in FIELDS}
    relevance = numpy.concatenate([fold.relevance for fold in held])
    temperature, raw, fair = temperatures(held)
    return Report(
        table,
        noise,
        separations,
        relevance.mean(axis=0).tolist(),
        relevance.std(axis=0).tolist(),
        temperature,
        raw,
        fair,
    )
