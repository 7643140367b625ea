"""The authors' network as `relevance.onnx` and `fusion.onnx`: fields that may miss, and a weight for each modality.

The weight. The fusion's CLS row is all that reaches the classifier, and it reads nothing but the hyper-representation, so the weight of
a modality is its share of that. Every ARL layer adds to it, and the sum falls apart without remainder:

    W_o MHA(text, m) = W_o mean(V_m)  +  W_o (MHA(text, m) - mean(V_m))       m: the image, the prompt
                       m's own part      the text's part: what asking changes against reading all tokens of m alike

Later layers scale and centre the parts as they do the sum (their LayerNorm, with the deviation of the sum). What then stands in the
last hyper-representation is the image's part, the prompt's, the text's, and a constant (the initial H, biases); the weight is a part's
Frobenius norm over the sum of the three.

An absent prompt adds nothing; an absent text asks nothing: all tokens are read alike. Either's part is then zero to the last bit, and
whatever stands in its row of the embeddings is chosen nowhere. The text's own last layer, the published fusion's target, cannot
reach the CLS row and is not computed: `target` is that row, a constant.
"""

from typing import cast

import torch
from torch import Tensor, nn

from .met import Blocks, HyperLayer, Met, attend

SMALLEST = 1e-12  # an image without any part keeps a weight when nothing else is there
CAPTION, PROMPT = 0, 1  # places among the fields


class MetRelevance(nn.Module):
    """f32 [B, 512], f32 [B, 2, 512], bool [B, 2] -> hyper [B, 8, 128], target [B, 1, 128], relevance [B, 3]."""

    def __init__(self, met: Met) -> None:
        super().__init__()
        self.met = met

    def forward(self, image: Tensor, fields: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        image_tokens, prompt_tokens, texts = self.met.tokens(image, fields[:, PROMPT], fields[:, CAPTION])
        hyper = self.met.h_hyper.expand(image.shape[0], -1, -1)
        parts = torch.zeros_like(hyper).unsqueeze(1).expand(-1, 3, -1, -1)
        for (layer,), query in zip(cast(list[list[HyperLayer]], self.met.h_hyper_layer.layers), texts, strict=True):
            added, bias = contributions(layer, query, image_tokens, prompt_tokens, present)
            normed, scaled = normed_with_parts(layer.norm4, hyper, parts)
            hyper, parts = normed + added.sum(1) + bias, scaled + added
        fusion = self.met.fusion_layer
        target = (fusion.extra_token + fusion.pos_embedding_t[:, :1]).expand(image.shape[0], -1, -1)
        sizes = parts.flatten(2).norm(dim=-1) + torch.tensor([SMALLEST, 0.0, 0.0])
        return hyper, target, sizes / sizes.sum(-1, keepdim=True)


def contributions(layer: HyperLayer, query: Tensor, image: Tensor, prompt: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """What one layer adds, by modality (image, text, prompt): [B, 3, 8, 128]; and the bias it adds besides."""
    read, asked = layer.fn, present[:, CAPTION, None, None]
    question = read.to_q(layer.norm1(query))
    put_together = cast(nn.Linear, read.to_out[0])

    def own_and_asked(key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        own = value.mean(1, keepdim=True).expand_as(value)
        attended = torch.where(asked, attend(question, key, value), own)
        return own @ put_together.weight.t(), (attended - own) @ put_together.weight.t()

    image, prompt = layer.norm3(image), layer.norm2(prompt)
    image_own, image_asked = own_and_asked(read.to_k_tv(image), read.to_v_tv(image))
    prompt_own, prompt_asked = own_and_asked(read.to_k_ta(prompt), read.to_v_ta(prompt))
    told, nothing = present[:, PROMPT, None, None], torch.zeros_like(prompt_own)
    prompt_own, prompt_asked = torch.where(told, prompt_own, nothing), torch.where(told, prompt_asked, nothing)
    return torch.stack([image_own, image_asked + prompt_asked, prompt_own], dim=1), put_together.bias


def normed_with_parts(norm: nn.LayerNorm, whole: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
    """LayerNorm of a sum, and what it makes of the sum's parts: the same centring and scale, the shift left out."""
    centred = whole - whole.mean(-1, keepdim=True)
    scale = norm.weight / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt()
    return centred * scale + norm.bias, (parts - parts.mean(-1, keepdim=True)) * scale.unsqueeze(1)


class MetFusion(nn.Module):
    """hyper [B, 8, 128], target [B, 1, 128] -> probabilities [B, 8]."""

    def __init__(self, met: Met) -> None:
        super().__init__()
        self.fusion, self.cls_head = met.fusion_layer, met.cls_head

    def forward(self, hyper: Tensor, target: Tensor) -> Tensor:
        first = self.fusion.extra_token.expand(hyper.shape[0], -1, -1)
        source = torch.cat([first, hyper], dim=1) + self.fusion.pos_embedding_s
        blocks: Blocks = self.fusion.CrossTransformerEncoder
        result: Tensor = self.cls_head(blocks.each(target, source)[-1][:, 0])
        return result
