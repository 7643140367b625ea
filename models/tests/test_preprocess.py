"""Preprocessing keeps docs/bundle.md."""

import json
from pathlib import Path

import numpy
import pytest
from PIL import Image

from sentistream_models.posts import field_texts
from sentistream_models.preprocess import (
    centred_square,
    field_text,
    image_pixels,
    metadata_values,
    object_labels,
    split_hashtag,
    to_rgb,
)


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ("NYCMarathon2026", "NYC Marathon 2026"),
        ("snake_case", "snake case"),
        ("ABC", "ABC"),
        ("_", ""),
        ("iPhone15Pro", "i Phone 15 Pro"),
    ],
)
def test_hashtags_are_split_into_words(tag: str, words: str) -> None:
    assert split_hashtag(tag) == words


def test_links_go_before_mentions_and_mentions_before_hashtags() -> None:
    values = metadata_values({"caption": "go http://a.b/#no @me#yes  now", "tags": ["#Yes", "more"]})
    assert values["caption"] == "go now"
    assert values["hashtags"] == "yes, more"


def test_objects_are_sorted_cut_and_deduplicated() -> None:
    objects = [{"label": "a", "score": 0.4}, {"label": "b"}, {"label": "c", "score": 0.39}, {"label": "b", "score": 0.9}]
    assert object_labels(objects) == ["b", "a"]


def test_a_part_needs_all_its_values() -> None:
    parts = ["at {place}", "{scene} with {objects}"]
    assert field_text(parts, {"place": "Rome", "scene": "square", "objects": ""}) == "at Rome"
    assert field_text(parts, {"place": "", "scene": "square", "objects": ""}) == ""


def test_transparency_is_laid_over_white() -> None:
    assert to_rgb(Image.new("RGBA", (4, 4), (0, 0, 0, 0))).getpixel((0, 0)) == (255, 255, 255)


def test_exif_orientation_turns_the_image(tmp_path: Path) -> None:
    image, exif = Image.new("RGB", (20, 10), "black"), Image.Exif()
    image.paste("white", (0, 0, 10, 10))
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    upright = to_rgb(Image.open(tmp_path / "turned.png"))
    assert upright.size == (10, 20)
    assert upright.getpixel((5, 2)) == (255, 255, 255)


def test_the_square_is_centred_and_resized() -> None:
    assert centred_square((100, 60), 0.5) == (35.0, 15.0, 65.0, 45.0)
    assert image_pixels(Image.new("L", (300, 260), 7), 224, 0.875).tolist() == numpy.full((224, 224, 3), 7).tolist()


def test_text_goldens(golden_folder: Path) -> None:
    for case in json.loads((golden_folder / "text.json").read_text(encoding="utf-8"))["cases"]:
        assert metadata_values(case["metadata"]) == case["values"]
        assert [text or None for text in field_texts(case["metadata"])] == list(case["field_texts"].values())
