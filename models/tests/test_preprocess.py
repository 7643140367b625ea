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
    reduction,
    split_hashtag,
    square_of,
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


def saved(image: Image.Image, path: Path, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


def test_only_large_jpegs_are_reduced(tmp_path: Path) -> None:
    for short, expected in ((512, 1), (1023, 1), (1024, 2), (2559, 2), (2560, 4), (5120, 8)):
        path = saved(Image.new("L", (short + 1, short)), tmp_path / f"{short}.jpg", 1)
        assert reduction(Image.open(path), 224, 0.875) == expected
    assert reduction(Image.new("L", (4000, 4000)), 224, 0.875) == 1
    assert reduction(Image.open(saved(Image.new("L", (2000, 2000)), tmp_path / "large.png", 1)), 224, 0.875) == 1


def test_the_square_of_a_reduced_picture_is_that_of_the_whole_one(tmp_path: Path) -> None:
    for orientation, expected in ((1, (1.25, 0, 6.25, 5)), (2, (1.75, 0, 6.75, 5)), (6, (0, 1.25, 5, 6.25)), (8, (0, 1.75, 5, 6.75))):
        path = saved(Image.new("L", (15, 10)), tmp_path / f"{orientation}.jpg", orientation)
        assert square_of(Image.open(path), 2, 1.0) == expected


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_picture_is_close_to_the_whole_one(tmp_path: Path, orientation: int) -> None:
    rows, columns = numpy.mgrid[0:203, 0:285]
    wave = numpy.dstack([128 + 100 * numpy.sin(rows / 9), 128 + 100 * numpy.sin(columns / 11), (rows + columns) / 2])
    path = saved(Image.fromarray(wave.astype(numpy.uint8)), tmp_path / "odd.jpg", orientation)
    rgb = to_rgb(Image.open(path))
    whole = numpy.asarray(rgb.resize((24, 24), Image.Resampling.BICUBIC, box=centred_square(rgb.size, 0.875)), float)
    assert reduction(Image.open(path), 24, 0.875) == 2
    assert numpy.abs(image_pixels(Image.open(path), 24, 0.875) - whole).mean() < 0.5


def test_text_goldens(golden_folder: Path) -> None:
    for case in json.loads((golden_folder / "text.json").read_text(encoding="utf-8"))["cases"]:
        assert metadata_values(case["metadata"]) == case["values"]
        assert [text or None for text in field_texts(case["metadata"])] == list(case["field_texts"].values())
