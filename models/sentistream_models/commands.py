"""Arguments of the commands that bring a model from elsewhere.

What does the work is imported once a command runs: torch takes seconds.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

UNKNOWN_LICENSE = "unknown: the terms the weights came with"


def add_import_clip(commands: "Commands") -> None:
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


def add_import_sentiformer(commands: "Commands") -> None:
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


def add_encoders(commands: "Commands") -> None:
    """`encoders --data DATA --out FOLDER`."""
    parser = commands.add_parser(
        "encoders",
        help="make the default bundle's encoders as they were pretrained (Apache-2.0)",
        description="Makes EfficientNet-Lite0 and all-MiniLM-L6-v2 as they were pretrained, in int8, without what the research-only "
        "tweets taught the default bundle's text encoder. `train --encoders` completes them into a bundle.",
    )
    parser.add_argument("--data", type=Path, required=True, help="posts to take int8's ranges from; no labels needed")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.set_defaults(run=run_encoders)


def run_encoders(chosen: argparse.Namespace) -> None:
    """Imports, then runs."""
    from .pretrained import make_pretrained

    make_pretrained(chosen)


def add_train(commands: "Commands") -> None:
    """`train --encoders DIR --data DATA --out BUNDLE`."""
    parser = commands.add_parser(
        "train",
        help="fit heads to labelled posts of your own",
        description="Fits heads to labelled posts, over the encoders of a bundle or of import-clip: five folds by duplicate group are "
        "scored, then all posts are trained on. A list of posts is one that `sentistream score` reads, with a `label`.",
    )
    parser.add_argument("--encoders", type=Path, required=True, metavar="DIR", help="a bundle, or a folder that import-clip made")
    parser.add_argument("--data", type=Path, required=True, help="posts.jsonl or posts.csv with a `label`, or the folder it is in")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--labels", metavar="NAME=POLARITY,…", help="how good each label is, from -1 to 1; the usual names are known")
    parser.add_argument("--query", default="image", help="the modality that asks: image (the default), or the name of a field")
    parser.add_argument("--name", default="own", help="name of the bundle")
    parser.add_argument("--version", default="1", help="its version")
    parser.add_argument("--license", default="unknown: the terms of the posts", help="what the heads may be used for")
    parser.add_argument("--seed", type=int, default=20251, help="of folds, initial weights and noise")
    parser.set_defaults(run=run_train)


def run_train(chosen: argparse.Namespace) -> None:
    """Imports, then runs."""
    from .fit import fit

    fit(chosen)


def add_reference(commands: "Commands") -> None:
    """`reference BUNDLE --results RESULTS`."""
    parser = commands.add_parser(
        "reference",
        help="write what a bundle's results look like into its manifest, for drift to be measured against",
        description="Counts labels, confidence and missing fields over results of `sentistream score` and writes them into the bundle's "
        "manifest as [reference]. Take posts like those to come, and posts that the heads were not trained on where there are any: "
        "heads are surer of posts that they have seen. The bundle's digest changes.",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle that gave the results; its manifest is written anew")
    parser.add_argument("--results", type=Path, required=True, help="JSON lines of `sentistream score`")
    parser.set_defaults(run=run_reference)


def run_reference(chosen: argparse.Namespace) -> None:
    """Imports, then runs."""
    from .reference import add_reference

    add_reference(chosen)


def add_export(commands: "Commands") -> None:
    """`export SOURCE --precision P --out FOLDER`."""
    parser = commands.add_parser(
        "export",
        help="write a bundle or encoders in another precision",
        description="Writes a bundle, or encoders alone, with encoders in fp32, fp16 (for GPUs) or int8 (for CPUs; static, its ranges "
        "taken from posts). The heads stay fp32: they are a hundredth of the work.",
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="a bundle, or a folder that import-clip made")
    parser.add_argument("--precision", choices=("fp32", "fp16", "int8"), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--fp32", type=Path, metavar="DIR", help="the same encoders in fp32, where SOURCE has them in another precision"
    )
    parser.add_argument("--data", type=Path, help="posts to take int8's ranges from, and to compare by; no labels needed")
    parser.set_defaults(run=run_export)


def run_export(chosen: argparse.Namespace) -> None:
    """Imports, then runs."""
    from .precision import export

    export(chosen)
