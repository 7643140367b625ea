"""The int8 image encoder: convolutions and residual sums in int8, pixels taken in as they are, pooling in fp32.

Depthwise kernels widen to 16 bits before they multiply, so their weights keep all 8 bits; the others' cannot saturate (quantise.py).
Rounding weights shifts each channel's mean; the bias takes back the shift expected from the mean input seen in calibration
(Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, with measured means).
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy
import onnx
from onnx import helper, numpy_helper

from .contract import PIXEL_SCALE, PIXEL_ZERO
from .quantise import (
    LARGEST_STEP,
    Feed,
    fold_constants,
    save_checked,
    static_qdq,
    symmetric_scales,
    unsaturated_scales,
    weight_override,
)
from .runtime import open_session


def quantise_image_encoder(source: Path, target: Path, feeds: Sequence[Feed]) -> None:
    """fp32 graph to int8 graph."""
    with tempfile.TemporaryDirectory() as folder:
        folded, quantised = Path(folder) / "folded.onnx", Path(folder) / "quantised.onnx"
        fold_constants(source, folded)
        means = mean_inputs(folded, feeds)
        model = onnx.load(folded)
        scales = convolution_scales(model.graph)
        correct_biases(model.graph, scales, means)
        onnx.save(model, folded)
        overrides = {name: weight_override(values, axis=0) for name, values in scales.items()}
        static_qdq(folded, quantised, feeds, ["Conv", "Clip", "Add"], overrides, {})
        model = onnx.load(quantised)
    pixels_as_quantised_input(model.graph)
    save_checked(model, target)


def convolutions(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """All convolutions, in order."""
    return [node for node in graph.node if node.op_type == "Conv"]


def is_depthwise(convolution: onnx.NodeProto) -> bool:
    """EfficientNet knows no groups other than one a channel."""
    return any(attribute.name == "group" and attribute.i > 1 for attribute in convolution.attribute)


def weights_by_name(graph: onnx.GraphProto) -> dict[str, numpy.ndarray]:
    """Every initialiser as an array."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def convolution_scales(graph: onnx.GraphProto) -> dict[str, numpy.ndarray]:
    """The scale of each output channel, for each convolution's weight."""
    arrays = weights_by_name(graph)
    scales = {}
    for node in convolutions(graph):
        channels = arrays[node.input[1]].reshape(arrays[node.input[1]].shape[0], -1)
        scales[node.input[1]] = symmetric_scales(channels) if is_depthwise(node) else unsaturated_scales(channels)
    return scales


def mean_inputs(path: Path, feeds: Sequence[Feed]) -> dict[str, numpy.ndarray]:
    """The mean of each input channel of each convolution over the calibration images."""
    model = onnx.load(path)
    names = list(dict.fromkeys(node.input[0] for node in convolutions(model.graph)))
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(model, Path(folder) / "watched.onnx")
        session = open_session(Path(folder) / "watched.onnx")
    means = {name: numpy.zeros(1) for name in names}
    for feed in feeds:
        for name, values in zip(names, session.run(names, feed), strict=True):
            means[name] = means[name] + values.mean(axis=(0, 2, 3)) / len(feeds)
    return means


def correct_biases(graph: onnx.GraphProto, scales: dict[str, numpy.ndarray], means: dict[str, numpy.ndarray]) -> None:
    """Takes from each bias what rounding the weights adds to the channel's mean."""
    arrays = weights_by_name(graph)
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in convolutions(graph):
        data, weight, bias = node.input
        scale = scales[weight].reshape(-1, 1, 1, 1)
        rounded = numpy.clip(numpy.rint(arrays[weight] / scale), -LARGEST_STEP, LARGEST_STEP) * scale
        error = (rounded - arrays[weight]).sum(axis=(2, 3))
        shift = error[:, 0] * means[data] if is_depthwise(node) else error @ means[data]
        tensors[bias].CopyFrom(numpy_helper.from_array((arrays[bias] - shift).astype(numpy.float32), bias))


def pixels_as_quantised_input(graph: onnx.GraphProto) -> None:
    """Replaces cast, normalisation and first quantisation by what they amount to: (value - 127) / 128 is a u8 with a scale."""
    producers = {output: node for node in graph.node for output in node.output}
    transpose = next(node for node in graph.node if node.op_type == "Transpose")
    quantize = next(node for node in graph.node if transpose.output[0] in node.input)
    dequantize = next(node for node in graph.node if quantize.output[0] in node.input)
    name = transpose.input[0]
    while name != "pixels":
        node = producers[name]
        name = node.input[0]
        graph.node.remove(node)
    transpose.input[0] = "pixels"
    dequantize.input[:] = [transpose.output[0], "pixel_scale", "pixel_zero"]
    graph.node.remove(quantize)
    graph.initializer.append(numpy_helper.from_array(numpy.array(1 / PIXEL_SCALE, numpy.float32), "pixel_scale"))
    graph.initializer.append(numpy_helper.from_array(numpy.array(PIXEL_ZERO, numpy.uint8), "pixel_zero"))
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
