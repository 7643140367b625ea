"""`train --encoders`: heads fitted to a user's labelled posts, over the encoders of any bundle or of `import-clip`.

Five folds by duplicate group are scored by heads that saw none of their posts; the temperature is fitted to those answers, all
together. The heads that ship are then trained on every post by the same recipe.
"""

import argparse
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
import torch
from tqdm import tqdm

from . import contract
from .export import export_heads, memory_of
from .features import Features
from .heads import IMAGE, SentiFormer, Shape
from .labelled import FEWEST_POSTS, UNREADABLE, ListedPost, labels_of, read_labelled
from .manifest import IMAGE_QUERY, Encoders, Heads, Label, Reference, new_folder, read_encoders, write_bundle
from .posts import duplicate_keys, grouped, split_by_group
from .preprocess import field_text, image_pixels, metadata_values
from .reference import missing_for, reference_of
from .refused import Refused
from .run_record import write_run
from .runtime import TextSide, open_session, run_relevance
from .scores import best_temperature, calibration_error, fairly_tempered, reliability, summary, tempered
from .train import Recipe, adapted, predict, rows_of, train_heads

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Fitted:
    """What cross-validation found."""

    temperature: float
    metrics: dict[str, Any]
    answers: numpy.ndarray  # probabilities [N, L] by heads that had not seen the post


