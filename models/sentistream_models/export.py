"""Writes the trained heads as `relevance.onnx` and `fusion.onnx` (fp32, K fixed, any B)."""

from pathlib import Path

import numpy
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from .contract import FUSION, OPSET, RELEVANCE
from .heads import SentiFormer
from .quantise import fold_constants


MEMORY = "gate.memory"


class FusionWithSoftmax(nn.Module):
    """hyper, target -> probabilities."""

    def __init__(self, model: SentiFormer) -> None:
        super().__init__()
        self.fusion = model.fusion

    def forward(self, hyper: Tensor, target: Tensor) -> Tensor:
        logits: Tensor = self.fusion(hyper, target)
        return logits.softmax(-1)


def export_heads(model: SentiFormer, bundle: Path) -> None:
    """Both graphs, into the bundle's folder."""
    model.eval()
    shape = model.shape
    present = torch.ones(2, shape.fields, dtype=torch.bool)
    present[1, 0] = False
    inputs = (torch.rand(2, shape.image_width), torch.rand(2, shape.fields, shape.text_width), present)
    names = ["image_embedding", "field_embedding", "field_present"]
    export_graph(model.relevance, inputs, names, ["hyper", "target", "relevance"], bundle / RELEVANCE)
    hyper, target, _ = model.relevance(*inputs)
    export_graph(FusionWithSoftmax(model), (hyper, target), ["hyper", "target"], ["probabilities"], bundle / FUSION)


def export_graph(module: nn.Module, inputs: tuple[Tensor, ...], names: list[str], outputs: list[str], path: Path) -> None:
    """One graph whose first axes are all B."""
    torch.onnx.export(
        module.eval(),
        inputs,
        str(path),
        input_names=names,
        output_names=outputs,
        dynamic_axes={name: {0: "B"} for name in (*names, *outputs)},
        opset_version=OPSET,
        dynamo=False,
    )
    fold_constants(path, path)


def memory_of(relevance: Path) -> numpy.ndarray | None:
    """f32 [Dt, Dt]: the way back from a taught text encoder (teach.py), as the bundle's gates hold it; None for gates without one."""
    constants = {tensor.name: tensor for tensor in onnx.load(relevance).graph.initializer}
    return numpy_helper.to_array(constants[MEMORY]) if MEMORY in constants else None
