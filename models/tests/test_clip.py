"""`import-clip` against `transformers`, on random weights in full size and in another."""

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from conftest import Clip
from PIL import Image
from random_clip import TEXTS
from transformers import CLIPImageProcessor, CLIPTokenizer

from sentistream_models import contract
from sentistream_models.import_clip import import_clip, read_preprocessing
from sentistream_models.manifest import read_encoders
from sentistream_models.preprocess import image_pixels
from sentistream_models.refused import Refused
from sentistream_models.runtime import TextSide, open_session, padded_texts

PHOTOS = ("cat.jpg", "astronaut.png", "coffee.webp")
TOLERANCE = 1e-4


def text_side(clip: Clip) -> TextSide:
    return TextSide(clip.encoders / contract.TOKENIZER, clip.encoders / contract.TEXT_ENCODER, 77)


def photos(folder: Path, side: int) -> numpy.ndarray:
    return numpy.stack([image_pixels(Image.open(folder / name), side, 1.0) for name in PHOTOS])


@pytest.mark.parametrize(("fixture", "normalised"), [("full_clip", False), ("small_clip", True)])
def test_embeddings_are_those_of_transformers(
    request: pytest.FixtureRequest, golden_folder: Path, fixture: str, normalised: bool
) -> None:
    clip: Clip = request.getfixturevalue(fixture)
    side = read_encoders(clip.encoders).image
    pixels = photos(golden_folder, side.width)
    levels = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    values = (levels - torch.tensor(side.mean)[:, None, None]) / torch.tensor(side.std)[:, None, None]
    text = CLIPTokenizer.from_pretrained(clip.folder)(TEXTS, padding=True, truncation=True, max_length=77, return_tensors="pt")
    with torch.no_grad():
        told = clip.model(pixel_values=values, **text)
        image = told.image_embeds if normalised else clip.model.get_image_features(values).pooler_output
        texts = told.text_embeds if normalised else clip.model.get_text_features(**text).pooler_output
    found = open_session(clip.encoders / contract.IMAGE_ENCODER).run(None, {"pixels": pixels})[0]
    assert numpy.abs(found - image.numpy()).max() < TOLERANCE
    side_of_text = text_side(clip)
    tokens = [side_of_text.tokens(words) for words in TEXTS]
    assert tokens == [ids[mask == 1].tolist() for ids, mask in zip(text["input_ids"], text["attention_mask"], strict=True)]
    found = side_of_text.session.run(None, padded_texts(tokens))[0]
    assert numpy.abs(found - texts.numpy()).max() < TOLERANCE
    assert numpy.abs(texts[0] - texts[1]).max() > 100 * TOLERANCE, "texts that cannot be told apart would show nothing"
    assert numpy.abs(image[0] - image[1]).max() > 10 * TOLERANCE


def test_the_tokenizer_knows_every_byte(small_clip: Clip) -> None:
    text = text_side(small_clip)
    assert all(text.tokens(word).count(49407) == 1 for word in ("cat, ", "q! ~", "\u0416\u4e2d 🫠", "\x01"))


@pytest.mark.parametrize("fixture", ["full_clip", "small_clip"])
def test_padding_is_exactly_without_effect(request: pytest.FixtureRequest, fixture: str) -> None:
    clip: Clip = request.getfixturevalue(fixture)
    text = text_side(clip)
    tokens = [text.tokens(words) for words in TEXTS]
    plain = padded_texts(tokens, 77)
    spoiled = {**plain, "input_ids": numpy.where(plain["attention_mask"] == 1, plain["input_ids"], 5)}
    expected = text.session.run(None, plain)[0]
    assert numpy.array_equal(expected, text.session.run(None, spoiled)[0])
    alone = numpy.stack([text.session.run(None, padded_texts([ids]))[0][0] for ids in tokens])
    assert numpy.abs(alone - expected).max() < 1e-5


def test_rows_do_not_see_their_neighbours(full_clip: Clip, golden_folder: Path) -> None:
    session, pixels = open_session(full_clip.encoders / contract.IMAGE_ENCODER), photos(golden_folder, 224)
    together = session.run(None, {"pixels": pixels})[0]
    for row in range(len(pixels)):
        assert numpy.abs(session.run(None, {"pixels": pixels[row : row + 1]})[0][0] - together[row]).max() < 1e-5


def test_the_square_is_nearly_what_the_processor_takes(golden_folder: Path) -> None:
    processor = CLIPImageProcessor(do_normalize=False, do_rescale=False)
    for name in PHOTOS:
        image = Image.open(golden_folder / name).convert("RGB")
        expected = numpy.asarray(processor(images=image, return_tensors="np")["pixel_values"][0]).transpose(1, 2, 0)
        assert numpy.abs(image_pixels(image, 224, 1.0).astype(float) - expected).mean() < 4


def broken(source: Path, folder: Path, name: str, change: Callable[[dict], object]) -> Path:
    """A copy of a CLIP folder with one of its JSON files changed."""
    shutil.copytree(source, folder)
    path = folder / name
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("config.json", lambda value: value.update(model_type="siglip"), "model_type is 'siglip'"),
        ("preprocessor_config.json", lambda value: value.update(do_center_crop=False), "do_center_crop is False"),
        ("preprocessor_config.json", lambda value: value.update(resample=2), "resample is 2"),
        ("preprocessor_config.json", lambda value: value.update(size={"height": 64, "width": 64}), "size is"),
        ("preprocessor_config.json", lambda value: value.update(crop_size=32), "image_size, 64"),
        ("config.json", lambda value: value["text_config"].update(eos_token_id=7), "ends a text with token"),
        ("config.json", lambda value: value["text_config"].update(num_hidden_layers=3), "lacks"),
    ],
)
def test_what_cannot_be_followed_is_refused(
    small_clip: Clip, tmp_path: Path, name: str, change: Callable[[dict], object], told: str
) -> None:
    folder = broken(small_clip.folder, tmp_path / "clip", name, change)
    chosen = {"source": folder, "out": tmp_path / "out", "name": None, "version": "1", "license": "x", "unnormalised": False}
    with pytest.raises(Refused, match=told):
        import_clip(argparse.Namespace(**chosen))


def test_folders_that_are_no_clip_are_refused(small_clip: Clip, tmp_path: Path) -> None:
    chosen = {"out": tmp_path / "out", "name": None, "version": "1", "license": "x", "unnormalised": False}
    for missing, told in (("config.json", "config.json cannot be read"), ("model.safetensors", "model.safetensors")):
        folder = tmp_path / missing
        shutil.copytree(small_clip.folder, folder)
        (folder / missing).unlink()
        with pytest.raises(Refused, match=told):
            import_clip(argparse.Namespace(source=folder, **chosen))


def test_older_processors_write_sizes_as_numbers() -> None:
    config = {"size": 256, "crop_size": 224, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    assert read_preprocessing(config, 224).image.crop == 0.875
