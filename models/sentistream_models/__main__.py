"""Command line: `default` remakes the bundle, `evaluate` prints its cross-validated scores, `goldens` remakes the fixtures;
what else there is stands in commands.py."""

import argparse
import warnings
from pathlib import Path

from .commands import add_encoders, add_export, add_import_clip, add_import_sentiformer, add_reference, add_train
from .refused import Refused

MODELS = Path(__file__).resolve().parent.parent


def arguments() -> argparse.Namespace:
    """Paths default to where they lie in the repository."""
    parser = argparse.ArgumentParser(
        prog="sentistream_models", description="Makes, measures and imports SentiFormer bundles (docs/models.md)."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    default = commands.add_parser("default", help="remake the whole bundle")
    default.add_argument("--out", type=Path, default=MODELS / "default")
    default.add_argument("--texts", type=Path, required=True, help="folder of semeval.csv and rated.csv, to teach the text encoder with")
    evaluate = commands.add_parser("evaluate", help="print the cross-validated scores of the card")
    evaluate.add_argument("--bundle", type=Path, default=MODELS / "default")
    for command in (default, evaluate):
        command.add_argument("--data", type=Path, required=True, help="folder of MVSA-Single: posts.csv and images/")
        command.add_argument("--cache", type=Path, default=MODELS / "work", help="pixels, features, fp32 graphs")
    goldens = commands.add_parser("goldens", help="remake the fixtures other implementations are held against")
    goldens.add_argument("--bundle", type=Path, default=MODELS / "default")
    goldens.add_argument("--out", type=Path, default=MODELS.parent / "tests" / "fixtures" / "goldens")
    for add in (add_train, add_encoders, add_export, add_reference, add_import_clip, add_import_sentiformer):
        add(commands)
    return parser.parse_args()


def main() -> None:
    """Runs one command. Imports wait until it is known: torch takes seconds."""
    chosen = arguments()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message="Converting a tensor|torch.tensor results")  # tracing: both are meant to be constants
    if hasattr(chosen, "run"):
        try:
            chosen.run(chosen)
        except Refused as error:
            raise SystemExit(f"{chosen.command}: {error}") from None
    elif chosen.command == "default":
        from .default import make_default

        print(f"bundle digest {make_default(chosen.data, chosen.texts, chosen.out, chosen.cache)}")
    elif chosen.command == "evaluate":
        from .card import report_text
        from .default import evaluate_default

        print(report_text(evaluate_default(chosen.data, chosen.bundle, chosen.cache)))
    else:
        from .goldens import make_goldens

        make_goldens(chosen.bundle, chosen.out)


if __name__ == "__main__":
    main()
