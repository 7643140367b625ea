"""Checks and measurements on the graphs as shipped: what the contract promises, what quantisation costs, how long they take."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy
from onnxruntime import InferenceSession as Session
from tqdm import tqdm

from . import contract
from .features import Features
from .posts import Post, field_texts
from .runtime import Bundle, TextSide, open_session, padded_texts, run_relevance
from .tagger import tag_sentence

Array = numpy.ndarray
BATCHES = (2, 3, 4, 5, 7, 8, 12, 16, 24, 32)
FORBIDDEN = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")


def cosine(left: Array, right: Array) -> Array:
    """Row by row."""
    lengths = numpy.linalg.norm(left, axis=1) * numpy.linalg.norm(right, axis=1)
    result: Array = (left * right).sum(axis=1) / lengths
    return result


def grouped_by_length(token_ids: Sequence[list[int]]) -> list[list[list[int]]]:
    """Texts of one length together."""
    groups: dict[int, list[list[int]]] = {}
    for tokens in token_ids:
        groups.setdefault(len(tokens), []).append(tokens)
    return list(groups.values())


@dataclass(frozen=True)
class Sample:
    """Posts' inputs to the graphs."""

    pixels: Array
    token_ids: list[list[int]]


def sample_of(posts: list[Post], pixels: Array, text: TextSide, count: int) -> Sample:
    """Evenly drawn posts."""
    chosen = range(0, len(posts), len(posts) // count)
    texts = {words for index in chosen for words in field_texts(posts[index].metadata) if words}
    return Sample(pixels[list(chosen)], [text.tokens(words) for words in sorted(texts)])


def batched_difference(alone: Sequence[Array], run: Callable[[int, int], Sequence[Array]], count: int) -> list[float]:
    """Greatest |difference| of each output between rows alone and rows in batches of several sizes."""
    worst = [0.0] * len(alone)
    for size in BATCHES:
        for start in range(0, count - size + 1, size):
            for index, (expected, found) in enumerate(zip(alone, run(start, size), strict=True)):
                worst[index] = max(worst[index], float(numpy.abs(expected[start : start + size] - found).max()))
    return worst


def stacked(results: Sequence[Sequence[Array]]) -> list[Array]:
    """Outputs of many runs put together, output by output."""
    return [numpy.concatenate(parts) for parts in zip(*results, strict=True)]


def image_independence(bundle: Bundle, pixels: Array) -> dict[str, float]:
    """Image encoder and tagger."""

    def run(start: int, size: int) -> list[Array]:
        embedding = bundle.image_encoder.run(None, {"pixels": pixels[start : start + size]})[0]
        return [embedding, *bundle.tagger.run(None, {"image_embedding": embedding})]

    alone = stacked([run(row, 1) for row in range(len(pixels))])
    names = ("image_embedding", "tag_scores", "tag_embedding")
    return dict(zip(names, batched_difference(alone, run, len(pixels)), strict=True))


def text_independence(session: Session, token_ids: list[list[int]]) -> dict[str, float]:
    """Text encoder: batches of equal lengths, batches padded to their longest, and single texts padded to the maximum."""
    worst = {"text_embedding, equal lengths": 0.0, "text_embedding, padded batches": 0.0, "text_embedding, padded alone": 0.0}
    alone = {tuple(tokens): session.run(None, padded_texts([tokens]))[0][0] for tokens in token_ids}

    def difference(texts: list[list[int]], length: int | None = None) -> float:
        found = session.run(None, padded_texts(texts, length))[0]
        return float(numpy.abs(found - numpy.stack([alone[tuple(tokens)] for tokens in texts])).max())

    def note(name: str, value: float) -> None:
        worst[f"text_embedding, {name}"] = max(worst[f"text_embedding, {name}"], value)

    for size in tqdm(BATCHES, desc="texts in batches"):
        for group in grouped_by_length(token_ids):
            for start in range(0, len(group), size):
                note("equal lengths", difference(group[start : start + size]))
        for start in range(0, len(token_ids), size):
            note("padded batches", difference(token_ids[start : start + size]))
    for tokens in token_ids:
        note("padded alone", difference([tokens], contract.MAX_TOKENS))
    return worst


def head_independence(bundle: Bundle, features: Features) -> dict[str, float]:
    """Relevance and fusion, each post's fields present in every pattern."""
    count = min(256, len(features.labels))
    patterns = numpy.array([[bool(row & (1 << field)) for field in range(3)] for row in range(count)])
    present = features.present[:count] & patterns

    def run(start: int, size: int) -> list[Array]:
        part = slice(start, start + size)
        outputs = run_relevance(bundle.relevance, features.image[part, 0], features.fields[part], present[part])
        return [*outputs, bundle.fusion.run(None, {"hyper": outputs[0], "target": outputs[1]})[0]]

    alone = stacked([run(row, 1) for row in range(count)])
    names = ("hyper", "target", "relevance", "probabilities")
    return dict(zip(names, batched_difference(alone, run, count), strict=True))


def padding_effect(bundle: Bundle, posts: list[Post], pixels: Array) -> dict[str, float]:
    """What padding each text to the maximum does to a post's final outputs."""
    worst = {"probabilities": 0.0, "relevance": 0.0}
    for post, image in zip(posts, pixels, strict=True):
        texts = field_texts(post.metadata)
        plain = bundle.score(image, texts)
        fields = plain.field_embedding.copy()
        for index, words in enumerate(texts):
            if words:
                padded = padded_texts([bundle.text.tokens(words)], contract.MAX_TOKENS)
                fields[index] = bundle.text.session.run(None, padded)[0][0]
        outputs = run_relevance(bundle.relevance, plain.image_embedding[None], fields[None], plain.field_present[None])
        answers = bundle.fusion.run(None, {"hyper": outputs[0], "target": outputs[1]})[0][0]
        worst["probabilities"] = max(worst["probabilities"], float(numpy.abs(answers - plain.probabilities).max()))
        worst["relevance"] = max(worst["relevance"], float(numpy.abs(outputs[2][0] - plain.relevance).max()))
    return worst


def quantisation_cost(bundle: Path, twins: Path, sample: Sample) -> dict[str, tuple[float, float]]:
    """Mean and least cosine between int8 and fp32 embeddings."""
    cost = {}
    feeds = {
        contract.IMAGE_ENCODER: [{"pixels": row[None]} for row in sample.pixels],
        contract.TEXT_ENCODER: [padded_texts([tokens]) for tokens in sample.token_ids],
    }
    for name, inputs in feeds.items():
        pair = [open_session(folder / name) for folder in (bundle, twins)]
        found = [numpy.stack([session.run(None, feed)[0][0] for feed in inputs]) for session in pair]
        similarity = cosine(*found)
        cost[name] = (float(similarity.mean()), float(similarity.min()))
    return cost


def tag_sentence_fidelity(bundle: Bundle, features: Features, count: int = 300) -> tuple[float, float]:
    """Mean and least cosine between `tag_embedding` and the text encoder's embedding of the sentence it stands in for."""
    found, expected = [], []
    for row in features.image[:: len(features.image) // count, 0]:
        tag_scores, embedding = bundle.tagger.run(None, {"image_embedding": row[None]})
        best = numpy.argsort(-tag_scores[0], kind="stable")[: contract.MAX_TAGS]
        told = [tag for tag in best if tag_scores[0][tag] >= contract.TAG_THRESHOLD] or [best[0]]
        found.append(embedding[0])
        expected.append(bundle.text.embed(tag_sentence(", ".join(bundle.tag_names[tag] for tag in told))))
    similarity = cosine(numpy.stack(found), numpy.stack(expected))
    return float(similarity.mean()), float(similarity.min())


def milliseconds(run: Callable[[], object], repeats: int = 40) -> float:
    """Median time of a call."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return float(numpy.median(times) * 1000)


def timings(folder: Path, threads: int) -> dict[str, float]:
    """Milliseconds an item, alone and in batches of 32."""
    generator = numpy.random.default_rng(contract.SEED)
    size = (32, contract.IMAGE_SIZE, contract.IMAGE_SIZE, 3)
    pixels = generator.integers(0, 256, size, dtype=numpy.uint8)
    ids = generator.integers(1000, 20000, (32, 16))
    image = generator.random((32, contract.IMAGE_WIDTH), numpy.float32)
    fields = generator.random((32, len(contract.FIELDS), contract.TEXT_WIDTH), numpy.float32) / 20
    present = numpy.ones((32, len(contract.FIELDS)), bool)
    encoder, text = (open_session(folder / name, threads) for name in (contract.IMAGE_ENCODER, contract.TEXT_ENCODER))
    tagger, relevance, fusion = (
        open_session(folder / name, threads) for name in (contract.TAGGER, contract.RELEVANCE, contract.FUSION)
    )

    def heads(count: int) -> object:
        outputs = run_relevance(relevance, image[:count], fields[:count], present[:count])
        return fusion.run(None, {"hyper": outputs[0], "target": outputs[1]})

    found = {}
    for count in (1, 32):
        runs: dict[str, Callable[[], object]] = {
            "image": partial(encoder.run, None, {"pixels": pixels[:count]}),
            "text of 16 tokens": partial(text.run, None, padded_texts(ids[:count].tolist())),
            "tagger": partial(tagger.run, None, {"image_embedding": image[:count]}),
            "relevance and fusion": partial(heads, count),
        }
        for name, run in runs.items():
            found[f"{name}, batch {count}"] = milliseconds(run, 40 if count == 1 else 10) / count
    return found
