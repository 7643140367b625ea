"""The network of the paper's authors (`MET`, published as MET4ISA/SentiFormer), with their parameters' names and shapes, so that a
state dict of theirs loads as it is. Its forward is the reference that `met_graphs.py` is held against.

Written from the paper and from what a public copy of the authors' code says of names, shapes and order; no checkpoint of theirs was at
hand. The text asks; `a` is the heuristic prompt, `v` the image. What is marked unused is in the state dict and in no result.
"""

from typing import cast

import torch
from torch import Tensor, nn

EMBEDDING_WIDTH = 512
WIDTH = 128
TOKENS = 8
HEADS = 8
ARL_HEAD_WIDTH = 16
HEAD_WIDTH = 64
EMOTIONS = 8


def split_heads(tokens: Tensor) -> Tensor:
    """[B, S, heads * w] -> [B, heads, S, w]."""
    return tokens.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Multi-head attention of projected tokens, its heads side by side again: [B, S, heads * w]."""
    query, key, value = split_heads(query), split_heads(key), split_heads(value)
    weights = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)
    return (weights @ value).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Projections of one attention; only the one that puts the heads together has a bias."""

    def __init__(self) -> None:
        super().__init__()
        inner = HEADS * HEAD_WIDTH
        self.to_q, self.to_k, self.to_v = (nn.Linear(WIDTH, inner, bias=False) for _ in range(3))
        self.to_out = nn.Sequential(nn.Linear(inner, WIDTH))

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        result: Tensor = self.to_out(attend(self.to_q(query), self.to_k(key), self.to_v(value)))
        return result


class NormedAttention(nn.Module):
    """Attention of target over source, each normed first, and the target added again."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_q, self.norm_k, self.norm_v = (nn.LayerNorm(WIDTH) for _ in range(3))
        self.fn = Attention()

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        result: Tensor = target + self.fn(self.norm_q(target), self.norm_k(source), self.norm_v(source))
        return result


class Perceptron(nn.Module):
    """The published `net`: its third and last places held dropout, which has no parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Identity(), nn.Linear(WIDTH, WIDTH))

    def forward(self, tokens: Tensor) -> Tensor:
        result: Tensor = self.net(tokens)
        return result


class NormedPerceptron(nn.Module):
    """Normed first, and the tokens added again."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(WIDTH), Perceptron()

    def forward(self, tokens: Tensor) -> Tensor:
        result: Tensor = tokens + self.fn(self.norm(tokens))
        return result


class Blocks(nn.Module):
    """`depth` pairs of attention and perceptron."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleList([NormedAttention(), NormedPerceptron()]) for _ in range(depth))

    def each(self, target: Tensor, source: Tensor | None = None) -> list[Tensor]:
        """The target before the first block and after each; it reads itself where there is no source."""
        found = [target]
        for attention, perceptron in cast(list[list[nn.Module]], self.layers):
            target = perceptron(attention(target, target if source is None else source))
            found.append(target)
        return found


class Transformer(nn.Module):
    """Self-attention over 8 tokens; `expands` where it makes them of one vector first."""

    def __init__(self, depth: int, expands: bool) -> None:
        super().__init__()
        self.add_channels = nn.Linear(1, TOKENS)  # unused unless it expands
        self.pos_embedding = nn.Parameter(torch.randn(1, TOKENS, WIDTH))
        if expands:
            self.extra_token = nn.Parameter(torch.zeros(1, TOKENS, WIDTH))  # unused
        self.expands, self.encoder = expands, Blocks(depth)

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """[B, 1, 128] or [B, 8, 128] -> the tokens before the first layer and after each, [B, 8, 128]."""
        if self.expands:
            tokens = self.add_channels(tokens.transpose(1, 2)).transpose(1, 2)
        return self.encoder.each(tokens + self.pos_embedding)


