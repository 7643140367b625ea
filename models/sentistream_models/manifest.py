"""Reads and writes what a folder says of itself: `bundle.toml` of a bundle (docs/bundle.md), `encoders.toml` of encoders alone.

`encoders.toml` is a `bundle.toml` without labels and query: the part that `train --encoders` and `import-sentiformer` complete. A
bundle may stand wherever encoders are asked for. Whatever was read is untampered: every file listed has the SHA-256 listed.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import contract
from .contract import Field
from .refused import Refused

ENCODERS_MANIFEST = "encoders.toml"
IMAGE_QUERY = "image"
MOST_GRAPH_BYTES = 2**31 - 2**20  # protobuf's limit, less what nodes and names take


@dataclass(frozen=True)
class ImageSide:
    """What the image encoder sees."""

    width: int
    height: int
    crop: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class TaggerSide:
    """What the tagger's scores mean."""

    threshold: float
    max_tags: int
    tags_file: str


@dataclass(frozen=True)
class Label:
    """One of the answers, and how good it is, in [-1, 1]."""

    name: str
    polarity: float


@dataclass(frozen=True)
class Reference:
    """What the results looked like where the bundle was made: shares of labels, of confidence by tenths, of missing fields."""

    posts: int
    labels: dict[str, float]
    confidence: tuple[float, ...]
    missing: dict[str, float]


@dataclass(frozen=True)
class Encoders:
    """All of a bundle that does not depend on its heads."""

    name: str
    version: str
    license: str
    precision: str
    image: ImageSide
    max_tokens: int
    fields: tuple[Field, ...]
    tagger: TaggerSide | None = None

    @property
    def files(self) -> list[str]:
        """The files they consist of."""
        tagger = [contract.TAGGER, self.tagger.tags_file] if self.tagger else []
        return [contract.IMAGE_ENCODER, contract.TEXT_ENCODER, contract.TOKENIZER, *tagger]


def default_encoders(name: str, license: str) -> Encoders:
    """Those that this package makes: EfficientNet-Lite0, MiniLM and the tagger."""
    mean, std = round(contract.PIXEL_ZERO / 255, 6), round(contract.PIXEL_SCALE / 255, 6)
    return Encoders(
        name=name,
        version=contract.VERSION,
        license=license,
        precision="int8",
        image=ImageSide(contract.IMAGE_SIZE, contract.IMAGE_SIZE, contract.IMAGE_CROP, (mean,) * 3, (std,) * 3),
        max_tokens=contract.MAX_TOKENS,
        fields=contract.FIELDS,
        tagger=TaggerSide(contract.TAG_THRESHOLD, contract.MAX_TAGS, contract.TAG_NAMES),
    )


@dataclass(frozen=True)
class Heads:
    """What the heads add: answers, the modality that asks (the image, or a field by name), and what answers to expect."""

    labels: tuple[Label, ...]
    query: str = IMAGE_QUERY
    files: tuple[str, ...] = field(default=(contract.RELEVANCE, contract.FUSION, contract.CARD, contract.RUN_RECORD))
    reference: Reference | None = None


def lines(section: Mapping[str, Any]) -> list[str]:
    """TOML keys: strings, numbers and arrays of them are written in TOML as in JSON."""
    return [f"{json.dumps(key) if '.' in key else key} = {json.dumps(value, ensure_ascii=False)}" for key, value in section.items()]


def encoders_lines(encoders: Encoders) -> list[str]:
    """The sections of both manifests."""
    text = ["", "[image]", *lines(vars(encoders.image)), "", "[text]", f"max_tokens = {encoders.max_tokens}"]
    for item in encoders.fields:
        text += ["", "[[fields]]", *lines({key: value for key, value in vars(item).items() if value is not None})]
    return text + (["", "[tagger]", *lines(vars(encoders.tagger))] if encoders.tagger else [])


def reference_lines(reference: Reference) -> list[str]:
    """Shares by name are tables on one line."""

    def table(shares: Mapping[str, float]) -> str:
        return "{ " + ", ".join(f"{json.dumps(name, ensure_ascii=False)} = {share}" for name, share in shares.items()) + " }"

    labels, missing = table(reference.labels), table(reference.missing)
    confidence = f"confidence = {json.dumps(reference.confidence)}"
    return ["", "[reference]", f"posts = {reference.posts}", f"labels = {labels}", confidence, f"missing = {missing}"]


