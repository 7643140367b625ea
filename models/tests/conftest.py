"""Where the committed bundle and goldens lie. Tests that need what is not there are skipped, and say so."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import pytest
from random_clip import SMALL, save_clip
from transformers import CLIPModel

from sentistream_models.import_clip import import_clip

MODELS = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def bundle_folder() -> Path:
    """The default bundle."""
    folder = MODELS / "default"
    if not (folder / "bundle.toml").exists():
        pytest.skip("SKIPPED FOR WANT OF A BUNDLE: models/default is not made yet")
    return folder


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    """The goldens."""
    folder = MODELS.parent / "tests" / "fixtures" / "goldens"
    if not (folder / "goldens.json").exists():
        pytest.skip("SKIPPED FOR WANT OF GOLDENS: tests/fixtures/goldens is not made yet")
    return folder


@dataclass(frozen=True)
class Clip:
    """A CLIP folder of random weights, the model itself, and the encoders that `import-clip` made of the folder."""

    folder: Path
    model: CLIPModel
    encoders: Path


def imported(folder: Path, out: Path, unnormalised: bool) -> Path:
    """What the command does."""
    chosen = {"source": folder, "out": out, "name": None, "version": "1", "license": "none", "unnormalised": unnormalised}
    import_clip(argparse.Namespace(**chosen))
    return out


@pytest.fixture(scope="session")
def full_clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """ViT-B/32 in its full size, its embeddings not normalised: what the authors' checkpoint wants."""
    folder = tmp_path_factory.mktemp("full")
    model = save_clip(folder / "clip")
    return Clip(folder / "clip", model, imported(folder / "clip", folder / "encoders", unnormalised=True))


@pytest.fixture(scope="session")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Other widths and patches, normalised."""
    folder = tmp_path_factory.mktemp("small")
    model = save_clip(folder / "clip", **SMALL)
    return Clip(folder / "clip", model, imported(folder / "clip", folder / "encoders", unnormalised=False))
