"""The benchmark: balanced, reproducible, and tested on objects that training never saw."""

import pytest
import torch

from equissl.errors import UserError
from equissl.render.solids.generate import generate, object_numbers
from equissl.render.solids.scene import SPACE
from equissl.render.solids.shapes import CLASS_NAMES

KINDS = len(CLASS_NAMES)


@pytest.mark.parametrize("seed", [0, 1])
def test_splits_share_no_object_and_leave_none_out(seed: int) -> None:
    train, test = object_numbers(4 * KINDS * 5, seed, "train"), object_numbers(KINDS * 5, seed, "test")
    assert torch.equal(torch.cat([train, test]).sort().values, torch.arange(5 * KINDS * 5))


def test_split_depends_on_the_seed() -> None:
    assert not torch.equal(object_numbers(KINDS * 5, 0, "test"), object_numbers(KINDS * 5, 1, "test"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_asking_for_more_keeps_the_first(split) -> None:
    assert torch.equal(object_numbers(100, 0, split)[:37], object_numbers(37, 0, split))


@pytest.mark.parametrize("split", ["train", "test"])
def test_classes_are_balanced(split) -> None:
    made = generate(2 * KINDS, 3, 8, split=split)
    assert torch.equal(made.labels.bincount(minlength=KINDS), torch.full((KINDS,), 6))
    assert torch.equal(made.objects.unique(return_counts=True)[1], torch.full((2 * KINDS,), 3))


def test_generation_is_reproducible_and_prefix_stable() -> None:
    small, large = generate(3, 2, 8, seed=7), generate(5, 4, 8, seed=7)
    for row, (number, view) in enumerate(zip(small.objects.tolist(), small.views.tolist(), strict=True)):
        same = ((large.objects == number) & (large.views == view)).nonzero()[0, 0]
        assert torch.equal(small.images[row], large.images[same])
        for name in SPACE.names:
            assert torch.equal(small.params.values[name][row], large.params.values[name][same])
    assert not torch.equal(generate(3, 2, 8, seed=8).images, small.images)


def test_shapes_and_progress() -> None:
    calls: list[tuple[int, int]] = []
    made = generate(KINDS, 2, 12, progress=lambda what, done, total: calls.append((done, total)))
    assert made.images.shape == (2 * KINDS, 3, 12, 12) and made.images.dtype == torch.uint8
    assert len(made.params) == len(made.labels) == len(made.views) == 2 * KINDS
    assert made.params.space == SPACE
    assert calls[-1] == (2 * KINDS, 2 * KINDS) and len(calls) == KINDS


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"objects": 0}, "objects must be at least 1, got 0"),
        ({"views_per_object": 0}, "views_per_object must be 1"),
        ({"split": "tset"}, "did you mean 'test'"),
        ({"rotations": "euler"}, "no rotations called 'euler'"),
        ({"size": 3}, "at least 8 pixels"),
    ],
)
def test_mistakes_are_named(wrong, said: str) -> None:
    with pytest.raises(UserError, match=said):
        generate(**{"objects": 1, "views_per_object": 1, "size": 8, **wrong})
