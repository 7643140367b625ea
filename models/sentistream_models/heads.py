"""SentiFormer's heads: adaptive relevance learning (ARL) and cross-modal fusion, for an image and K fields of which any may miss.

What the published weight means. Every modality m (the image and each field present) gets a gate g_m; `relevance` is the softmax
of the gates over the modalities present. It is the share the model itself uses: in each ARL layer j the hyper-representation takes

    hyper += sum over m of relevance_m * LayerNorm(W_o MHA(H_query^j, H_m)),

and the fusion's target is relevance_query * LayerNorm(H_query^N). Contributions are normalised before they are weighted and nothing
normalises them again before the fusion reads them, so a weight of 0 silences a modality altogether. The query also steers how the other
modalities are read; that influence carries no weight.

The query is the image, as in the paper, or one of the fields, as in its authors' code: a setting of `Shape`.

An absent field's embedding is replaced by zeros before anything reads it, its gate is masked, and its weight is exactly 0.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .contract import FIELDS, IMAGE_WIDTH, LABELS, TEXT_WIDTH

ABSENT_GATE = -1e9
AGREEMENT_SCALE = 8.0  # cosines of a post's fields spread by about an eighth
IMAGE = 0  # its place among the modalities; field k stands at 1 + k


@dataclass(frozen=True)
class Shape:
    """What the heads are between: widths of the embeddings, numbers of fields and labels, and which modality asks."""

    image_width: int = IMAGE_WIDTH
    text_width: int = TEXT_WIDTH
    fields: int = len(FIELDS)
    labels: int = len(LABELS)
    query: int = IMAGE

    def __post_init__(self) -> None:
        if not 0 <= self.query <= self.fields:
            raise ValueError(f"the query is modality {self.query}; there are the image (0) and {self.fields} fields")


@dataclass(frozen=True)
class HeadSizes:
    """Sizes of the two heads; the defaults are the default bundle's. No ARL layers: every modality present counts the same, and
    the hyper-representation is their mean. No fusion blocks: the classifier reads the mean of hyper and target."""

    width: int = 128
    tokens: int = 8
    heads: int = 8
    inner: int = 128
    arl_layers: int = 2
    fusion_blocks: int = 2
    fusion_head_width: int = 32
    gate_width: int = 32
    dropout: float = 0.3
    input_dropout: float = 0.5


class Attention(nn.Module):
    """Multi-head attention of target over source, whose leading axes broadcast; no biases, so a source of zero brings zero."""

    def __init__(self, width: int, heads: int, head_width: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.head_width, self.scale = heads, head_width, head_width**-0.5
        self.query = nn.Linear(width, heads * head_width, bias=False)
        self.key = nn.Linear(width, heads * head_width, bias=False)
        self.value = nn.Linear(width, heads * head_width, bias=False)
        self.output = nn.Linear(heads * head_width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def split(self, projected: Tensor) -> Tensor:
        """[..., S, heads * w] -> [..., heads, S, w]."""
        return projected.unflatten(-1, (self.heads, self.head_width)).transpose(-2, -3)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        query, key, value = self.split(self.query(target)), self.split(self.key(source)), self.split(self.value(source))
        weights = (query @ key.transpose(-1, -2) * self.scale).softmax(-1)
        return self.dropout(self.output((weights @ value).transpose(-2, -3).flatten(-2)))


class FeedForward(nn.Module):
    """Pre-norm two-layer perceptron; the caller adds the residual."""

    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(sizes.width),
            nn.Linear(sizes.width, sizes.inner),
            nn.GELU(),
            nn.Dropout(sizes.dropout),
            nn.Linear(sizes.inner, sizes.width),
            nn.Dropout(sizes.dropout),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        result: Tensor = self.layers(tokens)
        return result


class TransformerLayer(nn.Module):
    """Pre-norm self-attention layer."""

    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(sizes.width)
        self.attention = Attention(sizes.width, sizes.heads, sizes.width // sizes.heads, sizes.dropout)
        self.feed_forward = FeedForward(sizes)

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.norm(tokens)
        tokens = tokens + self.attention(normed, normed)
        result: Tensor = tokens + self.feed_forward(tokens)
        return result


class Expansion(nn.Module):
    """A vector becomes 8 tokens: a learned 1 -> 8 channel expansion plus a positional embedding for each of `kinds` modalities."""

    def __init__(self, sizes: HeadSizes, kinds: int) -> None:
        super().__init__()
        self.channels = nn.Parameter(torch.randn(sizes.tokens, 1) * 0.5 + 1.0)
        self.positions = nn.Parameter(torch.randn(kinds, sizes.tokens, sizes.width) * 0.1)

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors.unsqueeze(2) * self.channels + self.positions


class Gate(nn.Module):
    """One gate a modality: what it says itself, how it fits the image, and how far it agrees with each other field present.

    Agreement is the cosine of two fields' embeddings: the true tags of a caption are nearer to it than another post's. It has weights
    of its own, so that it is not lost among hundreds of other inputs. It is measured between what the embeddings were before the text
    encoder was taught sentiment, which `memory` [Dt, Dt] tells from them (the identity where it was not): two texts of one mood are near
    after the teaching, whatever they are about.
    """

    def __init__(self, sizes: HeadSizes, shape: Shape) -> None:
        super().__init__()
        fields = shape.fields
        self.field_scorer = scorer(3 * sizes.width, sizes.gate_width)
        self.image_scorer = scorer(sizes.width, sizes.gate_width)
        self.field_bias = nn.Parameter(torch.zeros(fields))
        self.others = nn.Buffer(1 - torch.eye(fields))
        self.memory = nn.Buffer(torch.eye(shape.text_width))
        self.agreement_weight = nn.Parameter(torch.full((fields, fields), 0.5))
        self.company_weight = nn.Parameter(torch.zeros(fields, fields))

    def forward(self, image: Tensor, fields: Tensor, field_embedding: Tensor, present: Tensor) -> Tensor:
        """[B, 1, width], [B, K, width], [B, K, Dt], [B, K] -> [B, 1 + K]; absent fields' embeddings are zeros."""
        images = image.expand_as(fields)
        content = self.field_scorer(torch.cat([fields, images, fields * images], dim=-1)).squeeze(-1)
        remembered = field_embedding @ self.memory
        remembered = remembered / remembered.square().sum(-1, keepdim=True).clamp(min=1e-12).sqrt()
        cosines = remembered @ remembered.transpose(1, 2)
        company = present.to(cosines.dtype).unsqueeze(1) * self.company_weight
        agreement = (self.others * (AGREEMENT_SCALE * cosines * self.agreement_weight + company)).sum(-1)
        return torch.cat([self.image_scorer(image).squeeze(-1), content + agreement + self.field_bias], dim=1)


