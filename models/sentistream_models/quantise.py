"""What both int8 encoders share: static quantisation (QDQ), calibrated on real posts.

Activations are u8 with one scale a tensor, weights i8 with one scale a channel. Scales are constants of the graph, so no row of a
batch sees another. On CPUs without VNNI a product of u8 and i8 is summed in pairs in 16 bits, which saturates at full range. The
usual remedy halves the range of every weight; here a channel's scale is just large enough that its two largest weights of one sign
sum to at most 128 steps (255 * 128 < 2^15): no pair can saturate, in whatever order a kernel packs them, and most channels
keep more than 7 bits.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import onnx
import onnxruntime
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from .contract import OPSET

Feed = dict[str, numpy.ndarray]
LARGEST_STEP = 127
LARGEST_PAIR = 127.49  # two roundings up may add one: 128 at most


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Hands the feeds out one by one."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self.feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self.feeds, None)


def fold_constants(source: Path, target: Path) -> None:
    """ONNX Runtime's basic rewriting: constants, BatchNorm and Pad folded into their consumers; standard operators only."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    save_checked(onnx.load(target), target)


def save_checked(model: onnx.ModelProto, path: Path) -> None:
    """Saves the model with the standard operator set alone, after the checker has passed it."""
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", OPSET))
    del model.graph.value_info[:]
    model.producer_name, model.producer_version = "sentistream_models", ""
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def symmetric_scales(channels: numpy.ndarray) -> numpy.ndarray:
    """f32 [channels]: the full range of i8."""
    return nonzero(numpy.abs(channels).max(axis=1) / LARGEST_STEP)


def unsaturated_scales(channels: numpy.ndarray) -> numpy.ndarray:
    """f32 [channels]: as fine as may be while no two weights of one sign sum to more than 128 steps."""
    pairs = [numpy.sort(numpy.maximum(sign * channels, 0), axis=1)[:, -2:].sum(axis=1) for sign in (1, -1)]
    return nonzero(numpy.maximum(numpy.maximum(*pairs) / LARGEST_PAIR, numpy.abs(channels).max(axis=1) / LARGEST_STEP))


def nonzero(scales: numpy.ndarray) -> numpy.ndarray:
    """A channel of zeros may have any scale but zero."""
    return numpy.where(scales > 1e-9, scales, 1.0).astype(numpy.float32)


def weight_override(scales: numpy.ndarray, axis: int) -> list[dict[str, Any]]:
    """What `quantize_static` wants to hear of a weight whose scales are chosen."""
    return [{"quant_type": QuantType.QInt8, "axis": axis, "scale": scale, "zero_point": numpy.int8(0)} for scale in scales]


def quantise_rows(table: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Symmetric i8 values and the f32 scale [rows, 1] of each row."""
    scales = symmetric_scales(table)[:, None]
    return numpy.rint(table / scales).astype(numpy.int8), scales


def static_qdq(
    source: Path,
    target: Path,
    feeds: Sequence[Feed],
    operators: list[str],
    weights: Mapping[str, list[dict[str, Any]]],
    options: Mapping[str, Any],
) -> None:
    """`quantize_static` as both encoders use it: ranges are the moving average of each post's least and greatest value."""
    quantize_static(
        str(source),
        str(target),
        Calibration(feeds),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=operators,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={"CalibMovingAverage": True, "TensorQuantOverrides": dict(weights), **options},
    )
