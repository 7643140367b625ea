"""fp16 for GPUs: weights and arithmetic in half precision; what goes in (u8, i64) and comes out (f32) stays as the contract has it.

The 256 levels of a pixel are exact in fp16, and what their normalisation loses is less than a tenth of a level.
"""

from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel


def halve(source: Path, target: Path) -> None:
    """fp32 graph to fp16 graph."""
    halved = OnnxModel(convert_float_to_float16(onnx.load(source), keep_io_types=True))
    halved.topological_sort()
    del halved.model.graph.value_info[:]
    halved.model.producer_name, halved.model.producer_version = "sentistream_models", ""
    onnx.checker.check_model(halved.model, full_check=True)
    onnx.save(halved.model, target)
