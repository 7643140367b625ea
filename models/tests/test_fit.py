"""`train --encoders`: from a user's labelled posts to a bundle."""

import argparse
import json
import tomllib
from pathlib import Path

import numpy
import pytest
from conftest import Clip

from sentistream_models import contract, fit, train
from sentistream_models.labelled import ListedPost, labels_of, list_of, read_labelled, read_listed
from sentistream_models.manifest import Label, read_encoders
from sentistream_models.posts import grouped, split_by_group
from sentistream_models.refused import Refused

WORDS = {"good": ["lovely day", "best trip", "so happy"], "bad": ["awful queue", "lost my keys", "so angry"]}


def posts_folder(folder: Path, photos: Path, count: int = 60) -> Path:
    """Posts whose caption gives the label away; every third repeats the one before."""
    images = sorted(path for path in photos.iterdir() if path.suffix in (".jpg", ".png", ".webp"))
    lines = []
    for number in range(count):
        label = ("good", "bad")[number // 3 % 2]
        caption = f"{WORDS[label][number % 3]} {number - (number % 3 == 2)}"
        image = {"path": str(images[number % len(images)])} if number % 7 else {"data": "AAAA"}
        lines.append(json.dumps({"id": str(number), "label": label, "image": image, "metadata": {"caption": caption}}))
    lines.append(json.dumps({"id": "unlabelled", "image": {"path": "none.jpg"}}))
    folder.mkdir(exist_ok=True)
    (folder / "posts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def arguments(clip: Clip, data: Path, out: Path, **changed: object) -> argparse.Namespace:
    usual = {"labels": "bad=-1,good=1", "query": "image", "name": "own", "version": "1", "license": "mine", "seed": 1}
    return argparse.Namespace(encoders=clip.encoders, data=data, out=out, **{**usual, **changed})


@pytest.mark.parametrize("query", ["image", "caption"])
def test_heads_are_fitted_to_own_posts(
    small_clip: Clip, golden_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    monkeypatch.setattr(train, "FEWEST_STEPS", 60)
    data = posts_folder(tmp_path / "data", golden_folder)
    fit.fit(arguments(small_clip, data, tmp_path / "out", query=query))
    manifest = tomllib.loads((tmp_path / "out" / contract.MANIFEST).read_text())
    assert manifest.get("query", "image") == query
    assert [(label["name"], label["polarity"]) for label in manifest["labels"]] == [("bad", -1.0), ("good", 1.0)]
    assert manifest["files"] == {name: contract.sha256(tmp_path / "out" / name) for name in manifest["files"]}
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    metrics = record["metrics"]
    assert (metrics["without a label"], metrics["with an unreadable picture"], metrics["posts"]) == (1, 9, 51)
    assert metrics["greatest difference from the module"] < 1e-4
    assert metrics["mean over folds"]["accuracy"] > metrics["always the commonest label"]
    assert record["settings"]["seed"] == 1
    assert record["versions"]["torch"]


def test_encoders_that_do_not_normalise_are_refused(full_clip: Clip, golden_folder: Path, tmp_path: Path) -> None:
    data = posts_folder(tmp_path / "data", golden_folder, 30)
    with pytest.raises(Refused, match="without --unnormalised"):
        fit.fit(arguments(full_clip, data, tmp_path / "out"))


def test_the_empty_text_stands_in_for_a_query_that_is_not_there(small_clip: Clip, golden_folder: Path) -> None:
    post = ListedPost("", golden_folder / "cat.jpg", {"scene": "room"})
    for query, there in (("image", [False, False, True]), ("caption", [True, False, True])):
        extractor = fit.Extractor(small_clip.encoders, read_encoders(small_clip.encoders), query)
        rows, present = extractor.fields(post, extractor.image(post))
        assert present.tolist() == there
        assert (rows[0] == (extractor.embed("") if there[0] else 0)).all()


def test_an_unknown_query_is_refused(small_clip: Clip, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="neither 'image' nor one of the fields caption, tags, context"):
        fit.fit(arguments(small_clip, tmp_path, tmp_path / "out", query="mood"))


def test_lists_are_read_as_the_worker_reads_them(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "images/7.png"):
        (tmp_path / name).write_bytes(b"x")
    rows = 'id,image,text,tags,objects,scene,label\n,a.jpg,"so, good",sun sea,cat; big dog,beach, good \n7,,,,,,\n'
    (tmp_path / "posts.csv").write_text(rows, encoding="utf-8")
    first, second = read_listed(tmp_path)
    assert first.metadata == {
        "scene": "beach", "caption": "so, good", "tags": ["sun", "sea"], "objects": [{"label": "cat"}, {"label": "big dog"}],
    }  # fmt: skip
    assert (first.label, first.image, second.label, second.image) == ("good", tmp_path / "a.jpg", "", tmp_path / "images/7.png")
    assert read_labelled(tmp_path)[1] == 1


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("posts.txt", "", "neither a list of posts"),
        ("posts.csv", "name,label\nx,good\n", "needs a column `image` or `id`"),
        ("posts.csv", "id,label\n9,good\n", "line 2: no `image`"),
        ("posts.csv", "image,label\na.jpg,\n", "no labelled post"),
        ("posts.jsonl", "nope\n", "line 1: not a post"),
        ("posts.jsonl", '{"label": "good"}\n', "line 1: not a post"),
        ("posts.jsonl", '{"label": "good", "image": {"data": "@@"}}\n', "line 1: not a post"),
        ("posts.jsonl", "[1]\n", "line 1: not a post"),
    ],
)
def test_lists_that_hold_no_labelled_posts_are_refused(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(Refused, match=told):
        read_labelled(tmp_path / name)


def test_a_folder_without_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"posts.jsonl or posts.csv"):
        list_of(tmp_path)


def labelled(tmp_path: Path, *labels: str) -> list:
    lines = [json.dumps({"label": label, "image": {"data": ""}}) for label in labels]
    (tmp_path / "posts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return read_labelled(tmp_path)[0]


def test_labels_need_polarities_and_posts(tmp_path: Path) -> None:
    usual = labelled(tmp_path, *["positive", "negative", "neutral"] * 5)
    assert labels_of(usual, None) == (Label("negative", -1.0), Label("neutral", 0.0), Label("positive", 1.0))
    assert labels_of(usual, "positive=0.5, neutral=0,negative=-.5")[0] == Label("positive", 0.5)
    for posts, option, told in (
        (labelled(tmp_path, *["happy", "sad"] * 5), None, "--labels happy=0,sad=0"),
        (usual, "positive=1", "without a polarity: negative, neutral"),
        (usual, "positive=2,negative=-1,neutral=0", "not name=polarity"),
        (usual[:12], None, r"too few: negative \(4\)"),
        (labelled(tmp_path, *["positive"] * 9), None, "at least two labels"),
    ):
        with pytest.raises(Refused, match=told):
            labels_of(posts, option)


def test_duplicates_stay_on_one_side() -> None:
    groups = grouped([[("text", "a")], [("text", "b"), ("image", "x")], [("image", "x"), ("text", "a")], [("text", "c")]])
    assert groups[0] == groups[1] == groups[2] != groups[3]
    labels, many = numpy.array([0, 1] * 30), numpy.repeat(numpy.arange(20), 3)
    for taught, asked in split_by_group(labels, many, seed=3).folds:
        assert not set(many[taught]) & set(many[asked])
