"""The order of batches, resuming, ranks, and that the background thread neither hides nor hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from equissl.data.base import Dataset
from equissl.data.batch import Batch
from equissl.data.loader import batches, batches_per_epoch, prefetch_map
from equissl.errors import UserError
from equissl.params import Params, Space


class Numbers(Dataset):
    """Images of one pixel whose value is their number; ``failing`` cannot be had."""

    def __init__(self, count: int, failing: int = -1, groups: Tensor | None = None):
        self.count, self.failing = count, failing
        self.own_groups = torch.arange(count) if groups is None else groups
        self.asked: list[int] = []

    @property
    def spaces(self) -> Mapping[str, Space]:
        return {"image": Space()}

    @property
    def labels(self) -> Tensor:
        return torch.arange(self.count)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(map(str, range(self.count)))

    @property
    def groups(self) -> Tensor:
        return self.own_groups

    def batch(self, index: Tensor, epoch: int = 0) -> Batch:
        self.asked += index.tolist()
        if self.failing in index.tolist():
            raise OSError("the disk is gone")
        images = index.to(torch.uint8).view(-1, 1, 1, 1)
        params = Params.of(Space(), {}, count=len(index))
        return Batch({"image": images}, {"image": params}, index, index + 1000 * epoch)


def order(source: Iterable[Batch]) -> list[list[int]]:
    return [batch.index.tolist() for batch in source]


def flat(lists: Iterable[list[int]]) -> list[int]:
    return [number for one in lists for number in one]


@pytest.mark.parametrize("prefetch", [0, 1, 2, 50])
@pytest.mark.parametrize("start", [0, 1, 3, 6])
def test_starting_at_a_batch_is_skipping_those_before(start: int, prefetch: int) -> None:
    whole = order(batches(Numbers(20), 3, seed=4, epoch=2, prefetch=0))
    assert len(whole) == 6
    assert order(batches(Numbers(20), 3, seed=4, epoch=2, start=start, prefetch=prefetch)) == whole[start:]


def test_an_epoch_visits_every_sample_once_in_an_order_of_its_own() -> None:
    seen = [flat(order(batches(Numbers(24), 4, seed, 0))) for seed in (0, 1)]
    assert sorted(seen[0]) == sorted(seen[1]) == list(range(24))
    assert seen[0] != seen[1] and seen[0] != list(range(24))
    later = [i - 5000 for i in flat(order(batches(Numbers(24), 4, 0, 5)))]
    assert sorted(later) == list(range(24)) and later != seen[0]


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("count", [8, 9, 13])
def test_the_last_batch(count: int, drop_last: bool) -> None:
    found = order(batches(Numbers(count), 4, 0, 0, drop_last=drop_last))
    assert len(found) == batches_per_epoch(Numbers(count), 4, drop_last)
    assert sum(map(len, found)) == (count // 4 * 4 if drop_last else count)


@pytest.mark.parametrize("drop_last", [True, False])
def test_ranks_share_every_batch(drop_last: bool) -> None:
    alone = order(batches(Numbers(21), 6, 0, 0, drop_last=drop_last))
    parts = [
        order(batches(Numbers(21), 6, 0, 0, drop_last=drop_last, rank=r, world_size=3)) for r in range(3)
    ]
    assert [flat(pieces) for pieces in zip(*parts, strict=True)] == alone
    assert {len(piece) for part in parts for piece in part[:3]} == {2}


def test_a_batch_size_that_ranks_cannot_share() -> None:
    with pytest.raises(UserError, match="batch_size=6 is not divisible by the number of devices, 4"):
        batches(Numbers(20), 6, 0, 0, world_size=4)


@pytest.mark.parametrize("function", [batches_per_epoch, lambda d, b: batches(d, b, 0, 0)])
def test_a_dataset_smaller_than_a_batch(function: object) -> None:
    with pytest.raises(
        UserError, match=r"batch_size=256 exceeds the number of images, 100. Set batch_size=100 or less"
    ):
        function(Numbers(100), 256)  # type: ignore[operator]


def test_a_remedy_that_is_possible() -> None:
    """A recipe's batch has at least two images."""
    with pytest.raises(UserError, match=r"number of images, 1\. Add images: training needs 2"):
        batches_per_epoch(Numbers(1), 2)


