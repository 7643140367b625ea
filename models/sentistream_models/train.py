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

FEWEST_STEPS = 200
SMALLEST_BATCH = 8


@dataclass(frozen=True)
class Recipe:
    """Everything that training depends on besides the data."""

    sizes: HeadSizes = field(default_factory=HeadSizes)
    shape: Shape = field(default_factory=Shape)
    epochs: int = 5
    batch: int = 64
    learning_rate: float = 6e-4
    weight_decay: float = 0.05
    warm_up: float = 0.1
    drop_probability: float = 0.15
    swap_probability: float = 0.1
    swap_all_probability: float = 0.15
    own_fields: tuple[int, ...] | None = None  # those that a post brings itself; without them all
    ranking_weight: float = 0.5
    ranking_rivals: int = 4
    label_smoothing: float = 0.05
    class_weight_power: float = 0.4
    average_decay: float = 0.99
    seed: int = SEED


def adapted(recipe: Recipe, posts: int) -> Recipe:
    """Few posts are gone through more often, in smaller batches."""
    batch = max(SMALLEST_BATCH, min(recipe.batch, posts // 8))
    epochs = max(recipe.epochs, -(-FEWEST_STEPS // max(1, posts // batch)))
    return replace(recipe, batch=batch, epochs=epochs)


@dataclass(frozen=True)
class Rows:
    """Features as tensors: image [N, V, Dv] by view, of which the first is the picture as it is served."""

    image: Tensor
    fields: Tensor
    present: Tensor
    labels: Tensor
    memory: Tensor | None = None

    def take(self, index: Tensor) -> "Rows":
        parts = (self.image, self.fields, self.present, self.labels)
        return Rows(*(part[index] for part in parts), self.memory)

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
        None if features.memory is None else torch.from_numpy(features.memory),
    )


def standardisation(image: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each image feature; dead features are left at scale one."""
    deviation = image.std(0)
    return image.mean(0), torch.where(deviation > 1e-3, deviation, torch.ones_like(deviation))


def another_order(count: int, generator: torch.Generator) -> Tensor:
    """An order in which no post stands in its own place, where there are two or more."""
    shift = int(torch.randint(1, max(2, count), (1,), generator=generator))
    return torch.arange(count).roll(shift)


def swapped_rows(rows: Rows, generator: torch.Generator) -> Rows:
    """Every field taken from another post of the batch, the same one for all fields of a post."""
    order = another_order(len(rows.labels), generator)
    return replace(rows, fields=rows.fields[order], present=rows.present[order])


def corrupted(rows: Rows, other: Rows, recipe: Recipe, generator: torch.Generator) -> Rows:
    """Some fields swapped for another post's, all of some posts' own fields at once, and some dropped."""
    swap = torch.rand(rows.present.shape, generator=generator) < recipe.swap_probability
    own = torch.zeros(rows.present.shape[1], dtype=torch.bool)
    own[slice(None) if recipe.own_fields is None else list(recipe.own_fields)] = True
    swap |= own & (torch.rand(len(swap), 1, generator=generator) < recipe.swap_all_probability)
    drop = torch.rand(rows.present.shape, generator=generator) < recipe.drop_probability
    fields = torch.where(swap.unsqueeze(-1), other.fields, rows.fields)
    present = torch.where(swap, other.present, rows.present) & ~drop
    return replace(rows, fields=fields, present=present)


def ranking_loss(model: SentiFormer, rows: Rows, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """One field at a time lies, by several other posts' words: its gate should be lower than the true one's."""
    head = model.relevance
    embedding = torch.where(rows.present.unsqueeze(-1), rows.fields, torch.zeros_like(rows.fields))
    image, fields = head.project(rows.image[:, 0], embedding)
    true = head.gates(image, fields, embedding, rows.present)[:, 1:]
    losses = []
    for _ in range(recipe.ranking_rivals):
        order = another_order(len(rows.labels), generator)
        for index in range(fields.shape[1]):
            lying, lie = fields.clone(), embedding.clone()
            lying[:, index], lie[:, index] = fields[order, index], embedding[order, index]
            both = rows.present[:, index] & rows.present[order, index]
            false = head.gates(image, lying, lie, rows.present)[:, 1 + index]
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
    if rows.memory is not None:
        model.relevance.gate.memory.copy_(rows.memory)
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
