"""The ImageNet head as `tagger`: tag scores, and an embedding that stands in for the text of the best tags.

`tag_embedding` is a score-weighted mean of sentence embeddings, not the encoding of one sentence: for each tag among the best
MAX_TAGS that scores at least TAG_THRESHOLD (for the best one alone where none does), the text encoder's embedding of "the image
contains the following objects: {tag}" is taken from a table made at export, weighted by the tag's score, summed and
L2-normalised. The heads are trained on exactly this embedding.

Names: the 1,000 ImageNet-1k class names as torchvision ships them (`torchvision.models._meta`, BSD-3-Clause); those that occur
twice are told apart.
"""

from pathlib import Path

import numpy
import torch
from torch import Tensor, nn
from torchvision.models._meta import _IMAGENET_CATEGORIES
from tqdm import tqdm

from . import contract
from .image_encoder import classifier
from .quantise import quantise_rows
from .runtime import TextSide

TOLD_APART = {
    134: "crane bird",
    263: "Pembroke corgi",
    264: "Cardigan corgi",
    517: "construction crane",
    638: "maillot",
    639: "maillot tank suit",
}


def tag_names() -> list[str]:
    """The C names, all different."""
    names = [TOLD_APART.get(index, name) for index, name in enumerate(_IMAGENET_CATEGORIES)]
    if len(set(names)) != contract.TAG_COUNT:
        raise ValueError("tag names are not unique")
    return names


def tag_sentence(name: str) -> str:
    """The context a post with this one object would have."""
    return contract.OBJECTS_PART.format(objects=name)


class Tagger(nn.Module):
    """f32 [B, Dv] -> f32 [B, C], f32 [B, Dt]. Both tables are i8 with a scale for each row."""

    def __init__(self, sentences: numpy.ndarray) -> None:
        super().__init__()
        weight, bias = classifier()
        values, scales = quantise_rows(weight.numpy())
        self.weight_values, self.weight_scales = nn.Buffer(torch.from_numpy(values)), nn.Buffer(torch.from_numpy(scales))
        self.bias = nn.Buffer(bias)
        values, scales = quantise_rows(sentences)
        self.sentence_values = nn.Buffer(torch.from_numpy(values))
        self.sentence_scales = nn.Buffer(torch.from_numpy(scales))

    def forward(self, image_embedding: Tensor) -> tuple[Tensor, Tensor]:
        logits = image_embedding @ self.weight_values.to(torch.float32).t() * self.weight_scales.squeeze(1) + self.bias
        scores = logits.softmax(-1)
        best, tags = scores.topk(contract.MAX_TAGS, dim=1)
        told = torch.cat([torch.ones_like(best[:, :1], dtype=torch.bool), best[:, 1:] >= contract.TAG_THRESHOLD], dim=1)
        weights = torch.where(told, best, torch.zeros_like(best)).unsqueeze(-1)
        sentences = self.sentence_values[tags].to(torch.float32) * self.sentence_scales[tags]
        mixed = (weights * sentences).sum(1)
        return scores, mixed / mixed.norm(dim=-1, keepdim=True)


def sentence_table(text: TextSide) -> numpy.ndarray:
    """f32 [C, Dt]: the embedding of each tag's sentence."""
    return numpy.stack([text.embed(tag_sentence(name)) for name in tqdm(tag_names(), desc="tag sentences")])


def export_tagger(text: TextSide, graph: Path, names: Path) -> None:
    """Writes the graph and the list of names."""
    torch.onnx.export(
        Tagger(sentence_table(text)).eval(),
        (torch.rand(2, contract.IMAGE_WIDTH),),
        str(graph),
        input_names=["image_embedding"],
        output_names=["tag_scores", "tag_embedding"],
        dynamic_axes={name: {0: "B"} for name in ("image_embedding", "tag_scores", "tag_embedding")},
        opset_version=contract.OPSET,
        do_constant_folding=False,
        dynamo=False,
    )
    names.write_text("\n".join(tag_names()) + "\n", encoding="utf-8")
