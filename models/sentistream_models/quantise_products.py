"""int8 for an encoder of which only the graph is at hand (CLIP's): its products with constant weights and its word table.

The same scheme as for the default text encoder (quantise_text.py): smoothing first, here in the graph, then static QDQ. Convolutions,
LayerNorm, softmax, activations and the attention's own products stay fp32.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy
import onnx
from onnx import helper, numpy_helper
from tqdm import tqdm

from .quantise import Feed, save_checked, static_qdq, unsaturated_scales, weight_override
from .quantise_text import MIGRATION, constant_products, quantise_word_table
from .runtime import open_session


def quantise_products(source: Path, target: Path, feeds: Sequence[Feed]) -> None:
    """fp32 graph to int8 graph."""
    with tempfile.TemporaryDirectory() as folder:
        smoothed, quantised = Path(folder) / "smoothed.onnx", Path(folder) / "quantised.onnx"
        model = onnx.load(source)
        smooth_graph(model.graph, largest_inputs(source, feeds))
        onnx.save(model, smoothed)
        overrides = {
            name: weight_override(unsaturated_scales(weight.T), axis=1) for name, weight in constant_products(model.graph).items()
        }
        options = {"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": ["MatMul"]}
        static_qdq(smoothed, quantised, feeds, ["MatMul"], overrides, options)
        model = onnx.load(quantised)
    if any(item.name == "input_ids" for item in model.graph.input):
        quantise_word_table(model.graph)
    save_checked(model, target)


def products(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """The products with constant weights, by the input they share."""
    constants = {tensor.name for tensor in graph.initializer}
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants:
            found.setdefault(node.input[0], []).append(node)
    return found


def largest_inputs(source: Path, feeds: Sequence[Feed]) -> dict[str, numpy.ndarray]:
    """The largest magnitude of each channel that goes into a product, over the feeds."""
    model = onnx.load(source)
    names = list(products(model.graph))
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(model, Path(folder) / "watched.onnx")
        session = open_session(Path(folder) / "watched.onnx")
    largest = {name: numpy.zeros(1, numpy.float32) for name in names}
    for feed in tqdm(feeds, desc="smoothing"):
        for name, values in zip(names, session.run(names, feed), strict=True):
            channels = numpy.abs(values).reshape(-1, values.shape[-1]).max(axis=0)
            largest[name] = numpy.maximum(largest[name], channels)
    return largest


def smooth_graph(graph: onnx.GraphProto, largest: dict[str, numpy.ndarray]) -> None:
    """Divides each product's input by a factor a channel and multiplies the weights with it; in fp32 nothing changes."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for number, (name, nodes) in enumerate(products(graph).items()):
        weights = [numpy_helper.to_array(tensors[node.input[1]]) for node in nodes]
        heaviest = numpy.maximum(numpy.abs(numpy.hstack(weights)).max(axis=1), 1e-5)
        factor = numpy.maximum(largest[name], 1e-5) ** MIGRATION / heaviest ** (1 - MIGRATION)
        factor = (factor / factor.mean()).astype(numpy.float32)
        inverse, divided = f"smoothing_{number}", f"{name}_smoothed"
        graph.initializer.append(numpy_helper.from_array(1 / factor, inverse))
        place = list(graph.node).index(nodes[0])
        graph.node.insert(place, helper.make_node("Mul", [name, inverse], [divided]))
        for node, weight in zip(nodes, weights, strict=True):
            tensors[node.input[1]].CopyFrom(numpy_helper.from_array(weight * factor[:, None], node.input[1]))
            node.input[0] = divided