def scorer(inputs: int, width: int) -> nn.Sequential:
    """A small perceptron to one number."""
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, 1))


class RelevanceHead(nn.Module):
    """ARL: embeddings and presence -> hyper [B, 8, 128], target [B, 8, 128], relevance [B, 1 + K]."""

    def __init__(self, sizes: HeadSizes, shape: Shape, image_mean: Tensor, image_deviation: Tensor) -> None:
        super().__init__()
        self.query, self.text_scale = shape.query, shape.text_width**0.5
        self.image_mean, self.image_deviation = nn.Buffer(image_mean), nn.Buffer(image_deviation)
        self.image_projection = nn.Linear(shape.image_width, sizes.width)
        self.field_projection = nn.Linear(shape.text_width, sizes.width)
        self.input_dropout = nn.Dropout(sizes.input_dropout)
        self.expansion = Expansion(sizes, 1 + shape.fields)
        self.query_layers = nn.ModuleList(TransformerLayer(sizes) for _ in range(sizes.arl_layers))
        self.source_layer = TransformerLayer(sizes)
        self.query_norm, self.source_norm = nn.LayerNorm(sizes.width), nn.LayerNorm(sizes.width)
        self.updates = nn.ModuleList(
            Attention(sizes.width, sizes.heads, sizes.width // sizes.heads, sizes.dropout) for _ in range(sizes.arl_layers)
        )
        self.update_norms = nn.ModuleList(nn.LayerNorm(sizes.width) for _ in range(sizes.arl_layers))
        self.target_norm = nn.LayerNorm(sizes.width)
        self.hyper = nn.Parameter(torch.ones(1, sizes.tokens, sizes.width))
        self.gate = Gate(sizes, shape)

    def project(self, image_embedding: Tensor, field_embedding: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 1, width] and [B, K, width]; absent fields' embeddings are zeros."""
        standardised = (image_embedding - self.image_mean) / self.image_deviation
        image = self.image_projection(self.input_dropout(standardised)).unsqueeze(1)
        return image, self.field_projection(self.input_dropout(field_embedding * self.text_scale))

    def gates(self, image: Tensor, fields: Tensor, field_embedding: Tensor, present: Tensor) -> Tensor:
        """Raw gates, absent fields masked; equal ones where nothing is learnt of relevance."""
        gates = self.gate(image, fields, field_embedding, present)
        if not self.updates:
            gates = torch.zeros_like(gates)
        everyone = torch.cat([torch.ones_like(present[:, :1]), present], dim=1)
        return torch.where(everyone, gates, torch.full_like(gates, ABSENT_GATE))

    def forward(self, image_embedding: Tensor, field_embedding: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        field_embedding = torch.where(present.unsqueeze(-1), field_embedding, torch.zeros_like(field_embedding))
        image, fields = self.project(image_embedding, field_embedding)
        relevance = self.gates(image, fields, field_embedding, present).softmax(-1)
        hyper, target = self.learn(self.expansion(torch.cat([image, fields], dim=1)), relevance)
        return hyper, target, relevance

    def learn(self, tokens: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
        """The N layers of the hyper-representation, and the target, from the tokens [B, 1 + K, 8, 128] of the modalities."""
        before, query, after = tokens[:, : self.query], tokens[:, self.query], tokens[:, self.query + 1 :]
        others = self.source_norm(self.source_layer(torch.cat([before, after], dim=1)))
        weights = relevance[:, :, None, None]
        hyper = self.hyper
        for layer, update, norm in zip(self.query_layers, self.updates, self.update_norms, strict=True):
            query = layer(query)
            sources = self.sources(others, query)
            contributions = norm(update(sources, self.query_norm(query).unsqueeze(1)))
            hyper = hyper + (weights * contributions).sum(1)
        if not self.updates:
            hyper = hyper + (weights * self.sources(others, query)).sum(1)
        return hyper, relevance[:, self.query, None, None] * self.target_norm(query)

    def sources(self, others: Tensor, query: Tensor) -> Tensor:
        """[B, 1 + K, 8, 128]: what is attended to, the query among them."""
        return torch.cat([others[:, : self.query], self.query_norm(query).unsqueeze(1), others[:, self.query :]], dim=1)


class FusionHead(nn.Module):
    """Cross-modal fusion: hyper and target -> logits [B, L]. A CLS token reads both through M pre-norm cross-attention blocks.

    Only the CLS row reaches the classifier, and a row of a cross-attention block reads none but the source: so the other rows of
    the paper's target are not computed, and the image's tokens stand in the source beside the hyper-representation instead.
    """

    def __init__(self, sizes: HeadSizes, labels: int) -> None:
        super().__init__()
        self.cls_source = nn.Parameter(torch.randn(1, 1, sizes.width) * 0.1)
        self.cls_target = nn.Parameter(torch.randn(1, 1, sizes.width) * 0.1)
        self.positions = nn.Parameter(torch.randn(1, 1 + 2 * sizes.tokens, sizes.width) * 0.1)
        self.norms = nn.ModuleList(nn.LayerNorm(sizes.width) for _ in range(sizes.fusion_blocks))
        self.attentions = nn.ModuleList(
            Attention(sizes.width, sizes.heads, sizes.fusion_head_width, sizes.dropout) for _ in range(sizes.fusion_blocks)
        )
        self.feed_forwards = nn.ModuleList(FeedForward(sizes) for _ in range(sizes.fusion_blocks))
        self.final_norm = nn.LayerNorm(sizes.width)
        self.classifier = nn.Linear(sizes.width, labels)
        self.temperature = nn.Buffer(torch.ones(()))

    def forward(self, hyper: Tensor, target: Tensor) -> Tensor:
        batch = hyper.shape[0]
        source = torch.cat([self.cls_source.expand(batch, -1, -1), hyper, target], dim=1) + self.positions
        cls = self.cls_target.expand(batch, -1, -1)
        for norm, attention, feed_forward in zip(self.norms, self.attentions, self.feed_forwards, strict=True):
            cls = cls + attention(source, norm(cls))
            cls = cls + feed_forward(cls)
        if not self.attentions:
            cls = torch.cat([hyper, target], dim=1).mean(1, keepdim=True)
        logits: Tensor = self.classifier(self.final_norm(cls[:, 0]))
        return logits / self.temperature


class SentiFormer(nn.Module):
    """Both heads in a row, for training."""

    def __init__(self, sizes: HeadSizes, shape: Shape, image_mean: Tensor, image_deviation: Tensor) -> None:
        super().__init__()
        self.shape = shape
        self.relevance = RelevanceHead(sizes, shape, image_mean, image_deviation)
        self.fusion = FusionHead(sizes, shape.labels)

    def forward(self, image: Tensor, fields: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, L] and relevance [B, 1 + K]."""
        hyper, target, relevance = self.relevance(image, fields, present)
        return self.fusion(hyper, target), relevance


def probabilities(logits: Tensor) -> Tensor:
    """What `fusion.onnx` gives."""
    return functional.softmax(logits, dim=-1)
