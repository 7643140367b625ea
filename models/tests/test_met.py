"""`import-sentiformer` against the authors' network, on random weights of the published names and shapes."""

import argparse
import json
import os
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from conftest import MODELS, Clip
from published_met import published
from torch import Tensor
from torch.nn import functional

from sentistream_models import contract
from sentistream_models.import_sentiformer import LABELS, export_met, import_sentiformer, read_met
from sentistream_models.met import HyperLayer, Met
from sentistream_models.refused import Refused
from sentistream_models.runtime import Session, open_session, run_relevance

TOLERANCE = 1e-4
WORKER = MODELS.parent / "target" / "release" / "sentistream"


def random_state(arl_layers: int = 4, fusion_blocks: int = 6) -> dict[str, torch.Tensor]:
    """Weights as large as training leaves them, of the published names."""
    generator = torch.Generator().manual_seed(11)
    state = {}
    for name, shape in published(arl_layers, fusion_blocks).items():
        drawn = torch.randn(shape, generator=generator)
        is_norm = "norm" in name and name.endswith("weight")
        state[name] = 1 + 0.2 * drawn if is_norm else drawn * (0.5 if len(shape) == 3 else 1.2 * shape[-1] ** -0.5)
    return state


def saved(folder: Path, state: dict[str, torch.Tensor], **beside: object) -> Path:
    torch.save({"epoch": 9, "state_dict": state, "optimizer": {}, **beside}, folder / "797.pth")
    return folder / "797.pth"


@pytest.fixture(scope="module", params=[(4, 6), (3, 6), (1, 2)], ids=str)
def met(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Met, Session, Session]:
    """The reference and both graphs."""
    folder = tmp_path_factory.mktemp("met")
    network = read_met(saved(folder, random_state(*request.param)))
    export_met(network, folder)
    return network, open_session(folder / contract.RELEVANCE), open_session(folder / contract.FUSION)


def inputs(rows: int) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    generator = numpy.random.default_rng(5)
    image, fields = generator.normal(size=(rows, 512)), generator.normal(size=(rows, 2, 512))
    return image.astype(numpy.float32) * 0.4, fields.astype(numpy.float32) * 0.4, numpy.ones((rows, 2), bool)


def test_the_published_names_and_shapes_are_the_reference_s() -> None:
    for depths in ((3, 6), (4, 6), (1, 2)):
        assert {name: tuple(value.shape) for name, value in Met(*depths).state_dict().items()} == published(*depths)


def test_the_graphs_are_the_authors_network(met: tuple[Met, Session, Session]) -> None:
    network, relevance, fusion = met
    image, fields, present = inputs(32)
    with torch.no_grad():
        expected = network(*map(torch.from_numpy, (image, fields[:, 1], fields[:, 0]))).numpy()
    hyper, target, _ = run_relevance(relevance, image, fields, present)
    found = fusion.run(None, {"hyper": hyper, "target": target})[0]
    assert numpy.abs(found - expected).max() < TOLERANCE
    assert numpy.abs(expected[0] - expected[1]).max() > 100 * TOLERANCE


def test_relevance_is_a_share(met: tuple[Met, Session, Session]) -> None:
    relevance = run_relevance(met[1], *inputs(32))[2]
    assert (relevance > 0).all()
    assert numpy.allclose(relevance.sum(axis=1), 1, atol=1e-6)
    assert relevance.std(axis=0).min() > 1e-4, "the same for every post would tell nothing"


def test_absent_fields_have_weight_zero_and_no_influence(met: tuple[Met, Session, Session]) -> None:
    image, fields, present = inputs(8)
    present[:] = [[bool(row & 1), bool(row & 2)] for row in range(8)]
    expected = run_relevance(met[1], image, fields, present)
    for garbage in (numpy.nan, numpy.inf, 1e30):
        spoiled = numpy.where(present[:, :, None], fields, numpy.float32(garbage))
        found = run_relevance(met[1], image, spoiled, present)
        assert all(numpy.array_equal(left, right) for left, right in zip(expected, found, strict=True))
    assert (expected[2][:, 1:][~present] == 0).all()
    assert (expected[2][0] == [1, 0, 0]).all()


