"""Runs a bundle's graphs with ONNX Runtime on the CPU: the reference that training, scores and goldens are made by."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
import onnxruntime
from onnxruntime import InferenceSession as Session
from tokenizers import Tokenizer

from . import contract
from .text_encoder import truncating_tokenizer


def open_session(path: Path, threads: int = 2) -> Session:
    """A CPU session."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return Session(str(path), options, providers=["CPUExecutionProvider"])


def padded_texts(token_ids: Sequence[Sequence[int]], length: int | None = None) -> dict[str, numpy.ndarray]:
    """Ids and mask [T, S], S the longest (or `length`); padding is id 0."""
    longest = length or max(map(len, token_ids))
    ids = numpy.zeros((len(token_ids), longest), numpy.int64)
    mask = numpy.zeros((len(token_ids), longest), numpy.int64)
    for row, tokens in enumerate(token_ids):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return {"input_ids": ids, "attention_mask": mask}


class TextSide:
    """Tokenizer and text encoder together; every text runs alone, unpadded."""

    def __init__(self, tokenizer: Path, graph: Path, max_tokens: int = contract.MAX_TOKENS) -> None:
        self.tokenizer: Tokenizer = truncating_tokenizer(tokenizer, max_tokens)
        self.session = open_session(graph)

    def tokens(self, text: str) -> list[int]:
        """Token ids, special tokens included, cut to the bundle's maximum."""
        return list(self.tokenizer.encode(text).ids)

    def embed(self, text: str) -> numpy.ndarray:
        """f32 [Dt]."""
        embedding: numpy.ndarray = self.session.run(None, padded_texts([self.tokens(text)]))[0][0]
        return embedding


@dataclass(frozen=True)
class Scored:
    """All that the graphs said of one post."""

    image_embedding: numpy.ndarray
    tag_scores: numpy.ndarray
    field_embedding: numpy.ndarray
    field_present: numpy.ndarray
    inferred: list[bool]
    relevance: numpy.ndarray
    probabilities: numpy.ndarray


class Bundle:
    """The five graphs of a bundle folder; scores one post at a time."""

    def __init__(self, folder: Path, threads: int = 2) -> None:
        self.text = TextSide(folder / contract.TOKENIZER, folder / contract.TEXT_ENCODER)
        self.image_encoder = open_session(folder / contract.IMAGE_ENCODER, threads)
        self.tagger = open_session(folder / contract.TAGGER, threads)
        self.relevance = open_session(folder / contract.RELEVANCE, threads)
        self.fusion = open_session(folder / contract.FUSION, threads)
        self.tag_names = (folder / contract.TAG_NAMES).read_text(encoding="utf-8").splitlines()

    def score(self, pixels: numpy.ndarray, texts: Sequence[str]) -> Scored:
        """u8 [H, W, 3] and the text of each field (empty: absent) to everything the graphs say."""
        image_embedding = self.image_encoder.run(None, {"pixels": pixels[None]})[0]
        tag_scores, tag_embedding = self.tagger.run(None, {"image_embedding": image_embedding})
        fields = numpy.zeros((1, len(contract.FIELDS), contract.TEXT_WIDTH), numpy.float32)
        present = numpy.zeros((1, len(contract.FIELDS)), bool)
        inferred = [not text and field.inferred_by is not None for text, field in zip(texts, contract.FIELDS, strict=True)]
        for index, text in enumerate(texts):
            present[0, index] = bool(text) or inferred[index]
            if present[0, index]:
                fields[0, index] = self.text.embed(text) if text else tag_embedding[0]
        hyper, target, relevance = run_relevance(self.relevance, image_embedding, fields, present)
        probabilities = self.fusion.run(None, {"hyper": hyper, "target": target})[0]
        return Scored(image_embedding[0], tag_scores[0], fields[0], present[0], inferred, relevance[0], probabilities[0])


def run_relevance(session: Session, image: numpy.ndarray, fields: numpy.ndarray, present: numpy.ndarray) -> list[numpy.ndarray]:
    """hyper, target and relevance."""
    outputs: list[numpy.ndarray] = session.run(
        ["hyper", "target", "relevance"], {"image_embedding": image, "field_embedding": fields, "field_present": present}
    )
    return outputs
