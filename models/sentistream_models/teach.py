"""Teaches the text encoder sentiment before it sees a post: on labelled tweets and on texts rated by many people.

Each text goes in as the worker would read it: the caption without links, mentions and hashtags, and its hashtags as a text of their
own. Three losses are summed: cross-entropy of a tweet's label, the squared error of a text's mean rating, and how badly the encoder's
embedding before the teaching is told from the one after it by a linear map. The last keeps what the texts are *about* in the embedding:
without it a caption could no longer be compared with the tags and the picture it came with.

The encoder is kept, and the linear map back, fitted anew by least squares once the teaching is over: the gates compare texts by it.
"""

import csv
import hashlib
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from . import contract
from .contract import CAPTION, LABELS, SEED, TAGS, TEXT_WIDTH
from .posts import field_texts
from .runtime import padded_texts
from .text_encoder import TextEncoder, truncating_tokenizer

LARGEST_RATING = 4.0
NO_LABEL = -100  # what cross-entropy ignores


@dataclass(frozen=True)
class Teaching:
    """Everything that teaching depends on besides the texts."""

    epochs: int = 1
    batch: int = 32
    learning_rate: float = 6e-5
    weight_decay: float = 0.01
    warm_up: float = 0.06
    rating_weight: float = 4.0
    memory_weight: float = 1.0
    held_out: int = 2000
    seed: int = SEED


@dataclass(frozen=True)
class Example:
    """A text with a label, a rating in [-1, 1], or neither's absence: a tweet has one, a rated text the other."""

    tokens: list[int]
    label: int = NO_LABEL
    rating: float = float("nan")


def read_texts(folder: Path, tokenizer_file: Path) -> list[Example]:
    """`semeval.csv` and `rated.csv` of the folder, in the form that the worker encodes; duplicates are left out."""
    tokenizer = truncating_tokenizer(tokenizer_file)

    def rows(name: str) -> Iterator[dict[str, str]]:
        with (folder / name).open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)

    examples: dict[str, Example] = {}
    for row in tqdm(list(rows("semeval.csv")), desc="tweets"):
        texts = field_texts({"caption": row["text"]})
        for field in (CAPTION, TAGS):
            if texts[field]:
                examples.setdefault(texts[field], Example(tokenizer.encode(texts[field]).ids, LABELS.index(row["label"])))
    for row in tqdm(list(rows("rated.csv")), desc="rated texts"):
        text = field_texts({"caption": row["text"]})[CAPTION]
        if text:
            examples.setdefault(text, Example(tokenizer.encode(text).ids, rating=float(row["valence"]) / LARGEST_RATING))
    return list(examples.values())


def batches(examples: list[Example], size: int, chooser: random.Random) -> list[list[Example]]:
    """A random order in which texts of about one length are together, so that little is padded."""
    shuffled = chooser.sample(examples, len(examples))
    pools = [sorted(shuffled[at : at + 64 * size], key=lambda example: len(example.tokens)) for at in range(0, len(shuffled), 64 * size)]
    found = [pool[at : at + size] for pool in pools for at in range(0, len(pool), size)]
    return chooser.sample(found, len(found))


def inputs_of(batch: list[Example]) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask [T, S]."""
    inputs = padded_texts([example.tokens for example in batch])
    return torch.from_numpy(inputs["input_ids"]), torch.from_numpy(inputs["attention_mask"])


class Pupil(nn.Module):
    """The encoder and what it is examined by."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = TextEncoder()
        self.label = nn.Linear(TEXT_WIDTH, len(LABELS))
        self.rating = nn.Linear(TEXT_WIDTH, 1)
        self.memory = nn.Linear(TEXT_WIDTH, TEXT_WIDTH, bias=False)
        nn.init.eye_(self.memory.weight)

    def forward(self, batch: list[Example]) -> Tensor:
        """Embeddings [T, Dt], not yet of unit variance."""
        embedding: Tensor = self.encoder(*inputs_of(batch))
        return embedding

    def loss(self, batch: list[Example], before: Tensor, teaching: Teaching) -> Tensor:
        """The three, summed."""
        embedding = self(batch)
        scaled = embedding * TEXT_WIDTH**0.5
        labels = torch.tensor([example.label for example in batch])
        ratings = torch.tensor([example.rating for example in batch])
        forgotten = 1 - functional.cosine_similarity(self.memory(embedding), before).mean()
        told = functional.cross_entropy(self.label(scaled), labels, ignore_index=NO_LABEL, reduction="sum") / len(batch)
        is_rated = ~ratings.isnan()
        rated = (self.rating(scaled).squeeze(1) - ratings)[is_rated].square().sum() / len(batch)
        return told + teaching.rating_weight * rated + teaching.memory_weight * forgotten