def test_rows_do_not_see_their_neighbours(met: tuple[Met, Session, Session]) -> None:
    parts = inputs(8)
    together = run_relevance(met[1], *parts)
    for row in range(8):
        alone = run_relevance(met[1], *(part[row : row + 1] for part in parts))
        for left, right in zip(alone, together, strict=True):
            assert numpy.abs(left[0] - right[row]).max() < 1e-5


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_the_weight_is_the_share_that_the_documentation_defines(tmp_path: Path, depth: int) -> None:
    """Written down anew; and the parts and what belongs to none add up to the hyper-representation."""
    network = read_met(saved(tmp_path, random_state(depth, 1)))
    export_met(network, tmp_path)
    image, fields, present = inputs(4)
    hyper, _, found = run_relevance(open_session(tmp_path / contract.RELEVANCE), image, fields, present)
    with torch.no_grad():
        image_tokens, prompt_tokens, texts = network.tokens(*map(torch.from_numpy, (image, fields[:, 1], fields[:, 0])))
        parts = [torch.zeros(4, 8, 128) for _ in range(3)]
        rest = network.h_hyper.expand(4, -1, -1)
        for (layer,), text in zip(network.h_hyper_layer.layers, texts, strict=True):
            whole = rest + sum(parts)
            scale = layer.norm4.weight / (whole.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
            rest = (rest - rest.mean(-1, keepdim=True)) * scale + layer.norm4.bias + layer.fn.to_out[0].bias
            added = parts_added(layer, text, image_tokens, prompt_tokens)
            parts = [(part - part.mean(-1, keepdim=True)) * scale + more for part, more in zip(parts, added, strict=True)]
        sizes = torch.stack([part.flatten(1).norm(dim=1) for part in parts], dim=1)
    assert numpy.abs(found - (sizes / sizes.sum(1, keepdim=True)).numpy()).max() < TOLERANCE
    assert numpy.abs(hyper - (rest + sum(parts)).numpy()).max() < TOLERANCE


def parts_added(layer: HyperLayer, text: Tensor, image: Tensor, prompt: Tensor) -> list[Tensor]:
    """What the image, the text and the prompt add in one layer."""
    read, put_together = layer.fn, layer.fn.to_out[0].weight
    question, alike, asked = layer.norm1(text), [], []
    for source, key, value in ((layer.norm3(image), read.to_k_tv, read.to_v_tv), (layer.norm2(prompt), read.to_k_ta, read.to_v_ta)):
        heads = [part.unflatten(-1, (8, 16)).transpose(1, 2) for part in (read.to_q(question), key(source), value(source))]
        answer = functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2) @ put_together.t()
        alike.append((value(source).mean(1, keepdim=True) @ put_together.t()).expand(-1, 8, -1))
        asked.append(answer - alike[-1])
    return [alike[0], asked[0] + asked[1], alike[1]]


def test_what_parallel_training_and_unused_parts_leave_in_a_checkpoint_does_not_matter(tmp_path: Path) -> None:
    state = random_state(3, 2)
    unused = [name for name in state if ".alt." in name or (name.startswith("proj_") and "extra_token" in name)]
    parallel = {f"module.{name}": value for name, value in state.items() if name not in unused}
    torch.save(parallel, tmp_path / "bare.pth")
    assert len(unused) == 15
    read = read_met(tmp_path / "bare.pth").state_dict()
    assert all(torch.equal(read[name], value) for name, value in state.items() if name not in unused)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state.pop("proj_v0.weight"), "lacks proj_v0.weight"),
        (lambda state: state.update(extra=torch.ones(1)), "has extra besides"),
        (lambda state: state.update({"cls_head.0.weight": torch.ones(3, 128)}), r"cls_head.0.weight is \[3, 128\] instead of"),
        (lambda state: state.clear(), "lacks"),
    ],
)
def test_another_state_dict_is_refused(tmp_path: Path, change: Callable[[dict], object], told: str) -> None:
    state = random_state(3, 2)
    change(state)
    with pytest.raises(Refused, match=told):
        read_met(saved(tmp_path, state))


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("hello", encoding="utf-8")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, told in (("absent.pth", "cannot be read"), ("text.pth", "no PyTorch checkpoint"), ("list.pth", "holds no state dict")):
        with pytest.raises(Refused, match=told):
            read_met(tmp_path / name)


