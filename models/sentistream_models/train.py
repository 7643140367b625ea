"""Trains the heads on frozen features, with metadata made to go missing and to lie.

Each step draws, for every post and field, whether the field is dropped and whether it is swapped for another post's; a post whose
fields were swapped keeps its label. Beside cross-entropy, a ranking loss asks that the same field get a higher gate with its own
embedding than with another post's. The weights that ship are an exponential moving average.
"""

from dataclasses import dataclass, field, replace
from typing import cast

import numpy
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from .contract import SEED
from .features import Features
from .heads import HeadSizes, SentiFormer, Shape


@dataclass(frozen=True)
class Recipe:
    """Everything that training depends on besides the data."""

    sizes: HeadSizes = field(default_factory=HeadSizes)
    shape: Shape = field(default_factory=Shape)
    epochs: int = 6
    batch: int = 64
    learning_rate: float = 6e-4
    weight_decay: float = 0.05
    warm_up: float = 0.1
    drop_probability: float = 0.15
    swap_probability: float = 0.1
    ranking_weight: float = 0.7
    ranking_rivals: int = 1
    label_smoothing: float = 0.05
    class_weight_power: float = 0.25
    average_decay: float = 0.99
    seed: int = SEED


@dataclass(frozen=True)
class Rows:
    """Features as tensors: image [N, V, Dv] by view, of which the first is the picture as it is served."""

    image: Tensor
    fields: Tensor
    present: Tensor
    labels: Tensor

    def take(self, index: Tensor) -> "Rows":
        return Rows(self.image[index], self.fields[index], self.present[index], self.labels[index])

    def seen(self, generator: torch.Generator) -> "Rows":
        """The same posts, each by one view drawn."""
        view = torch.randint(self.image.shape[1], (len(self.labels),), generator=generator)
        return replace(self, image=self.image[torch.arange(len(view)), view].unsqueeze(1))


def rows_of(features: Features, index: numpy.ndarray) -> Rows:
    """The posts at `index`."""
    return Rows(
        torch.from_numpy(features.image[index]),
        torch.from_numpy(features.fields[index]),
        torch.from_numpy(features.present[index]),
        torch.from_numpy(features.labels[index]),
    )


def standardisation(image: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each image feature; dead features are left at scale one."""
    deviation = image.std(0)
    return image.mean(0), torch.where(deviation > 1e-3, deviation, torch.ones_like(deviation))


def swapped_rows(rows: Rows, generator: torch.Generator) -> Rows:
    """Every field taken from another post of the batch, the same one for all fields of a post."""
    shift = int(torch.randint(1, max(2, len(rows.labels)), (1,), generator=generator))
    order = torch.arange(len(rows.labels)).roll(shift)
    return Rows(rows.image, rows.fields[order], rows.present[order], rows.labels)


def corrupted(rows: Rows, other: Rows, recipe: Recipe, generator: torch.Generator) -> Rows:
    """Some fields swapped for another post's, some dropped."""
    swap = torch.rand(rows.present.shape, generator=generator) < recipe.swap_probability
    drop = torch.rand(rows.present.shape, generator=generator) < recipe.drop_probability
    fields = torch.where(swap.unsqueeze(-1), other.fields, rows.fields)
    present = torch.where(swap, other.present, rows.present) & ~drop
    return Rows(rows.image, fields, present, rows.labels)


def field_gates(model: SentiFormer, rows: Rows) -> Tensor:
    """[B, K] raw gates of the fields."""
    embedding = torch.where(rows.present.unsqueeze(-1), rows.fields, torch.zeros_like(rows.fields))
    image, fields = model.relevance.project(rows.image[:, 0], embedding)
    return model.relevance.gates(image, fields, embedding, rows.present)[:, 1:]


def ranking_loss(model: SentiFormer, rows: Rows, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """One field at a time lies, by several other posts' words: its gate should be lower than the true one's."""
    losses = []
    true = field_gates(model, rows)
    for _ in range(recipe.ranking_rivals):
        other = swapped_rows(rows, generator)
        for index in range(rows.fields.shape[1]):
            lying = rows.fields.clone()
            lying[:, index] = other.fields[:, index]
            both = rows.present[:, index] & other.present[:, index]
            false = field_gates(model, replace(rows, fields=lying))[:, index]
            losses.append(functional.softplus(false - true[:, index])[both])
    together = torch.cat(losses)
    return together.mean() if len(together) else together.sum()  # a batch may bring no field at all


def class_weights(labels: Tensor, count: int, power: float) -> Tensor:
    """Rare labels weigh more, by their inverse frequency to a power; the mean over posts is one. A label never seen counts as seen once."""
    counts = torch.bincount(labels, minlength=count).clamp(min=1).float()
    weights = (counts.sum() / counts) ** power
    return weights / (weights * counts).sum() * counts.sum()


def rate_at(step: int, steps: int, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine to zero; a factor of the learning rate."""
    warm_up = max(1, int(recipe.warm_up * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return float(0.5 * (1 + numpy.cos(numpy.pi * (step - warm_up) / max(1, steps - warm_up))))


def optimiser_for(model: SentiFormer, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW; only matrices decay."""
    matrices = [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim == 2 and not name.endswith(("channels", "agreement_weight", "company_weight"))
    ]
    chosen = set(map(id, matrices))
    others = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def train_heads(rows: Rows, recipe: Recipe, title: str = "heads") -> SentiFormer:
    """The averaged model after the recipe's epochs, in evaluation mode."""
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    model = SentiFormer(recipe.sizes, recipe.shape, *standardisation(rows.image[:, 0]))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay))
    optimiser = optimiser_for(model, recipe)
    weights = class_weights(rows.labels, recipe.shape.labels, recipe.class_weight_power)
    count = len(rows.labels)
    steps = recipe.epochs * (count // recipe.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate_at(step, steps, recipe))
    with tqdm(total=steps, desc=title, leave=False) as progress:
        for _ in range(recipe.epochs):
            order = torch.randperm(count, generator=generator)
            for start in range(0, count - recipe.batch + 1, recipe.batch):
                batch = rows.take(order[start : start + recipe.batch]).seen(generator)
                loss = step_loss(model, batch, recipe, weights, generator)
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                average.update_parameters(model)
                progress.update()
    return cast(SentiFormer, average.module.eval())


def step_loss(model: SentiFormer, batch: Rows, recipe: Recipe, weights: Tensor, generator: torch.Generator) -> Tensor:
    """Cross-entropy on corrupted posts plus the ranking of true over swapped fields."""
    model.train()
    other = swapped_rows(batch, generator)
    noisy = corrupted(batch, other, recipe, generator)
    logits, _ = model(noisy.image[:, 0], noisy.fields, noisy.present)
    loss = functional.cross_entropy(logits, batch.labels, weights, label_smoothing=recipe.label_smoothing)
    if recipe.ranking_weight:
        loss = loss + recipe.ranking_weight * ranking_loss(model, batch, recipe, generator)
    return loss


@torch.no_grad()
def predict(model: SentiFormer, rows: Rows) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Logits [N, L] and relevance [N, 1 + K]."""
    logits, relevance = model.eval()(rows.image[:, 0], rows.fields, rows.present)
    return logits.numpy(), relevance.numpy()


def parameter_count(model: SentiFormer) -> int:
    """How many numbers were trained."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