def manifest_text(encoders: Encoders, heads: Heads | None, digests: Mapping[str, str]) -> str:
    """Either manifest; top-level keys come first, as TOML wants it."""
    keys = ("name", "version", "license", "precision")
    top: dict[str, Any] = {"format": contract.FORMAT, **{key: getattr(encoders, key) for key in keys}}
    if heads and heads.query != IMAGE_QUERY:
        top["query"] = heads.query
    text = lines(top)
    for label in heads.labels if heads else ():
        text += ["", "[[labels]]", *lines(vars(label))]
    reference = reference_lines(heads.reference) if heads and heads.reference else []
    return "\n".join([*text, *encoders_lines(encoders), *reference, "", "[files]", *lines(digests)]) + "\n"


def write_encoders(folder: Path, encoders: Encoders) -> None:
    """`encoders.toml`, beside the files it pins."""
    digests = {name: contract.sha256(folder / name) for name in sorted([*encoders.files, contract.RUN_RECORD])}
    (folder / ENCODERS_MANIFEST).write_text(manifest_text(encoders, None, digests), encoding="utf-8")


def write_bundle(folder: Path, encoders: Encoders, heads: Heads) -> str:
    """`bundle.toml`, beside the files it pins; returns the bundle's digest."""
    digests = {name: contract.sha256(folder / name) for name in sorted([*encoders.files, *heads.files])}
    path = folder / contract.MANIFEST
    path.write_text(manifest_text(encoders, heads, digests), encoding="utf-8")
    return contract.sha256(path)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The folder's manifest, its files checked against it."""
    path = next((folder / name for name in (contract.MANIFEST, ENCODERS_MANIFEST) if (folder / name).is_file()), None)
    if path is None:
        raise Refused(
            f"{folder} holds neither {contract.MANIFEST} nor {ENCODERS_MANIFEST}; name a bundle, or a folder that import-clip made"
        )
    try:
        manifest = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"{path} is not TOML: {error}") from error
    for name, listed in files_of(manifest, path).items():
        if not (folder / name).is_file() or contract.sha256(folder / name) != listed:
            raise Refused(f"{folder / name} is not the file that {path.name} lists; make or fetch the folder again")
    return manifest


def files_of(manifest: Mapping[str, Any], path: Path) -> dict[str, str]:
    """`[files]`: names without a folder, since what they name is copied beside the next manifest."""
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        raise Refused(f"{path} has no table [files] of names and SHA-256 digests")
    if outside := [name for name in files if Path(name).name != name]:
        raise Refused(f"{path} lists {outside[0]!r}; a file lies beside the manifest, and its name has no folder")
    return files


def read_encoders(folder: Path) -> Encoders:
    """The encoders of a bundle or of an encoders' folder; every file of theirs is listed in the manifest."""
    manifest = read_manifest(folder)
    encoders = described_encoders(folder, manifest)
    if unlisted := [name for name in encoders.files if name not in manifest["files"]]:
        raise Refused(f"the manifest in {folder} does not list {', '.join(unlisted)} under [files]")
    return encoders


def described_encoders(folder: Path, manifest: Mapping[str, Any]) -> Encoders:
    """As the manifest has them."""
    try:
        image, tagger = manifest["image"], manifest.get("tagger")
        sides = {"mean": tuple(image["mean"]), "std": tuple(image["std"])}
        return Encoders(
            **{key: manifest[key] for key in ("name", "version", "license", "precision")},
            image=ImageSide(**{**image, **sides}),
            max_tokens=manifest["text"]["max_tokens"],
            fields=tuple(Field(item["name"], tuple(item["parts"]), item.get("inferred_by")) for item in manifest["fields"]),
            tagger=TaggerSide(**tagger) if tagger else None,
        )
    except (KeyError, TypeError) as error:
        raise Refused(f"the manifest in {folder} is not as docs/bundle.md has it: {error}") from error


def read_heads(folder: Path) -> Heads | None:
    """What a bundle says of its heads; nothing where the folder has encoders alone."""
    manifest = read_manifest(folder)
    if "labels" not in manifest:
        return None
    try:
        labels = tuple(Label(item["name"], float(item["polarity"])) for item in manifest["labels"])
        told = manifest.get("reference")
        reference = Reference(**{**told, "confidence": tuple(told["confidence"])}) if told else None
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(f"the labels or the reference in the manifest of {folder} are not as docs/bundle.md has them: {error}") from error
    listed = [name for name in (contract.RELEVANCE, contract.FUSION, contract.CARD, contract.RUN_RECORD) if name in manifest["files"]]
    return Heads(labels, manifest.get("query", IMAGE_QUERY), tuple(listed), reference)


def new_folder(path: Path, wanted: Sequence[Path] = ()) -> Path:
    """An output folder: made, and refused where something is in it, or it is what is read."""
    if any(path.resolve() == source.resolve() for source in wanted):
        raise Refused(f"--out {path} is the folder that is read; name another")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise Refused(f"--out {path} is there already; name a new folder, or an empty one")
    path.mkdir(parents=True, exist_ok=True)
    return path
