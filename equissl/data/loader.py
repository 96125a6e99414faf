"""Shuffled batches of an epoch, prefetched by threads; the order depends on seed and epoch alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from equissl.config.own_code import own_errors_in_words
from equissl.data.base import Dataset
from equissl.data.batch import Batch
from equissl.errors import UserError
from equissl.random import shuffled

T = TypeVar("T")
R = TypeVar("R")


def batches(
    dataset: Dataset,
    batch_size: int,
    seed: int,
    epoch: int,
    start: int = 0,
    drop_last: bool = True,
    rank: int = 0,
    world_size: int = 1,
    prefetch: int = 2,
    distinct_groups: bool = False,
) -> Iterator[Batch]:
    """The batches of one epoch, shuffled.

    Args:
        batch_size: samples per step, over all ranks.
        start: index of the first batch, for a run that resumes inside an epoch.
        drop_last: drop a last batch that is not full.
        rank, world_size: every rank gets its part of each batch, and all get equally many batches.
        prefetch: number of batches prepared ahead in the background; 0 prepares each when it is needed.
        distinct_groups: no batch holds two samples of one group; see ``rounds``.

    Raises:
        UserError: there is no full batch, or ``batch_size`` is not divisible by the number of ranks.
        ValueError: ``start`` or ``rank`` is out of range.
    """
    count = batches_per_epoch(dataset, batch_size, drop_last, distinct_groups)
    if batch_size % world_size:
        raise UserError(f"batch_size={batch_size} is not divisible by the number of devices, {world_size}")
    if not (0 <= start <= count and 0 <= rank < world_size):
        raise ValueError(f"start {start} of {count} batches, rank {rank} of {world_size}")
    order = shuffled(len(dataset), seed, epoch)
    parts = rounds(order, dataset.groups, seed, epoch) if distinct_groups else [order]
    every = [step for part in parts for step in torch.split(part, batch_size)]
    steps = [step for step in every if len(step) == batch_size or not drop_last][start:]

    def make(step: Tensor) -> Batch:
        with own_errors_in_words(dataset, "batch"):
            return dataset.batch(step.tensor_split(world_size)[rank], epoch)

    return prefetch_map(make, steps, prefetch)


def rounds(order: Tensor, groups: Tensor, seed: int, epoch: int) -> list[Tensor]:
    """A shuffled ``order`` of samples (N,) in rounds: each takes one more sample of every group that has one.

    In a round, every group is there at most once, and its place does not depend on other rounds. Which of a
    group's samples comes when is random, too. With groups of one sample there is one round, ``order`` itself.
    """
    draw = shuffled(len(order), seed, epoch, "rounds")
    by_group = draw[groups[draw].argsort(stable=True)]
    counts = torch.unique(groups, return_counts=True)[1]
    starts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    number = torch.empty_like(order)  # of each sample's round
    number[by_group] = torch.arange(len(order)) - starts
    return list(torch.split(order[number[order].argsort(stable=True)], _round_sizes(groups)))


def _round_sizes(groups: Tensor) -> list[int]:
    """How many groups have at least 1, 2, ... samples."""
    counts = torch.unique(groups, return_counts=True)[1]
    sizes: list[int] = torch.bincount(counts).flip(0).cumsum(0).flip(0)[1:].tolist()
    return sizes


def batches_per_epoch(
    dataset: Dataset, batch_size: int, drop_last: bool = True, distinct_groups: bool = False
) -> int:
    """Number of batches of an epoch.

    Raises:
        UserError: there is none: the dataset has fewer images, or with ``distinct_groups`` fewer groups, than
            a batch.
    """
    if batch_size < 1:
        raise UserError(f"batch_size must be at least 1, got {batch_size}")
    sizes = _round_sizes(dataset.groups) if distinct_groups else [len(dataset)]
    count = sum(size // batch_size + (size % batch_size > 0 and not drop_last) for size in sizes)
    if not count:
        what = "objects (distinct_objects takes one image of each)" if distinct_groups else "images"
        most = sizes[0] if sizes else 0
        remedy = f"Set batch_size={most} or less" if most > 1 else f"Add {what.split()[0]}: training needs 2"
        raise UserError(f"batch_size={batch_size} exceeds the number of {what}, {most}. {remedy}")
    return count


def prefetch_map(make: Callable[[T], R], items: Iterable[T], depth: int, workers: int = 1) -> Iterator[R]:
    """``map(make, items)``, in order, with up to ``depth`` results computed ahead by threads.

    An exception in ``make`` is raised in place of its result; a caller that stops early waits at most for the
    results in progress.

    >>> list(prefetch_map(abs, [-1, -2, -3], depth=2))
    [1, 2, 3]
    """
    if depth < 1:
        yield from map(make, items)
        return
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="equissl-data") as pool:
        try:
            for item in items:
                pending.append(pool.submit(make, item))
                if len(pending) > depth:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