class HyperAttention(nn.Module):
    """Projections of one ARL layer: the text asks the prompt (`ta`) and the image (`tv`)."""

    def __init__(self) -> None:
        super().__init__()
        inner = HEADS * ARL_HEAD_WIDTH
        self.to_q, self.to_k_ta, self.to_k_tv, self.to_v_ta, self.to_v_tv = (nn.Linear(WIDTH, inner, bias=False) for _ in range(5))
        self.alt = nn.Sequential(nn.Linear(3 * WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))  # unused
        self.to_out = nn.Sequential(nn.Linear(inner, WIDTH))


class HyperLayer(nn.Module):
    """One update of the hyper-representation, which is normed first: H <- LN(H) + W_o(MHA(text, prompt) + MHA(text, image))."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(WIDTH) for _ in range(4))
        self.fn = HyperAttention()

    def forward(self, text: Tensor, prompt: Tensor, image: Tensor, hyper: Tensor) -> Tensor:
        read, query, prompt, image = self.fn, self.fn.to_q(self.norm1(text)), self.norm2(prompt), self.norm3(image)
        of_prompt = attend(query, read.to_k_ta(prompt), read.to_v_ta(prompt))
        of_image = attend(query, read.to_k_tv(image), read.to_v_tv(image))
        result: Tensor = self.norm4(hyper) + read.to_out(of_prompt + of_image)
        return result


class HyperLayers(nn.Module):
    """All of them."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleList([HyperLayer()]) for _ in range(depth))


class Fusion(nn.Module):
    """A CLS token before both; the target reads the source through all blocks."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.pos_embedding_s = nn.Parameter(torch.randn(1, 1 + TOKENS, WIDTH))
        self.pos_embedding_t = nn.Parameter(torch.randn(1, 1 + TOKENS, WIDTH))
        self.extra_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.CrossTransformerEncoder = Blocks(depth)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        first = self.extra_token.expand(len(source), -1, -1)
        source = torch.cat([first, source], dim=1) + self.pos_embedding_s
        target = torch.cat([first, target], dim=1) + self.pos_embedding_t
        return self.CrossTransformerEncoder.each(target, source)[-1]


class Met(nn.Module):
    """Three embeddings -> the probability of each emotion."""

    def __init__(self, arl_layers: int = 3, fusion_blocks: int = 6) -> None:
        super().__init__()
        self.h_hyper = nn.Parameter(torch.ones(1, TOKENS, WIDTH))
        self.proj_l0, self.proj_a0, self.proj_v0 = (nn.Linear(EMBEDDING_WIDTH, WIDTH) for _ in range(3))
        self.proj_l, self.proj_a, self.proj_v = (Transformer(1, expands=True) for _ in range(3))
        self.text_encoder = Transformer(arl_layers - 1, expands=False)
        self.h_hyper_layer = HyperLayers(arl_layers)
        self.fusion_layer = Fusion(fusion_blocks)
        self.cls_head = nn.Sequential(nn.Linear(WIDTH, EMOTIONS), nn.Softmax(dim=-1))

    def tokens(self, image: Tensor, prompt: Tensor, text: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """[B, 512] each -> the tokens of image and prompt, and the text's before and after each of its further layers."""
        image_tokens = self.proj_v(self.proj_v0(image).unsqueeze(1))[-1]
        prompt_tokens = self.proj_a(self.proj_a0(prompt).unsqueeze(1))[-1]
        text_tokens = self.proj_l(self.proj_l0(text).unsqueeze(1))[-1]
        return image_tokens, prompt_tokens, self.text_encoder(text_tokens)

    def forward(self, image: Tensor, prompt: Tensor, text: Tensor) -> Tensor:
        image_tokens, prompt_tokens, texts = self.tokens(image, prompt, text)
        hyper = self.h_hyper.expand(len(image), -1, -1)
        for (layer,), query in zip(cast(list[list[HyperLayer]], self.h_hyper_layer.layers), texts, strict=True):
            hyper = layer(query, prompt_tokens, image_tokens, hyper)
        result: Tensor = self.cls_head(self.fusion_layer(hyper, texts[-1])[:, 0])
        return result
