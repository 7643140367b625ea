"""The bundle's graphs with ONNX Runtime: prepared posts to answers, effects included."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray
from onnxruntime import InferenceSession, SessionOptions
from sentistream_models import contract

from .bundle import Bundle
from .pixels import Pixels
from .posts import Prepared

Floats = NDArray[numpy.float32]
Runs = list[list[int]]
TextRuns = Callable[[Sequence[int]], Runs]


@dataclass(frozen=True)
class Layout:
    """How the work of a batch is cut, and how ONNX Runtime shall use the cores."""

    threads: int
    spinning: bool
    images_per_run: int
    text_runs: TextRuns
    distinct_texts: bool
    """Whether equal texts of a batch are encoded once."""


@dataclass(frozen=True)
class Answer:
    """What the model says of one post."""

    probabilities: Floats
    relevance: Floats
    effects: dict[int, float] | None
    inferred_tags: list[str]


def one_run(lengths: Sequence[int]) -> Runs:
    """All texts together, padded to the longest."""
    return [list(range(len(lengths)))] if lengths else []


class Model:
    """The sessions of a bundle. `score` may be called from several threads at once."""

    def __init__(self, bundle: Bundle, layout: Layout, effects: bool) -> None:
        self.bundle, self.layout, self.effects = bundle, layout, effects
        self.image_encoder = session(bundle, contract.IMAGE_ENCODER, layout)
        self.text_encoder = session(bundle, contract.TEXT_ENCODER, layout)
        self.tagger = session(bundle, contract.TAGGER, layout) if bundle.tagged is not None else None
        self.relevance = session(bundle, contract.RELEVANCE, layout)
        self.fusion = session(bundle, contract.FUSION, layout)
        self.empty = self.embedded([bundle.tokenizer.encode("").ids])[0] if bundle.query is not None else None

    def score(self, posts: Sequence[Prepared]) -> list[Answer]:
        """One answer for each post."""
        images = self.pictured(numpy.stack([post.pixels for post in posts]))
        present = numpy.array([[text is not None for text in post.texts] for post in posts], bool)
        embedded = self.read([text for post in posts for text in post.texts if text is not None])
        fields = numpy.zeros((*present.shape, self.width(self.relevance, "field_embedding")), numpy.float32)
        if present.any():
            fields[present] = embedded
        tags = self.infer(images, fields, present)
        return self.answers(images, fields, present, tags)

    def pictured(self, pixels: Pixels) -> Floats:
        """f32 [B, Dv]."""
        starts = range(0, len(pixels), self.layout.images_per_run)
        runs = [pixels[start : start + self.layout.images_per_run] for start in starts]
        return numpy.concatenate([self.image_encoder.run(None, {"pixels": run})[0] for run in runs])

    def read(self, texts: Sequence[list[int]]) -> Floats:
        """f32 [T, Dt] of token ids."""
        if not self.layout.distinct_texts:
            return self.embedded(texts)
        places: dict[tuple[int, ...], int] = {}
        found = [places.setdefault(tuple(text), len(places)) for text in texts]
        return self.embedded([list(text) for text in places])[found]

    def embedded(self, texts: Sequence[list[int]]) -> Floats:
        """f32 [T, Dt] of token ids, in the runs that the layout makes of their lengths."""
        embeddings: list[Any] = [None] * len(texts)
        for run in self.layout.text_runs([len(text) for text in texts]):
            longest = max(len(texts[index]) for index in run)
            ids = numpy.zeros((len(run), longest), numpy.int64)
            mask = numpy.zeros_like(ids)
            for row, index in enumerate(run):
                ids[row, : len(texts[index])] = texts[index]
                mask[row, : len(texts[index])] = 1
            rows = self.text_encoder.run(None, {"input_ids": ids, "attention_mask": mask})[0]
            for index, embedding in zip(run, rows, strict=True):
                embeddings[index] = embedding
        return numpy.array(embeddings, numpy.float32)

    def infer(self, images: Floats, fields: Floats, present: NDArray[numpy.bool_]) -> list[list[str]]:
        """Lets the tagger stand in where its field is missing; the tags it saw of each post."""
        told: list[list[str]] = [[] for _ in images]
        tagger, field = self.bundle.encoders.tagger, self.bundle.tagged
        if self.tagger is None or tagger is None or field is None or present[:, field].all():
            return told
        lacking = numpy.flatnonzero(~present[:, field])
        scores, embeddings = self.tagger.run(["tag_scores", "tag_embedding"], {"image_embedding": images[lacking]})
        for post, row, embedding in zip(lacking, scores, embeddings, strict=True):
            best = numpy.argsort(-row, kind="stable")[: tagger.max_tags]
            told[post] = [self.bundle.tag_names[tag] for tag in best if row[tag] >= numpy.float32(tagger.threshold)]
            if told[post]:
                fields[post, field], present[post, field] = embedding, True
        return told

    def answers(self, images: Floats, fields: Floats, present: NDArray[numpy.bool_], tags: list[list[str]]) -> list[Answer]:
        """Runs the heads once, over every post and over every post without each of its fields."""
        masks = present.copy()
        if self.bundle.query is not None:
            lacking = ~present[:, self.bundle.query]
            fields[lacking, self.bundle.query], masks[lacking, self.bundle.query] = self.empty, True
        without = list(zip(*numpy.nonzero(present), strict=True)) if self.effects else []
        rows = numpy.concatenate([numpy.arange(len(images)), numpy.array([post for post, _ in without], int)])
        row_fields, row_masks = fields[rows], masks[rows]
        for row, (_, field) in enumerate(without, len(images)):
            if field == self.bundle.query:
                row_fields[row, field] = self.empty
            else:
                row_fields[row, field], row_masks[row, field] = 0, False
        hyper, target, relevance = self.relevance.run(
            ["hyper", "target", "relevance"],
            {"image_embedding": images[rows], "field_embedding": row_fields, "field_present": row_masks},
        )
        probabilities = self.fusion.run(None, {"hyper": hyper, "target": target})[0]
        best = probabilities[: len(images)].argmax(1)
        effects: list[dict[int, float]] = [{} for _ in images]
        for row, (post, field) in enumerate(without, len(images)):
            effects[post][int(field)] = float(probabilities[post, best[post]] - probabilities[row, best[post]])
        return [
            Answer(probabilities[post], relevance[post], effects[post] if self.effects else None, tags[post])
            for post in range(len(images))
        ]

    @staticmethod
    def width(graph: InferenceSession, name: str) -> int:
        """The last axis of an input."""
        return int(next(item.shape[-1] for item in graph.get_inputs() if item.name == name))


def session(bundle: Bundle, graph: str, layout: Layout) -> InferenceSession:
    """One graph on the CPU."""
    options = SessionOptions()
    options.intra_op_num_threads = layout.threads
    options.log_severity_level = 3
    if not layout.spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return InferenceSession(str(bundle.folder / graph), options, providers=["CPUExecutionProvider"])
