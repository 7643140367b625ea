"""Arguments of the commands that bring a model from elsewhere. What does the work is imported once a command runs: torch takes seconds."""

import argparse
from pathlib import Path
from typing import Any

UNKNOWN_LICENSE = "unknown: the terms the weights came with"


def add_import_clip(commands: Any) -> None:
    """`import-clip DIR --out FOLDER`."""
    parser = commands.add_parser(
        "import-clip",
        help="make encoders of a Hugging Face CLIP folder",
        description="Makes encoders (fp32) of a CLIP folder: config.json, model.safetensors, preprocessor_config.json, and "
        "tokenizer.json or vocab.json and merges.txt. `train --encoders` or `import-sentiformer` completes them into a bundle.",
    )
    parser.add_argument("source", type=Path, metavar="DIR", help="the CLIP folder")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--name", help="name of the encoders (default: that of DIR)")
    parser.add_argument("--version", default="1", help="their version")
    parser.add_argument("--license", default=UNKNOWN_LICENSE, help="what the weights may be used for; the worker tells it at start")
    parser.add_argument(
        "--unnormalised",
        action="store_true",
        help="leave embeddings at the length CLIP projects them to, as the paper's authors did: what import-sentiformer needs",
    )
    parser.set_defaults(run=run_import_clip)


def run_import_clip(chosen: argparse.Namespace) -> None:
    """Imports, then runs."""
    from .import_clip import import_clip

    import_clip(chosen)


def add_import_sentiformer(commands: Any) -> None:
    """`import-sentiformer CKPT --encoders DIR --out BUNDLE`."""
    parser = commands.add_parser(
        "import-sentiformer",
        help="make a bundle of a checkpoint of the paper's authors and CLIP's encoders",
        description="Makes a bundle of a state dict of the authors' network (MET: eight emotions, a caption and a prompt of scene and "
        "objects, the text as the query) and the encoders of CLIP ViT-B/32, made with `import-clip --unnormalised`.",
    )
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="the authors' .pth")
    parser.add_argument("--encoders", type=Path, required=True, metavar="DIR", help="folder that import-clip made")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--name", default="sentiformer", help="name of the bundle")
    parser.add_argument("--version", default="1", help="its version")
    parser.add_argument("--license", default=UNKNOWN_LICENSE, help="what the checkpoint may be used for; the worker tells it at start")
    parser.set_defaults(run=run_import_sentiformer)


def run_import_sentiformer(chosen: argparse.Namespace) -> None:
    """Imports, then runs."""
    from .import_sentiformer import import_sentiformer

    import_sentiformer(chosen)
