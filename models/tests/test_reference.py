"""A bundle's reference: counted, written, and read back."""

from pathlib import Path

import numpy
import pytest

from sentistream_models import contract
from sentistream_models.manifest import Heads, Label, Reference, default_encoders, read_heads, write_bundle
from sentistream_models.reference import missing_for, reference_of, reference_of_results
from sentistream_models.refused import Refused

EXPECTED = Reference(
    posts=4,
    labels={"bad": 0.75, "good": 0.25},
    confidence=(0.0, 0.0, 0.0, 0.0, 0.0, 0.25, 0.25, 0.0, 0.0, 0.5),
    missing={"caption": 0.5, "tags": 0.0},
)


def test_shares_are_counted_and_a_bin_ends_with_its_edge() -> None:
    probabilities = numpy.array([[0.6, 0.4], [0.35, 0.65], [0.95, 0.05], [1.0, 0.0]])
    missing = numpy.array([[True, False], [False, False], [True, False], [False, False]])
    assert reference_of(probabilities, missing, ["bad", "good"], ["caption", "tags"]) == EXPECTED


def test_results_are_counted_as_the_worker_writes_them() -> None:
    def result(bad: float, *flags: str) -> dict[str, object]:
        return {"sentiment": {"probabilities": {"bad": bad, "good": 1 - bad}}, "flags": list(flags)}

    results = [result(0.6, "caption_missing"), result(0.35), result(0.95, "caption_missing", "text_truncated"), result(1.0)]
    assert reference_of_results(results, ["bad", "good"], ["caption", "tags"]) == EXPECTED
    with pytest.raises(Refused, match="neutral"):
        reference_of_results(results, ["bad", "neutral"], ["caption"])
    with pytest.raises(Refused, match="no results"):
        reference_of_results([], ["bad"], ["caption"])


def test_the_manifest_keeps_it(tmp_path: Path) -> None:
    for name in contract.BUNDLE_FILES:
        (tmp_path / name).write_text(name)
    heads = Heads((Label("bad", -1.0), Label("good", 1.0)), reference=EXPECTED)
    write_bundle(tmp_path, default_encoders("some", "none"), heads)
    assert read_heads(tmp_path) == heads


def test_a_query_by_the_empty_text_is_missing() -> None:
    present = numpy.array([[True, False], [True, True]])
    found = missing_for(present, [["", ""], ["words", "tag"]], ["caption", "tags"], "caption")
    assert found.tolist() == [[True, True], [False, False]]