def chosen(folder: Path, encoders: Path) -> argparse.Namespace:
    checkpoint = saved(folder, random_state())
    return argparse.Namespace(checkpoint=checkpoint, encoders=encoders, out=folder / "bundle", name="s", version="1", license="none")


def test_encoders_of_another_width_or_length_are_refused(small_clip: Clip, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="48 numbers an image"):
        import_sentiformer(chosen(tmp_path, small_clip.encoders))


@pytest.fixture(scope="module")
def bundle(full_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLIP and the authors' network together."""
    folder = tmp_path_factory.mktemp("sentiformer")
    import_sentiformer(chosen(folder, full_clip.encoders))
    return folder / "bundle"


def test_the_bundle_says_what_it_is(bundle: Path) -> None:
    manifest = tomllib.loads((bundle / contract.MANIFEST).read_text())
    assert manifest["query"] == "caption"
    assert [label["name"] for label in manifest["labels"]] == [label.name for label in LABELS]
    assert manifest["files"] == {name: contract.sha256(bundle / name) for name in manifest["files"]}
    record = json.loads((bundle / "run.json").read_text())
    assert record["settings"]["arl_layers"] == 4
    assert record["metrics"]["greatest difference from the authors' network"]["probabilities"] < TOLERANCE


def test_the_worker_scores_with_it(bundle: Path, full_clip: Clip, golden_folder: Path, tmp_path: Path) -> None:
    """The whole way through the worker, held against `transformers` and the authors' network."""
    if not WORKER.exists():
        pytest.skip("SKIPPED FOR WANT OF A WORKER: build it with `make build`")
    image = golden_folder / "cat.jpg"
    prompt = "the scene or background of image is room, and the image contains the following objects: cat, "
    metadata = {"caption": "so proud 👍🏽 of her", "scene": "room", "objects": [{"label": "cat", "score": 0.9}]}
    posts = [{"id": "full", "metadata": metadata}, {"id": "no text", "metadata": {"scene": "room"}}]
    lines = [json.dumps({**post, "image": {"path": str(image)}}) for post in posts]
    (tmp_path / "posts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    settings = {"SENTISTREAM__MODEL__BUNDLE": str(bundle), "PATH": os.environ["PATH"]}
    told = subprocess.run(
        [WORKER, "score", tmp_path / "posts.jsonl"], cwd=MODELS.parent, env=settings, capture_output=True, check=False, text=True
    )
    assert told.returncode == 0, told.stderr
    full, without = map(json.loads, told.stdout.splitlines())
    expected = expected_answers(full_clip, bundle, image, metadata["caption"], prompt)
    assert list(full["sentiment"]["probabilities"].values()) == pytest.approx(expected.tolist(), abs=TOLERANCE)
    assert sum(full["relevance"].values()) == pytest.approx(1, abs=1e-5)
    assert "caption_missing" in without["flags"]


def expected_answers(clip: Clip, bundle: Path, image: Path, caption: str, prompt: str) -> numpy.ndarray:
    """What `transformers` and the reference make of one post."""
    from PIL import Image
    from transformers import CLIPTokenizer

    from sentistream_models.manifest import read_encoders
    from sentistream_models.preprocess import image_pixels

    side = read_encoders(bundle).image
    pixels = torch.from_numpy(image_pixels(Image.open(image), 224, 1.0).copy()).permute(2, 0, 1) / 255
    values = (pixels - torch.tensor(side.mean)[:, None, None]) / torch.tensor(side.std)[:, None, None]
    tokens = CLIPTokenizer.from_pretrained(clip.folder)([caption, prompt], padding=True, return_tensors="pt")
    network = Met(4, 6)
    network.load_state_dict(random_state())
    with torch.no_grad():
        seen = clip.model.get_image_features(values[None]).pooler_output
        texts = clip.model.get_text_features(**tokens).pooler_output
        answers: numpy.ndarray = network.eval()(seen, texts[1:], texts[:1])[0].numpy()
    return answers
