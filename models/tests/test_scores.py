"""Measures, against scikit-learn and against cases small enough to count."""

import numpy
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from sentistream_models.scores import calibration_error, group_confusions, intervals, reliability, scores_of, summary


@pytest.fixture
def answers() -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    generator = numpy.random.default_rng(3)
    labels = generator.integers(0, 3, 400)
    told = numpy.where(generator.random(400) < 0.7, labels, generator.integers(0, 3, 400))
    return labels, told, generator.integers(0, 150, 400)


def test_scores_of_a_confusion_matrix_are_scikit_learn_s(answers: tuple[numpy.ndarray, ...]) -> None:
    labels, told, _ = answers
    found = scores_of(confusion_matrix(labels, told).astype(float))
    assert found.accuracy == pytest.approx(accuracy_score(labels, told))
    assert found.weighted_f1 == pytest.approx(f1_score(labels, told, average="weighted"))
    assert found.macro_f1 == pytest.approx(f1_score(labels, told, average="macro"))


def test_groups_add_up_to_the_whole(answers: tuple[numpy.ndarray, ...]) -> None:
    labels, told, groups = answers
    assert numpy.array_equal(group_confusions(labels, told, groups).sum(axis=0), confusion_matrix(labels, told))


def test_an_interval_holds_the_score_and_widens_when_posts_are_copies(answers: tuple[numpy.ndarray, ...]) -> None:
    labels, told, groups = answers
    alone = intervals(labels, told, numpy.arange(len(labels)))
    assert alone[0].accuracy < accuracy_score(labels, told) < alone[1].accuracy
    copies = numpy.repeat(labels, 4), numpy.repeat(told, 4), numpy.repeat(numpy.arange(len(labels)), 4)
    low, high = intervals(*copies)
    assert high.accuracy - low.accuracy == pytest.approx(alone[1].accuracy - alone[0].accuracy, rel=0.2)


def test_a_summary_tells_mean_and_spread_over_folds() -> None:
    zeros, ones = numpy.zeros(10, int), numpy.ones(10, int)
    half = numpy.arange(10) % 2
    told = summary([(half, half), (half, zeros), (half, ones)], numpy.arange(30))
    assert told.mean.accuracy == pytest.approx(2 / 3)
    assert told.deviation.accuracy == pytest.approx(numpy.std([1, 0.5, 0.5], ddof=1))


def test_calibration_is_the_distance_of_confidence_and_accuracy() -> None:
    confidence = numpy.repeat([0.55, 0.95], 50)
    right = numpy.concatenate([numpy.arange(50) % 2 == 0, numpy.ones(50, bool)])
    probabilities = numpy.stack([confidence, 1 - confidence], axis=1)
    bins = reliability(probabilities, numpy.where(right, 0, 1), bins=2)
    assert [part.count for part in bins] == [50, 50]
    assert [part.accuracy for part in bins] == [0.5, 1.0]
    assert calibration_error(bins) == pytest.approx(0.05)
