"""`run.json`: what a command was asked, what it measured, and by which versions; written beside its output."""

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .contract import RUN_RECORD

PACKAGES = ("numpy", "onnx", "onnxruntime", "pillow", "tokenizers", "torch", "transformers")


def write_run(folder: Path, command: str, settings: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """Settings hold the seed where the command draws anything. A path is told by its last part: where it lay says nothing elsewhere."""
    told = {key: value.name if isinstance(value, Path) else value for key, value in settings.items()}
    record = {
        "command": command,
        "settings": told,
        "metrics": dict(metrics),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }
    (folder / RUN_RECORD).write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
