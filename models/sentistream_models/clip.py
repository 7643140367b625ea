"""CLIP as a bundle's encoders: pixels and tokens in, projected embeddings out, as `transformers` computes them.

The layers are `transformers`' own. What stands here is what a bundle wants otherwise: normalisation of the pixels inside the graph,
and a text's end found from its mask, so that padding needs no special token. A token sees none behind it and the embedding is read
off a text's last token, so no padded position can reach it: its weight is exactly zero.
"""

from typing import cast

import torch
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTextConfig

MASKED_SCORE = torch.finfo(torch.float16).min  # its exponential is zero in fp32 and in fp16, which has no -1e9


def text_config(model: CLIPModel) -> CLIPTextConfig:
    """The text tower's, which a loaded model always has."""
    return cast(CLIPTextConfig, model.config.text_config)


def unit(vectors: Tensor) -> Tensor:
    """L2-normalised rows."""
    return vectors / vectors.norm(dim=-1, keepdim=True)


class ClipImageEncoder(nn.Module):
    """u8 [B, H, W, 3] -> f32 [B, Dv]."""

    def __init__(self, model: CLIPModel, scale: float, mean: tuple[float, ...], std: tuple[float, ...], normalise: bool) -> None:
        super().__init__()
        self.vision, self.projection, self.normalise = model.vision_model, model.visual_projection, normalise
        self.factor = nn.Buffer(scale / torch.tensor(std))
        self.shift = nn.Buffer(torch.tensor(mean) / torch.tensor(std))

    def forward(self, pixels: Tensor) -> Tensor:
        normalised = (pixels.to(torch.float32) * self.factor - self.shift).permute(0, 3, 1, 2)
        hidden = self.vision.pre_layrnorm(self.vision.embeddings(normalised))
        for layer in self.vision.encoder.layers:
            hidden = layer(hidden, None)
        embedding: Tensor = self.projection(self.vision.post_layernorm(hidden[:, 0]))
        return unit(embedding) if self.normalise else embedding


class ClipTextEncoder(nn.Module):
    """i64 [T, S] ids and mask -> f32 [T, Dt]."""

    def __init__(self, model: CLIPModel, normalise: bool) -> None:
        super().__init__()
        self.text, self.projection, self.normalise = model.text_model, model.text_projection, normalise
        longest = text_config(model).max_position_embeddings
        self.causal = nn.Buffer(torch.full((1, 1, longest, longest), MASKED_SCORE).triu(1))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        length = input_ids.shape[1]
        hidden = self.text.embeddings(input_ids=input_ids)
        for layer in self.text.encoder.layers:
            hidden = layer(hidden, self.causal[:, :, :length, :length])
        last = (attention_mask.sum(1) - 1)[:, None, None].expand(-1, 1, hidden.shape[2])
        embedding: Tensor = self.projection(self.text.final_layer_norm(hidden.gather(1, last)[:, 0]))
        return unit(embedding) if self.normalise else embedding
