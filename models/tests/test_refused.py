"""Bad input of the commands: each has one clear outcome, and nothing is written outside the folder named."""

import json
from pathlib import Path

import numpy
import pytest

from sentistream_models import contract
from sentistream_models.fit import check_groups
from sentistream_models.labelled import read_labelled, read_listed
from sentistream_models.manifest import Label, new_folder, read_encoders
from sentistream_models.refused import Refused
from sentistream_models.scores import fairly_tempered, tempered

LABELS = (Label("bad", -1.0), Label("good", 1.0))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('tags_file = "tags.txt"', 'tags_file = "../tags.txt"', r"does not list \.\./tags\.txt"),
        ('"tags.txt" =', '"../tags.txt" =', "has no folder"),
        ('"tagger.onnx" =', '"other.onnx" =', "is not the file"),
        ("[files]", "[other]", r"no table \[files\]"),
    ],
)
def test_a_bundle_names_files_beside_its_manifest_only(bundle_folder: Path, tmp_path: Path, old: str, new: str, told: str) -> None:
    for name in contract.BUNDLE_FILES:
        if (bundle_folder / name).exists():
            (tmp_path / name).symlink_to(bundle_folder / name)
    manifest = (bundle_folder / contract.MANIFEST).read_text()
    assert old in manifest
    (tmp_path / contract.MANIFEST).write_text(manifest.replace(old, new))
    with pytest.raises(Refused, match=told):
        read_encoders(tmp_path)


def test_a_folder_with_something_in_it_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(Refused, match="is there already"):
        new_folder(tmp_path)
    assert new_folder(tmp_path / "new").is_dir()


def test_lists_as_spreadsheets_write_them_are_read(tmp_path: Path) -> None:
    path = tmp_path / "posts.csv"
    path.write_bytes("\ufeffimage,label,caption\na.jpg,Positive,\xe9t\xe9\n".encode() + b"b.jpg,negative,\xff\n")
    posts, unlabelled = read_labelled(path)
    assert [post.label for post in posts] == ["positive", "negative"]
    assert posts[0].metadata == {"caption": "été"} and unlabelled == 0


@pytest.mark.parametrize("metadata", [{"caption": 5}, ["x"], {"tags": [1]}, {"tags": "sun"}, {"objects": ["dog"]}, {"objects": {"label": "dog"}}])
def test_metadata_of_other_types_is_refused_by_its_line(tmp_path: Path, metadata: object) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_text(json.dumps({"image": {"path": "a.jpg"}, "label": "good", "metadata": metadata}) + "\n")
    with pytest.raises(Refused, match="line 1"):
        read_listed(path)


def test_a_cell_without_end_is_refused_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "posts.csv"
    path.write_text("image,label,caption\na.jpg,good," + "x" * 1_000_001 + "\n")
    with pytest.raises(Refused, match="line"):
        read_listed(path)


def test_copies_are_no_posts_of_their_own() -> None:
    labels = numpy.array([0] * 5 + [1] * 5)
    check_groups(labels, numpy.arange(10), LABELS)
    with pytest.raises(Refused, match=r"good \(1\)"):
        check_groups(labels, numpy.array([0, 1, 2, 3, 4, 5, 5, 5, 5, 5]), LABELS)


def test_a_fold_is_told_at_the_temperature_of_the_others() -> None:
    generator = numpy.random.default_rng(5)
    labels = generator.integers(0, 2, 200)
    logits = generator.normal(size=(200, 2)) + numpy.eye(2)[labels]
    tests = [numpy.arange(100, 200), numpy.arange(100)]
    found = fairly_tempered(logits, labels, tests)
    changed = labels.copy()
    changed[:100] = 1 - changed[:100]
    other = fairly_tempered(logits, changed, tests)
    assert numpy.array_equal(found[:100], other[:100]) and not numpy.allclose(found[100:], other[100:])
    assert not numpy.allclose(found, tempered(logits, 1.0))