class Extractor:
    """The frozen part: a post to its embeddings, every picture and text alone."""

    def __init__(self, folder: Path, encoders: Encoders, query: str = IMAGE_QUERY) -> None:
        if encoders.image.width != encoders.image.height:
            raise Refused(f"{folder}: pictures of {encoders.image.width} x {encoders.image.height}; only squares can be trained on")
        self.encoders, self.query = encoders, query
        self.image_encoder = open_session(folder / contract.IMAGE_ENCODER)
        self.text = TextSide(folder / contract.TOKENIZER, folder / contract.TEXT_ENCODER, encoders.max_tokens)
        self.tagger = open_session(folder / contract.TAGGER) if encoders.tagger else None
        self.embedded: dict[str, numpy.ndarray] = {}

    @property
    def widths(self) -> tuple[int, int]:
        """Dv and Dt."""
        return int(self.image_encoder.get_outputs()[0].shape[1]), int(self.text.session.get_outputs()[0].shape[1])

    def embed(self, words: str) -> numpy.ndarray:
        """f32 [Dt]; feeds repeat themselves."""
        if words not in self.embedded:
            self.embedded[words] = self.text.embed(words)
        return self.embedded[words]

    def image(self, post: ListedPost) -> numpy.ndarray:
        """f32 [Dv]."""
        side = self.encoders.image
        with post.opened() as picture:
            pixels = image_pixels(picture, side.width, side.crop)
        embedding: numpy.ndarray = self.image_encoder.run(None, {"pixels": pixels[None]})[0][0]
        return embedding

    def fields(self, post: ListedPost, image: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """f32 [K, Dt] and bool [K]; where a post brings nothing, the tagger's word is taken, and the empty text for the query."""
        values = metadata_values(post.metadata)
        rows = numpy.zeros((len(self.encoders.fields), self.widths[1]), numpy.float32)
        present = numpy.zeros(len(rows), bool)
        for index, field in enumerate(self.encoders.fields):
            if words := field_text(field.parts, values):
                rows[index], present[index] = self.embed(words), True
            elif field.inferred_by and self.tagger and self.encoders.tagger:
                tag_scores, embedding = self.tagger.run(["tag_scores", "tag_embedding"], {"image_embedding": image[None]})
                if tag_scores.max() >= self.encoders.tagger.threshold:
                    rows[index], present[index] = embedding[0], True
            if field.name == self.query and not present[index]:
                rows[index], present[index] = self.embed(""), True
        return rows, present


def features_of(extractor: Extractor, posts: list[ListedPost], names: list[str]) -> tuple[Features, list[ListedPost]]:
    """Features of every post whose picture can be read, and those posts."""
    images, fields, present, readable = [], [], [], []
    for post in tqdm(posts, desc="posts"):
        try:
            image = extractor.image(post)
        except UNREADABLE:
            continue
        rows, there = extractor.fields(post, image)
        images.append(image[None])
        fields.append(rows)
        present.append(there)
        readable.append(post)
    if not readable:
        raise Refused("not one picture of the labelled posts can be read")
    labels = numpy.array([names.index(post.label) for post in readable])
    return Features(numpy.stack(images), numpy.stack(fields), numpy.stack(present), labels), readable


def check_lengths(features: Features) -> None:
    """The heads compare fields by cosine: their embeddings must have unit length."""
    lengths = numpy.linalg.norm(features.fields[features.present], axis=1)
    if len(lengths) and float(numpy.abs(lengths - 1).max()) > 1e-2:
        raise Refused(
            "the text encoder's embeddings are not of unit length; make the encoders with `import-clip`, without --unnormalised"
        )


def check_groups(labels: numpy.ndarray, groups: numpy.ndarray, names: tuple[Label, ...]) -> None:
    """Copies of a post stay in one fold, so it is different posts that each label needs."""
    counts = [len(set(groups[labels == index].tolist())) for index in range(len(names))]
    if few := [f"{label.name} ({count})" for label, count in zip(names, counts, strict=True) if count < FEWEST_POSTS]:
        raise Refused(f"each label needs {FEWEST_POSTS} posts that are no copies of each other; too few: {', '.join(few)}")


def recipe_for(posts: int, shape: Shape, seed: int) -> Recipe:
    """The default bundle's, for as many posts as there are."""
    return adapted(replace(Recipe(), shape=shape, seed=seed), posts)


def cross_validate(features: Features, groups: numpy.ndarray, shape: Shape, seed: int) -> Fitted:
    """Five folds, no duplicate on both sides of one."""
    labels = features.labels
    logits = numpy.zeros((len(labels), shape.labels), numpy.float32)
    relevance = numpy.zeros((len(labels), 1 + shape.fields), numpy.float32)
    split = split_by_group(labels, groups, seed)
    for number, (train, test) in enumerate(split.folds, 1):
        model = train_heads(rows_of(features, train), recipe_for(len(train), shape, seed), f"fold {number}")
        logits[test], relevance[test] = predict(model, rows_of(features, test))
    temperature = best_temperature(logits, labels)
    answers = fairly_tempered(logits, labels, [test for _, test in split.folds])
    found = summary([(labels[test], logits[test].argmax(axis=1)) for _, test in split.folds], split.tested)
    return Fitted(
        temperature,
        {
            "mean over folds": vars(found.mean),
            "standard deviation": vars(found.deviation),
            "95% interval": {"from": vars(found.low), "to": vars(found.high)},
            "always the commonest label": float(numpy.bincount(labels).max() / len(labels)),
            "temperature": temperature,
            "expected calibration error": calibration_error(reliability(answers, labels)),
            "relevance, mean": relevance.mean(axis=0).tolist(),
        },
        answers,
    )


def graphs_difference(model: SentiFormer, features: Features, bundle: Path) -> float:
    """Greatest difference of probabilities and relevance between the trained module and its graphs; refused above the tolerance."""
    rows = rows_of(features, numpy.arange(min(64, len(features.labels))))
    logits, expected = predict(model, rows)
    inputs = (rows.image[:, 0].numpy(), rows.fields.numpy(), rows.present.numpy())
    hyper, target, relevance = run_relevance(open_session(bundle / contract.RELEVANCE), *inputs)
    answers = open_session(bundle / contract.FUSION).run(None, {"hyper": hyper, "target": target})[0]
    worst = float(max(numpy.abs(answers - tempered(logits, 1.0)).max(), numpy.abs(relevance - expected).max()))
    if not worst <= TOLERANCE:
        raise Refused(f"the graphs differ from the trained heads by {worst:.1e}: a fault of the export")
    return worst


def card_text(encoders: Encoders, labels: tuple[Label, ...], posts: int, fitted: Fitted) -> str:
    """What was measured, on whose posts."""
    mean, deviation, interval = (fitted.metrics[name] for name in ("mean over folds", "standard deviation", "95% interval"))
    low, high = interval["from"], interval["to"]
    rows = "\n".join(
        f"| {name.replace('_', ' ')} | {mean[name]:.3f} ± {deviation[name]:.3f} | {low[name]:.3f}-{high[name]:.3f} |" for name in mean
    )
    return f"""# {encoders.name}, version {encoders.version}

{", ".join(label.name for label in labels)}: heads trained on {posts:,} labelled posts over frozen encoders
({encoders.precision}). Licence: {encoders.license}.

| five folds by duplicate group | mean ± sd | 95% interval |
|---|---|---|
{rows}

Always the commonest label: {fitted.metrics["always the commonest label"]:.3f}. Expected calibration error
{fitted.metrics["expected calibration error"]:.3f}, each fold at the temperature of the others ({fitted.temperature:.3f} ships). The heads that ship were trained on all
these posts by the recipe that was scored. `run.json` has the settings and versions.
"""


def query_place(encoders: Encoders, query: str) -> int:
    """The modality that asks, by its place."""
    names = [field.name for field in encoders.fields]
    if query != IMAGE_QUERY and query not in names:
        raise Refused(f"--query {query!r} is neither {IMAGE_QUERY!r} nor one of the fields {', '.join(names)}")
    return IMAGE if query == IMAGE_QUERY else 1 + names.index(query)


def fit(chosen: argparse.Namespace) -> None:
    """The whole command."""
    torch.set_num_threads(1)
    given, target = read_encoders(chosen.encoders), new_folder(chosen.out, [chosen.encoders])
    query = query_place(given, chosen.query)
    extractor = Extractor(chosen.encoders, given, chosen.query)
    posts, unlabelled = read_labelled(chosen.data)
    labels = labels_of(posts, chosen.labels)
    features, readable = features_of(extractor, posts, [label.name for label in labels])
    if (chosen.encoders / contract.RELEVANCE).exists():
        features = replace(features, memory=memory_of(chosen.encoders / contract.RELEVANCE))
    labels_of(readable, chosen.labels)
    check_lengths(features)
    shape = Shape(*extractor.widths, fields=len(given.fields), labels=len(labels), query=query)
    groups = grouped([list(duplicate_keys(post.image_bytes(), post.metadata.get("caption") or "")) for post in readable])
    check_groups(features.labels, groups, labels)
    fitted = cross_validate(features, groups, shape, chosen.seed)
    everything = rows_of(features, numpy.arange(len(readable)))
    model = train_heads(everything, recipe_for(len(readable), shape, chosen.seed), "final heads")
    model.fusion.temperature.fill_(fitted.temperature)
    license = f"heads: {chosen.license}; encoders: {given.license}"
    encoders = replace(given, name=chosen.name, version=chosen.version, license=license)
    for name in encoders.files:
        shutil.copyfile(chosen.encoders / name, target / name)
    export_heads(model, target)
    counts = {
        "posts": len(readable),
        "duplicate groups": len(set(groups.tolist())),
        "without a label": unlabelled,
        "with an unreadable picture": len(posts) - len(readable),
    }
    metrics = {**counts, **fitted.metrics, "greatest difference from the module": graphs_difference(model, features, target)}
    (target / contract.CARD).write_text(card_text(encoders, labels, len(readable), fitted), encoding="utf-8")
    settings = {key: getattr(chosen, key) for key in ("encoders", "data", "labels", "query", "seed")}
    write_run(target, "train", {**settings, "recipe": recipe_told(recipe_for(len(readable), shape, chosen.seed))}, metrics)
    reference = reference_for(features.present, readable, encoders, labels, fitted.answers, chosen.query)
    digest = write_bundle(target, encoders, Heads(labels, query=chosen.query, reference=reference))
    print(f"{(target / contract.CARD).read_text(encoding='utf-8')}\nbundle in {target}, digest {digest}")


def reference_for(
    present: numpy.ndarray,
    posts: list[ListedPost],
    encoders: Encoders,
    labels: tuple[Label, ...],
    answers: numpy.ndarray,
    query: str,
) -> Reference:
    """What to expect of posts like these."""
    texts = [[field_text(field.parts, metadata_values(post.metadata)) for field in encoders.fields] for post in posts]
    fields = [field.name for field in encoders.fields]
    missing = missing_for(present, texts, fields, query)
    return reference_of(answers, missing, [label.name for label in labels], fields)


def recipe_told(recipe: Recipe) -> dict[str, Any]:
    """As plain values."""
    return {**vars(recipe), "sizes": vars(recipe.sizes), "shape": vars(recipe.shape)}
