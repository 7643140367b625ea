"""A bundle's reference (docs/bundle.md): what its results looked like where it was made, for workers' drift to be measured against.

`train` and `default` count it over the answers of cross-validation, by heads that had not seen the post. `reference` counts it over
results that `sentistream score` gave.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy

from .manifest import IMAGE_QUERY, Reference, read_encoders, read_heads, write_bundle
from .refused import Refused

BINS = 10
DIGITS = 4


def reference_of(probabilities: numpy.ndarray, missing: numpy.ndarray, labels: Sequence[str], fields: Sequence[str]) -> Reference:
    """Of probabilities [N, L] and of whether each field was missing, bool [N, K]."""
    told = probabilities.argmax(axis=1)
    confidence = numpy.clip(probabilities.max(axis=1), 0, 1)
    bins = numpy.clip(numpy.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)  # a bin ends with its upper edge
    return Reference(
        posts=len(probabilities),
        labels=dict(zip(labels, rounded(numpy.bincount(told, minlength=len(labels)) / len(told)), strict=True)),
        confidence=tuple(rounded(numpy.bincount(bins, minlength=BINS) / len(bins))),
        missing=dict(zip(fields, rounded(missing.mean(axis=0)), strict=True)),
    )


def rounded(shares: numpy.ndarray) -> list[float]:
    """Nobody drifts by less."""
    return [round(float(share), DIGITS) for share in shares]


def reference_of_results(results: Iterable[dict[str, Any]], labels: Sequence[str], fields: Sequence[str]) -> Reference:
    """Of results as `sentistream score` writes them."""
    probabilities, missing = [], []
    for result in results:
        try:
            probabilities.append([result["sentiment"]["probabilities"][label] for label in labels])
            missing.append([f"{field}_missing" in result["flags"] for field in fields])
        except (KeyError, TypeError) as error:
            raise Refused(f"a line is no result of this bundle: {error} is not in it") from error
    if not probabilities:
        raise Refused("there are no results to count over")
    return reference_of(numpy.array(probabilities, numpy.float32), numpy.array(missing), labels, fields)


def add_reference(chosen: argparse.Namespace) -> None:
    """The command: counts, and writes the manifest anew."""
    bundle: Path = chosen.bundle
    encoders, heads = read_encoders(bundle), read_heads(bundle)
    if heads is None:
        raise Refused(f"{bundle} has encoders alone: nothing that answers")
    try:
        lines = chosen.results.read_text(encoding="utf-8").splitlines()
        results = [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise Refused(f"{chosen.results} holds no results, a JSON object a line: {error}") from error
    reference = reference_of_results(results, [label.name for label in heads.labels], [field.name for field in encoders.fields])
    print(f"reference of {reference.posts:,} results; digest {write_bundle(bundle, encoders, replace(heads, reference=reference))}")


def missing_for(present: numpy.ndarray, texts: Sequence[Sequence[str]], fields: Sequence[str], query: str) -> numpy.ndarray:
    """Fields without anything, bool [N, K]: the query is always present, by the empty text if need be."""
    missing: numpy.ndarray = ~present
    if query != IMAGE_QUERY:
        place = list(fields).index(query)
        missing[:, place] = [not words[place] for words in texts]
    return missing

