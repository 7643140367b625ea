"""Measures of a classifier's answers; nothing here knows of models."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from .contract import SEED

Array = numpy.ndarray
RESAMPLES = 2000


@dataclass(frozen=True)
class Scores:
    """Accuracy, F1 weighted by class size, F1 averaged over classes."""

    accuracy: float
    weighted_f1: float
    macro_f1: float


@dataclass(frozen=True)
class Summary:
    """Mean and standard deviation over folds, of each of the three, and a 95% interval of all folds' answers together."""

    mean: Scores
    deviation: Scores
    low: Scores
    high: Scores

    def row(self) -> str:
        """`0.700 ± 0.010 (0.690-0.710) | ...`."""
        parts = zip(*(vars(part).values() for part in (self.mean, self.deviation, self.low, self.high)), strict=True)
        return " | ".join(f"{mean:.3f} ± {deviation:.3f} ({low:.3f}-{high:.3f})" for mean, deviation, low, high in parts)


def scores(labels: Array, answers: Array) -> Scores:
    """All three, of one fold."""
    return Scores(
        float(accuracy_score(labels, answers)),
        float(f1_score(labels, answers, average="weighted")),
        float(f1_score(labels, answers, average="macro")),
    )


def summary(folds: Sequence[tuple[Array, Array]], groups: Array) -> Summary:
    """Of (labels, answers) by fold, told in one order with `groups`; the deviation is the sample's."""
    table = numpy.array([list(vars(scores(*fold)).values()) for fold in folds])
    labels, answers = (numpy.concatenate(parts) for parts in zip(*folds, strict=True))
    low, high = intervals(labels, answers, groups)
    return Summary(Scores(*table.mean(axis=0).tolist()), Scores(*table.std(axis=0, ddof=1).tolist()), low, high)


def intervals(labels: Array, answers: Array, groups: Array) -> tuple[Scores, Scores]:
    """95% intervals by bootstrap: whole duplicate groups are drawn, since their posts are not independent."""
    chooser = numpy.random.default_rng(SEED)
    confusions = group_confusions(labels, answers, groups)
    draws = chooser.multinomial(len(confusions), numpy.full(len(confusions), 1 / len(confusions)), size=RESAMPLES)
    totals = numpy.einsum("rg,gij->rij", draws, confusions)
    resampled = numpy.array([list(vars(scores_of(confusion)).values()) for confusion in totals])
    low, high = numpy.quantile(resampled, [0.025, 0.975], axis=0)
    return Scores(*low.tolist()), Scores(*high.tolist())


def group_confusions(labels: Array, answers: Array, groups: Array) -> Array:
    """[G, L, L]: each group's posts by label and answer."""
    _, rows = numpy.unique(groups, return_inverse=True)
    size = int(max(labels.max(), answers.max())) + 1
    confusions = numpy.zeros((rows.max() + 1, size, size))
    numpy.add.at(confusions, (rows, labels, answers), 1)
    return confusions


def scores_of(confusion: Array) -> Scores:
    """All three, of a confusion matrix [L, L] (label, answer)."""
    right, told, given = numpy.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    f1 = 2 * right / numpy.maximum(told + given, 1)
    occurs = (told + given) > 0
    return Scores(float(right.sum() / given.sum()), float((f1 * given).sum() / given.sum()), float(f1[occurs].mean()))


def separation(true: Array, swapped: Array) -> float:
    """ROC AUC: how often a true field's value is above a swapped one's."""
    answers = numpy.concatenate([numpy.ones(len(true)), numpy.zeros(len(swapped))])
    return float(roc_auc_score(answers, numpy.concatenate([true, swapped])))


@dataclass(frozen=True)
class Bin:
    """Answers of about one confidence: their mean confidence, the share that is right, and how many they are."""

    confidence: float
    accuracy: float
    count: int


def reliability(probabilities: Array, labels: Array, bins: int = 10) -> list[Bin]:
    """The chosen labels' probabilities in bins of equal mass, in rising order."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    parts = numpy.array_split(numpy.argsort(confidence, kind="stable"), bins)
    return [Bin(float(confidence[part].mean()), float(right[part].mean()), len(part)) for part in parts if len(part)]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: the mean distance of confidence and accuracy."""
    return sum(abs(part.confidence - part.accuracy) * part.count for part in bins) / sum(part.count for part in bins)


def best_temperature(logits: Array, labels: Array) -> float:
    """The temperature of least negative log likelihood."""

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(logits / numpy.exp(log_temperature), axis=1)[numpy.arange(len(labels)), labels].mean())

    return float(numpy.exp(minimize_scalar(loss, bounds=(-2, 2), method="bounded").x))


def fairly_tempered(logits: Array, labels: Array, tests: Sequence[Array]) -> Array:
    """Probabilities of each fold's test posts, by index, at the temperature that the other folds ask for."""
    found = numpy.zeros_like(logits)
    for test in tests:
        others = numpy.setdiff1d(numpy.arange(len(labels)), test)
        found[test] = tempered(logits[test], best_temperature(logits[others], labels[others]))
    return found


def tempered(logits: Array, temperature: float) -> Array:
    """Probabilities."""
    probabilities: Array = softmax(logits / temperature, axis=1)
    return probabilities