@pytest.mark.parametrize("arguments", [{"start": 6}, {"start": -1}, {"rank": 1}])
def test_numbers_out_of_range(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"start .* of 5 batches"):
        batches(Numbers(20), 4, 0, 0, **arguments)


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_an_exception_comes_where_its_batch_would_have(prefetch: int) -> None:
    whole = order(batches(Numbers(20), 4, 0, 0))
    source = batches(Numbers(20, failing=whole[2][1]), 4, 0, 0, prefetch=prefetch)
    assert [next(source).index.tolist() for _ in range(2)] == whole[:2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(source)


def test_stopping_early_ends_the_thread_and_makes_no_more() -> None:
    before = threading.active_count()
    dataset = Numbers(4000)
    source = batches(dataset, 4, 0, 0, prefetch=2)
    next(source)
    source.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
    assert len(dataset.asked) <= 4 * 3


def test_batches_are_made_ahead() -> None:
    dataset = Numbers(40)
    source = batches(dataset, 4, 0, 0, prefetch=2)
    next(source)
    deadline = time.monotonic() + 10
    while len(dataset.asked) < 12 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(dataset.asked) == 12
    source.close()  # type: ignore[attr-defined]


def test_several_workers_keep_the_order() -> None:
    def slow_when_even(number: int) -> int:
        time.sleep(0.002 if number % 2 == 0 else 0)
        return number * number

    assert list(prefetch_map(slow_when_even, range(30), depth=8, workers=4)) == [n * n for n in range(30)]


def test_stopping_early_waits_only_for_what_is_being_made() -> None:
    made: list[int] = []
    begun, gate = threading.Event(), threading.Event()

    def make(number: int) -> int:
        made.append(number)
        if number:
            begun.set()
            gate.wait()
        return number

    source = prefetch_map(make, range(30), depth=10)
    next(source)
    assert begun.wait(60)
    threading.Timer(0.2, gate.set).start()
    source.close()  # type: ignore[attr-defined]
    assert made == [0, 1]


def test_no_batch_holds_two_images_of_an_object() -> None:
    """By chance they often do; every round has every object once, in an order of its own."""
    groups = torch.arange(50) % 10  # five images of ten objects
    dataset = Numbers(50, groups=groups)

    def repeats(source: Iterable[Batch]) -> int:
        return sum(len(b.labels) - len(groups[b.labels].unique()) for b in source)

    assert repeats(batches(dataset, 4, 0, 0)) > 0
    for epoch in range(3):
        assert not repeats(batches(dataset, 4, 0, epoch, distinct_groups=True))
    found = order(batches(dataset, 5, 0, 0, distinct_groups=True))
    assert sorted(flat(found)) == list(range(50)), "every image once"
    first, second = (groups[torch.tensor(flat(found[k : k + 2]))].tolist() for k in (0, 2))
    assert sorted(first) == sorted(second) == list(range(10)) and first != second


@pytest.mark.parametrize("drop_last", [True, False])
def test_objects_with_different_numbers_of_images(drop_last: bool) -> None:
    dataset = Numbers(9, groups=torch.tensor([7, 3, 3, 5, 7, 5, 7, 9, 7]))  # 4, 2, 2 and 1 image
    found = order(batches(dataset, 2, 0, 0, drop_last=drop_last, distinct_groups=True))
    assert [len(b) for b in found] == ([2, 2, 2] if drop_last else [2, 2, 2, 1, 1, 1])
    assert len(found) == batches_per_epoch(dataset, 2, drop_last, distinct_groups=True)
    whole = order(batches(dataset, 2, 0, 0, distinct_groups=True, prefetch=0))
    assert order(batches(dataset, 2, 0, 0, start=1, distinct_groups=True)) == whole[1:]
    halves = [order(batches(dataset, 2, 0, 0, distinct_groups=True, rank=r, world_size=2)) for r in (0, 1)]
    assert [[*a, *b] for a, b in zip(*halves, strict=True)] == whole


def test_objects_of_one_image_are_in_the_usual_order() -> None:
    usual, distinct = (order(batches(Numbers(20), 4, 1, 2, distinct_groups=d)) for d in (False, True))
    assert usual == distinct


def test_a_batch_of_more_images_than_objects() -> None:
    dataset = Numbers(50, groups=torch.arange(50) % 10)
    words = (
        r"batch_size=16 exceeds the number of objects \(distinct_objects .*\), 10. Set batch_size=10 or less"
    )
    with pytest.raises(UserError, match=words):
        batches(dataset, 16, 0, 0, distinct_groups=True)