@torch.no_grad()
def examined(pupil: Pupil, held: list[Example]) -> dict[str, float]:
    """Accuracy and mean cosine of memory over held-out tweets; correlation with the ratings."""
    pupil.eval()
    embeddings = torch.cat([pupil(held[at : at + 64]) for at in range(0, len(held), 64)]) * TEXT_WIDTH**0.5
    labels = numpy.array([example.label for example in held])
    ratings = numpy.array([example.rating for example in held])
    answers, rated = pupil.label(embeddings).argmax(1).numpy(), pupil.rating(embeddings).squeeze(1).numpy()
    tweets, scored = labels != NO_LABEL, ~numpy.isnan(ratings)
    return {
        "tweets, accuracy": float((answers == labels)[tweets].mean()),
        "rated texts, correlation": float(numpy.corrcoef(rated[scored], ratings[scored])[0, 1]),
    }


def teach(examples: list[Example], teaching: Teaching) -> tuple[Pupil, dict[str, float]]:
    """The taught pupil, and how it does on texts held out from the teaching."""
    torch.manual_seed(teaching.seed)
    chooser = random.Random(teaching.seed)
    mixed = list(examples)
    chooser.shuffle(mixed)
    held, taught = sorted(mixed[: teaching.held_out], key=lambda example: len(example.tokens)), mixed[teaching.held_out :]
    pupil, before = Pupil(), TextEncoder().eval()
    plan = [batch for _ in range(teaching.epochs) for batch in batches(taught, teaching.batch, chooser)]
    optimiser = torch.optim.AdamW(pupil.parameters(), lr=teaching.learning_rate, weight_decay=teaching.weight_decay)
    warm = max(1, int(teaching.warm_up * len(plan)))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm, (len(plan) - step) / max(1, len(plan) - warm))
    )
    pupil.train()
    for batch in tqdm(plan, desc="teaching"):
        with torch.no_grad():
            memory = before(*inputs_of(batch))
        loss = pupil.loss(batch, memory, teaching)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(pupil.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return pupil, examined(pupil, held)


@torch.no_grad()
def memory_of(encoder: TextEncoder, examples: list[Example], count: int = 4000) -> Tensor:
    """[Dt, Dt]: what the embeddings (rows) were before the teaching, by least squares over the first of the texts."""
    before = TextEncoder().eval()
    some = examples[:count]
    batches_of = [some[at : at + 32] for at in range(0, len(some), 32)]
    pairs = [(encoder(*inputs_of(batch)), before(*inputs_of(batch))) for batch in tqdm(batches_of, desc="memory")]
    after, told = (torch.cat(side) for side in zip(*pairs, strict=True))
    return torch.linalg.lstsq(after.double(), told.double()).solution.float()


@dataclass(frozen=True)
class Taught:
    """A taught encoder, the way back from its embeddings, and how it did on texts held out."""

    encoder: TextEncoder
    memory: Tensor
    told: dict[str, float]


def taught_encoder(folder: Path, tokenizer_file: Path, cache: Path) -> Taught:
    """The encoder taught on the folder's texts; kept in the cache under the digest of settings and texts, since it takes its time."""
    teaching = Teaching()
    digests = "".join(contract.sha256(path) for path in (folder / "semeval.csv", folder / "rated.csv", tokenizer_file))
    kept = cache / f"taught-{hashlib.sha256(f'{teaching}{digests}'.encode()).hexdigest()[:16]}.pt"
    if not kept.exists():
        torch.set_num_threads(os.cpu_count() or 1)
        examples = read_texts(folder, tokenizer_file)
        pupil, told = teach(examples, teaching)
        memory = memory_of(pupil.encoder.eval(), examples)
        torch.set_num_threads(1)
        torch.save({"encoder": pupil.encoder.state_dict(), "memory": memory, "told": told}, kept)
    stored = torch.load(kept)
    encoder = TextEncoder().eval()
    encoder.load_state_dict(stored["encoder"])
    return Taught(encoder, stored["memory"], stored["told"])
