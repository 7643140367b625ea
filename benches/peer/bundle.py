"""What a bundle says (docs/bundle.md), as far as the peers need it."""

from dataclasses import dataclass
from pathlib import Path

from sentistream_models import contract, manifest
from tokenizers import Tokenizer


@dataclass(frozen=True)
class Bundle:
    """A bundle, its files checked against the manifest."""

    folder: Path
    digest: str
    encoders: manifest.Encoders
    labels: tuple[manifest.Label, ...]
    query: int | None
    """The field that everything else is read by; none where that is the image."""
    tagged: int | None
    """The field that the tagger stands in for."""
    tag_names: tuple[str, ...]
    tokenizer: Tokenizer

    @property
    def field_names(self) -> list[str]:
        """In the order of the graphs' inputs."""
        return [field.name for field in self.encoders.fields]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of what the image encoder sees."""
        return self.encoders.image.width, self.encoders.image.height


def read_bundle(folder: Path) -> Bundle:
    """The bundle in a folder."""
    encoders, heads = manifest.read_encoders(folder), manifest.read_heads(folder)
    if heads is None:
        raise SystemExit(f"{folder} holds encoders without heads; name a whole bundle")
    names = [field.name for field in encoders.fields]
    tagged = [index for index, field in enumerate(encoders.fields) if field.inferred_by and encoders.tagger]
    tags = (folder / encoders.tagger.tags_file).read_text(encoding="utf-8").splitlines() if encoders.tagger else []
    tokenizer = Tokenizer.from_file(str(folder / contract.TOKENIZER))
    tokenizer.no_padding()
    tokenizer.enable_truncation(encoders.max_tokens)
    return Bundle(
        folder=folder,
        digest=contract.sha256(folder / contract.MANIFEST),
        encoders=encoders,
        labels=heads.labels,
        query=names.index(heads.query) if heads.query != manifest.IMAGE_QUERY else None,
        tagged=tagged[0] if tagged else None,
        tag_names=tuple(tags),
        tokenizer=tokenizer,
    )
