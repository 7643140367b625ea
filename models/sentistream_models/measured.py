"""What is measured of a bundle, as plain values: filled by default.py, told by card.py."""

from dataclasses import dataclass

from .evaluate import Report
from .scores import Summary
from .teach import Teaching
from .train import Recipe


@dataclass(frozen=True)
class Measured:
    """All that the card tells."""

    posts: int
    groups: int
    parameters: int
    recipe: Recipe
    report: Report
    precisions: dict[str, Summary]
    taught: dict[str, float]
    teaching: Teaching
    quantisation: dict[str, tuple[float, float]]
    tag_fidelity: tuple[float, float]
    independence: dict[str, float]
    padding: dict[str, float]
    timings: dict[int, dict[str, float]]
    sizes: dict[str, int]
    versions: dict[str, str]
