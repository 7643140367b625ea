"""Measures of a classifier's answers; nothing here knows of models."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

Array = numpy.ndarray


@dataclass(frozen=True)
class Scores:
    """Accuracy, F1 weighted by class size, F1 averaged over classes."""

    accuracy: float
    weighted_f1: float
    macro_f1: float


@dataclass(frozen=True)
class Summary:
    """Mean and standard deviation over folds, of each of the three."""

    mean: Scores
    deviation: Scores

    def row(self) -> str:
        """`0.700 ± 0.010 | ...`."""
        pairs = zip(vars(self.mean).values(), vars(self.deviation).values(), strict=True)
        return " | ".join(f"{mean:.3f} ± {deviation:.3f}" for mean, deviation in pairs)


def scores(labels: Array, answers: Array) -> Scores:
    """All three, of one fold."""
    return Scores(
        float(accuracy_score(labels, answers)),
        float(f1_score(labels, answers, average="weighted")),
        float(f1_score(labels, answers, average="macro")),
    )


def summary(folds: Sequence[Scores]) -> Summary:
    """Over folds; the deviation is the sample's."""
    table = numpy.array([list(vars(fold).values()) for fold in folds])
    return Summary(Scores(*table.mean(axis=0).tolist()), Scores(*table.std(axis=0, ddof=1).tolist()))


def separation(true: Array, swapped: Array) -> float:
    """ROC AUC: how often a true field's value is above a swapped one's."""
    answers = numpy.concatenate([numpy.ones(len(true)), numpy.zeros(len(swapped))])
    return float(roc_auc_score(answers, numpy.concatenate([true, swapped])))


def calibration_error(probabilities: Array, labels: Array, bins: int = 15) -> float:
    """Expected calibration error of the chosen label's probability, in equally wide bins."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bin_of = numpy.minimum((confidence * bins).astype(int), bins - 1)
    errors = [
        abs(confidence[bin_of == index].mean() - right[bin_of == index].mean()) * (bin_of == index).mean()
        for index in numpy.unique(bin_of)
    ]
    return float(sum(errors))


def best_temperature(logits: Array, labels: Array) -> float:
    """The temperature of least negative log likelihood."""

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(logits / numpy.exp(log_temperature), axis=1)[numpy.arange(len(labels)), labels].mean())

    return float(numpy.exp(minimize_scalar(loss, bounds=(-2, 2), method="bounded").x))


def tempered(logits: Array, temperature: float) -> Array:
    """Probabilities."""
    probabilities: Array = softmax(logits / temperature, axis=1)
    return probabilities
