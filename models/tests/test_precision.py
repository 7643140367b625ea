"""`export`: what fp16 and int8 keep of fp32."""

import argparse
import json
import shutil
from pathlib import Path

import numpy
import onnx
import pytest
from conftest import Clip
from random_clip import TEXTS

from sentistream_models import contract
from sentistream_models.image_encoder import export_image_encoder
from sentistream_models.manifest import read_encoders
from sentistream_models.precision import export
from sentistream_models.refused import Refused
from sentistream_models.runtime import open_session, padded_texts
from sentistream_models.text_encoder import TextEncoder, export_text_encoder
from sentistream_models.verify import FORBIDDEN

GRAPHS = (contract.IMAGE_ENCODER, contract.TEXT_ENCODER)
LEAST_COSINE_FP16, LEAST_COSINE_INT8 = 0.9999, 0.98


def exported(source: Path, out: Path, precision: str, data: Path | None = None, fp32: Path | None = None) -> Path:
    export(argparse.Namespace(source=source, out=out, precision=precision, data=data, fp32=fp32))
    return out


def told_cosines(folder: Path) -> list[float]:
    metrics = json.loads((folder / "run.json").read_text())["metrics"]
    return [metrics[name]["least cosine"] for name in GRAPHS]


def test_clip_in_full_size_in_fp16(full_clip: Clip, tmp_path: Path) -> None:
    half = exported(full_clip.encoders, tmp_path / "half", "fp16")
    assert read_encoders(half).precision == "fp16"
    assert min(told_cosines(half)) > LEAST_COSINE_FP16
    for name in GRAPHS:
        graph = onnx.load(half / name).graph
        full, small = ((folder / name).stat().st_size for folder in (full_clip.encoders, half))
        assert small < 0.52 * full
        types = {item.name: item.type.tensor_type.elem_type for item in (*graph.input, *graph.output)}
        expected = {"pixels": onnx.TensorProto.UINT8, "input_ids": onnx.TensorProto.INT64, "attention_mask": onnx.TensorProto.INT64}
        assert all(kind == expected.get(port, onnx.TensorProto.FLOAT) for port, kind in types.items())


def test_the_default_encoders_in_fp16(bundle_folder: Path, tmp_path: Path) -> None:
    twins = tmp_path / "fp32"
    twins.mkdir()
    export_image_encoder(twins / contract.IMAGE_ENCODER)
    export_text_encoder(TextEncoder(), twins / contract.TEXT_ENCODER)
    half = exported(bundle_folder, tmp_path / "half", "fp16", fp32=twins)
    assert min(told_cosines(half)) > LEAST_COSINE_FP16
    assert (half / contract.RELEVANCE).read_bytes() == (bundle_folder / contract.RELEVANCE).read_bytes()


@pytest.fixture(scope="module")
def listed(golden_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Posts without labels."""
    folder = tmp_path_factory.mktemp("posts")
    photos = sorted(path for path in golden_folder.iterdir() if path.suffix in (".jpg", ".png", ".webp"))
    lines = [
        json.dumps({"image": {"path": str(photos[number % len(photos)])}, "metadata": {"caption": f"{text} {number}"}})
        for number, text in enumerate(TEXTS * 4)
    ]
    (folder / "posts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_clip_in_int8(small_clip: Clip, listed: Path, tmp_path: Path) -> None:
    small = exported(small_clip.encoders, tmp_path / "int8", "int8", data=listed)
    assert min(told_cosines(small)) > LEAST_COSINE_INT8
    for name in GRAPHS:
        graph = onnx.load(small / name).graph
        assert not {node.op_type for node in graph.node} & set(FORBIDDEN)
        assert sum(node.op_type == "DequantizeLinear" for node in graph.node) > 10
    session = open_session(small / contract.TEXT_ENCODER)
    texts = [[1, 2, 3, 49407], [5, 49407]]
    together = session.run(None, padded_texts(texts))[0]
    for ids, row in zip(texts, together, strict=True):
        assert numpy.abs(session.run(None, padded_texts([ids]))[0][0] - row).max() < 1e-5


@pytest.mark.parametrize("precision", ["fp16", "int8", "fp32"])
def test_an_int8_bundle_alone_cannot_be_exported(bundle_folder: Path, tmp_path: Path, precision: str) -> None:
    with pytest.raises(Refused, match="name the folder of the same encoders in fp32"):
        exported(bundle_folder, tmp_path / "out", precision)


def test_int8_needs_posts(small_clip: Clip, golden_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="--data"):
        exported(small_clip.encoders, tmp_path / "out", "int8")
    shutil.copy(golden_folder / "cat.jpg", tmp_path / "cat.jpg")
    (tmp_path / "posts.csv").write_text("image,caption\ncat.jpg,hello\n", encoding="utf-8")
    with pytest.raises(Refused, match="at least 20 of each"):
        exported(small_clip.encoders, tmp_path / "out", "int8", data=tmp_path)


def test_a_folder_is_not_written_over(small_clip: Clip) -> None:
    with pytest.raises(Refused, match="is the folder that is read"):
        exported(small_clip.encoders, small_clip.encoders, "fp16")
