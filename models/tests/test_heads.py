"""What the heads promise whatever they learnt: any shape, absent fields silent, weights that sum to one; the views and the teaching's batches."""

import random

import numpy
import pytest
import torch
from PIL import Image

from sentistream_models.contract import IMAGE_CROP, IMAGE_SIZE
from sentistream_models.heads import HeadSizes, SentiFormer, Shape
from sentistream_models.preprocess import image_pixels
from sentistream_models.teach import Example, batches
from sentistream_models.train import Recipe, Rows, train_heads
from sentistream_models.views import VIEWS, views

SHAPES = [
    (Shape(), HeadSizes()),
    (Shape(image_width=20, text_width=12, fields=2, labels=8, query=1), HeadSizes(fusion_blocks=6, fusion_head_width=64)),
    (Shape(image_width=20, text_width=12, fields=1, labels=2), HeadSizes(arl_layers=0)),
    (Shape(image_width=20, text_width=12, fields=4, labels=3, query=4), HeadSizes(fusion_blocks=0)),
]


@pytest.mark.parametrize(("shape", "sizes"), SHAPES)
def test_an_absent_field_has_no_weight_and_no_influence(shape: Shape, sizes: HeadSizes) -> None:
    torch.manual_seed(1)
    model = SentiFormer(sizes, shape, torch.zeros(shape.image_width), torch.ones(shape.image_width)).eval()
    image, fields = torch.randn(9, shape.image_width), torch.randn(9, shape.fields, shape.text_width)
    present = torch.rand(9, shape.fields) < 0.5
    logits, relevance = model(image, fields, present)
    spoiled, same = model(image, torch.where(present.unsqueeze(-1), fields, torch.tensor(torch.nan)), present)
    assert torch.equal(logits, spoiled) and torch.equal(relevance, same)
    assert (relevance[:, 1:][~present] == 0).all()
    assert torch.allclose(relevance.sum(1), torch.ones(9))
    assert logits.shape == (9, shape.labels)


def test_a_query_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="the query is modality 3"):
        Shape(fields=2, query=3)


def test_heads_learn_what_a_field_says_and_the_same_from_the_same_seed() -> None:
    generator = torch.Generator().manual_seed(4)
    shape = Shape(image_width=8, text_width=8, fields=2, labels=2)
    labels = torch.randint(2, (256,), generator=generator)
    fields = torch.nn.functional.normalize(torch.randn(256, 2, 8, generator=generator), dim=-1)
    fields[:, 0, 0] = labels * 2.0 - 1
    rows = Rows(torch.randn(256, 3, 8, generator=generator), fields, torch.ones(256, 2, dtype=torch.bool), labels)
    recipe = Recipe(shape=shape, epochs=30, learning_rate=2e-3)
    first, second = train_heads(rows, recipe), train_heads(rows, recipe)
    answers = [model(rows.image[:, 0], rows.fields, rows.present)[0] for model in (first, second)]
    assert torch.equal(*answers)
    assert (answers[0].argmax(1) == labels).float().mean() > 0.9


def test_the_first_view_is_the_picture_as_it_is_served() -> None:
    image = Image.fromarray(numpy.random.default_rng(2).integers(0, 256, (90, 120, 3), dtype=numpy.uint8))
    seen = list(views(image, random.Random(1)))
    assert len(seen) == VIEWS
    assert numpy.array_equal(seen[0], image_pixels(image, IMAGE_SIZE, IMAGE_CROP))
    assert numpy.array_equal(seen[1], seen[0][:, ::-1])
    assert all(view.shape == (IMAGE_SIZE, IMAGE_SIZE, 3) for view in seen)


def test_every_text_is_taught_once_an_epoch_among_others_of_its_length() -> None:
    examples = [Example([7] * (1 + index % 40)) for index in range(3000)]
    found = batches(examples, 32, random.Random(1))
    assert sorted(map(id, (example for batch in found for example in batch))) == sorted(map(id, examples))
    spans = [max(len(example.tokens) for example in batch) - min(len(example.tokens) for example in batch) for batch in found]
    assert numpy.mean(spans) < 3
