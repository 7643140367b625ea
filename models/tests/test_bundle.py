"""The committed graphs keep the contract; runs without the data."""

import json
import tomllib
from pathlib import Path

import numpy
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from sentistream_models import contract
from sentistream_models.preprocess import image_pixels
from sentistream_models.runtime import Bundle, padded_texts, run_relevance
from sentistream_models.verify import FORBIDDEN

GRAPHS = [name for name in contract.BUNDLE_FILES if name.endswith(".onnx")]


@pytest.fixture(scope="module")
def bundle(bundle_folder: Path) -> Bundle:
    return Bundle(bundle_folder, threads=1)


def inputs(rows: int) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Plausible embeddings, every field present."""
    generator = numpy.random.default_rng(7)
    fields = generator.normal(size=(rows, 3, contract.TEXT_WIDTH)).astype(numpy.float32) / 20
    return generator.random((rows, contract.IMAGE_WIDTH), numpy.float32), fields, numpy.ones((rows, 3), bool)


def test_manifest_pins_every_file(bundle_folder: Path) -> None:
    manifest = tomllib.loads((bundle_folder / contract.MANIFEST).read_text())
    assert manifest["files"] == {name: contract.sha256(bundle_folder / name) for name in contract.BUNDLE_FILES}
    assert {path.name for path in bundle_folder.iterdir()} == {*contract.BUNDLE_FILES, contract.MANIFEST}
    assert sum(path.stat().st_size for path in bundle_folder.iterdir()) < 40e6


@pytest.mark.parametrize("name", GRAPHS)
def test_nothing_is_quantised_dynamically(bundle_folder: Path, name: str) -> None:
    graph = onnx.load(bundle_folder / name).graph
    assert not {node.op_type for node in graph.node} & set(FORBIDDEN)


@pytest.mark.parametrize("name", [contract.IMAGE_ENCODER, contract.TEXT_ENCODER])
def test_no_pair_of_products_can_saturate(bundle_folder: Path, name: str) -> None:
    graph = onnx.load(bundle_folder / name).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    sources = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    checked = 0
    for node in graph.node:
        weight = arrays.get(sources.get(node.input[1], "")) if node.op_type in ("Conv", "MatMul") else None
        if weight is None or (node.op_type == "Conv" and weight.shape[1] == 1):
            continue
        channels = weight.reshape(len(weight), -1) if node.op_type == "Conv" else weight.T
        for sign in (1, -1):
            largest = numpy.sort(numpy.maximum(sign * channels.astype(int), 0), axis=1)[:, -2:].sum(axis=1)
            assert largest.max() * 255 < 2**15
        checked += 1
    assert checked > 20


def test_absent_fields_have_no_influence_whatever_they_hold(bundle: Bundle) -> None:
    image, fields, present = inputs(8)
    for row in range(8):
        present[row] = [bool(row & 1), bool(row & 2), bool(row & 4)]
    expected = run_relevance(bundle.relevance, image, fields, present)
    for garbage in (numpy.nan, numpy.inf, -numpy.inf, 1e30):
        spoiled = numpy.where(present[:, :, None], fields, numpy.float32(garbage))
        found = run_relevance(bundle.relevance, image, spoiled, present)
        assert all(numpy.array_equal(left, right) for left, right in zip(expected, found, strict=True))
    assert (expected[2][:, 1:][~present] == 0).all()
    assert expected[2][0, 0] == 1
    assert numpy.allclose(expected[2].sum(axis=1), 1, atol=1e-6)


def test_rows_do_not_see_their_neighbours(bundle: Bundle) -> None:
    image, fields, present = inputs(16)
    together = run_relevance(bundle.relevance, image, fields, present)
    answers = bundle.fusion.run(None, {"hyper": together[0], "target": together[1]})[0]
    for row in range(16):
        alone = run_relevance(bundle.relevance, *(part[row : row + 1] for part in (image, fields, present)))
        answer = bundle.fusion.run(None, {"hyper": alone[0], "target": alone[1]})[0]
        assert numpy.abs(answer[0] - answers[row]).max() < 1e-5
    assert numpy.allclose(answers.sum(axis=1), 1, atol=1e-6)


def test_padding_leaves_the_text_much_as_it_was(bundle: Bundle) -> None:
    tokens = bundle.text.tokens("a good day at the beach")
    alone, padded = (bundle.text.session.run(None, padded_texts([tokens], length))[0][0] for length in (None, 64))
    assert float(alone @ padded) > 0.999


def test_goldens_are_the_bundle_s(bundle: Bundle, bundle_folder: Path, golden_folder: Path) -> None:
    goldens = json.loads((golden_folder / "goldens.json").read_text(encoding="utf-8"))
    assert goldens["bundle_digest"] == contract.sha256(bundle_folder / contract.MANIFEST)
    for post in goldens["posts"]:
        pixels = image_pixels(Image.open(golden_folder / post["image"]), contract.IMAGE_SIZE, contract.IMAGE_CROP)
        scored = bundle.score(pixels, [text or "" for text in post["field_texts"].values()])
        assert scored.probabilities.tolist() == pytest.approx(post["probabilities"], abs=0.02)
        assert scored.relevance.tolist() == pytest.approx(post["relevance"], abs=0.02)
