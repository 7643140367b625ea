"""The int8 text encoder: linear layers and word table in int8; LayerNorm, softmax, GELU and the attention's own products in fp32.

A few channels of MiniLM's activations are far larger than the rest and would take the whole range of a tensor's one scale. Before
export each linear layer is therefore smoothed: its input is divided, channel by channel, by a factor that its weight is multiplied
with (Xiao et al., "SmoothQuant", ICML 2023), which changes nothing in fp32.
"""

import copy
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from .quantise import Feed, quantise_rows, save_checked, static_qdq, unsaturated_scales, weight_override
from .text_encoder import TextEncoder, export_text_encoder

MIGRATION = 0.75  # how much of the difficulty moves from activation to weight


class SmoothedLinear(nn.Module):
    """A linear layer whose input channels are brought to a similar range first."""

    def __init__(self, linear: nn.Linear, largest_input: Tensor) -> None:
        super().__init__()
        weight = linear.weight.detach()
        largest_weight = weight.abs().amax(0).clamp(min=1e-5)
        factor = largest_input.clamp(min=1e-5) ** MIGRATION / largest_weight ** (1 - MIGRATION)
        factor = factor / factor.mean()
        self.inverse = nn.Buffer(1 / factor)
        self.weight = nn.Parameter((weight * factor).t().contiguous())
        self.bias = nn.Parameter(linear.bias.detach())

    def forward(self, data: Tensor) -> Tensor:
        return (data * self.inverse) @ self.weight + self.bias


@torch.no_grad()
def smooth(encoder: TextEncoder, feeds: Sequence[Feed]) -> None:
    """Replaces every linear layer of the encoder, by what its inputs are over the feeds."""
    linears = {name: module for name, module in encoder.named_modules() if isinstance(module, nn.Linear)}
    largest = {name: torch.zeros(linear.in_features) for name, linear in linears.items()}

    def watch(name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        largest[name] = torch.maximum(largest[name], inputs[0].abs().flatten(0, -2).amax(0))

    hooks = [linear.register_forward_pre_hook(partial(watch, name)) for name, linear in linears.items()]
    for feed in feeds:
        encoder(torch.from_numpy(feed["input_ids"]), torch.from_numpy(feed["attention_mask"]))
    for hook in hooks:
        hook.remove()
    for name, linear in linears.items():
        encoder.set_submodule(name, SmoothedLinear(linear, largest[name]))


def quantise_text_encoder(encoder: TextEncoder, target: Path, feeds: Sequence[Feed]) -> None:
    """Writes the int8 graph; the encoder given is left as it is."""
    encoder = copy.deepcopy(encoder).eval()
    smooth(encoder, feeds)
    with tempfile.TemporaryDirectory() as folder:
        folded, quantised = Path(folder) / "folded.onnx", Path(folder) / "quantised.onnx"
        export_text_encoder(encoder, folded)
        overrides = {
            name: weight_override(unsaturated_scales(weight.T), axis=1)
            for name, weight in constant_products(onnx.load(folded).graph).items()
        }
        options = {"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": ["MatMul"]}
        static_qdq(folded, quantised, feeds, ["MatMul"], overrides, options)
        model = onnx.load(quantised)
    quantise_word_table(model.graph)
    save_checked(model, target)


def constant_products(graph: onnx.GraphProto) -> dict[str, numpy.ndarray]:
    """The weights of the linear layers."""
    arrays = {tensor.name: tensor for tensor in graph.initializer}
    names = [node.input[1] for node in graph.node if node.op_type == "MatMul" and node.input[1] in arrays]
    return {name: numpy_helper.to_array(arrays[name]) for name in names}


def quantise_word_table(graph: onnx.GraphProto) -> None:
    """Each word's row becomes i8 with a scale of its own; only the rows looked up are turned back into fp32."""
    sizes = {tensor.name: int(numpy.prod(tensor.dims)) for tensor in graph.initializer}
    lookups = [node for node in graph.node if node.op_type == "Gather" and node.input[0] in sizes]
    lookup = max(lookups, key=lambda node: sizes[node.input[0]])
    table = next(tensor for tensor in graph.initializer if tensor.name == lookup.input[0])
    values, scales = quantise_rows(numpy_helper.to_array(table))
    graph.initializer.remove(table)
    graph.initializer.append(numpy_helper.from_array(values, "word_values"))
    graph.initializer.append(numpy_helper.from_array(scales, "word_scales"))
    index, ids, output = list(graph.node).index(lookup), lookup.input[1], lookup.output[0]
    graph.node.remove(lookup)
    nodes = [
        helper.make_node("Gather", ["word_values", ids], ["word_rows"]),
        helper.make_node("Gather", ["word_scales", ids], ["word_row_scales"]),
        helper.make_node("Cast", ["word_rows"], ["word_rows_f32"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["word_rows_f32", "word_row_scales"], [output]),
    ]
    for offset, node in enumerate(nodes):
        graph.node.insert(index + offset, node)
