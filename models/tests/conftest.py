"""Where the committed bundle and goldens lie. Tests that need what is not there are skipped, and say so."""

from pathlib import Path

import pytest

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
