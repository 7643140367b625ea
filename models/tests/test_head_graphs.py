"""The trained heads' graphs against their PyTorch modules, for either query."""

from pathlib import Path

import numpy
import pytest
import torch

from sentistream_models import contract
from sentistream_models.export import export_heads
from sentistream_models.heads import HeadSizes, SentiFormer, Shape
from sentistream_models.runtime import open_session, run_relevance

TOLERANCE = 1e-4
SHAPES = {
    "the default bundle": Shape(),
    "the image asks": Shape(image_width=40, text_width=24, fields=2, labels=8),
    "the second field asks": Shape(image_width=40, text_width=24, fields=4, labels=5, query=2),
    "one field, which asks": Shape(image_width=40, text_width=24, fields=1, labels=2, query=1),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_graphs_are_the_module_s(shape: Shape, tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = SentiFormer(HeadSizes(), shape, torch.rand(shape.image_width), 1 + torch.rand(shape.image_width)).eval()
    model.fusion.temperature.fill_(0.7)
    export_heads(model, tmp_path)
    rows = 2**shape.fields * 2
    image = torch.randn(rows, shape.image_width)
    fields = torch.nn.functional.normalize(torch.randn(rows, shape.fields, shape.text_width), dim=-1)
    present = (torch.arange(rows)[:, None] >> torch.arange(shape.fields)) % 2 == 1
    relevance, fusion = (open_session(tmp_path / name) for name in (contract.RELEVANCE, contract.FUSION))
    found = run_relevance(relevance, image.numpy(), fields.numpy(), present.numpy())
    answers = fusion.run(None, {"hyper": found[0], "target": found[1]})[0]
    with torch.no_grad():
        expected = model.relevance(image, fields, present)
        expected_answers = model.fusion(expected[0], expected[1]).softmax(-1)
    for left, right in zip((*found, answers), (*expected, expected_answers), strict=True):
        assert numpy.abs(left - right.numpy()).max() < TOLERANCE
    assert (found[2][:, 1:][~present.numpy()] == 0).all()
    spoiled = torch.where(present.unsqueeze(-1), fields, torch.full_like(fields, torch.nan))
    again = run_relevance(relevance, image.numpy(), spoiled.numpy(), present.numpy())
    assert all(numpy.array_equal(left, right) for left, right in zip(found, again, strict=True))
