"""Batches of an epoch in an order that depends on seed and epoch alone, made while others are used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

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
    world: int = 1,
    prefetch: int = 2,
) -> Iterator[Batch]:
    """The batches of one epoch, shuffled.

    Args:
        batch_size: samples per step, over all ranks.
        start: number of the first batch; a run that resumes inside an epoch gets exactly what it had left.
        drop_last: leave out the samples that do not fill a batch.
        rank, world: every rank gets its share of each batch, and all get equally many batches.
        prefetch: batches made ahead in the background; 0 makes each when it is asked for.

    Raises:
        UserError: there is no full batch, or ``batch_size`` cannot be divided among the ranks.
        ValueError: ``start`` or ``rank`` is out of range.
    """
    count = batches_per_epoch(dataset, batch_size, drop_last)
    if batch_size % world:
        raise UserError(f"batch_size={batch_size} cannot be divided among {world} devices")
    if not (0 <= start <= count and 0 <= rank < world):
        raise ValueError(f"start {start} of {count} batches, rank {rank} of {world}")
    steps = torch.split(shuffled(len(dataset), seed, epoch), batch_size)[start:count]

    def make(step: Tensor) -> Batch:
        return dataset.batch(step.tensor_split(world)[rank], epoch)

    return ahead(make, steps, prefetch)


def batches_per_epoch(dataset: Dataset, batch_size: int, drop_last: bool = True) -> int:
    """How many batches an epoch has.

    Raises:
        UserError: there is none, because the dataset is smaller than a batch.
    """
    if batch_size < 1:
        raise UserError(f"batch_size must be at least 1, got {batch_size}")
    full, rest = divmod(len(dataset), batch_size)
    count = full + (rest > 0 and not drop_last)
    if not count:
        raise UserError(
            f"batch_size={batch_size} is more than the {len(dataset)} images there are; "
            f"set batch_size={max(len(dataset), 1)} or less"
        )
    return count


def ahead(make: Callable[[T], R], items: Iterable[T], depth: int, workers: int = 1) -> Iterator[R]:
    """``map(make, items)``, in order, with up to ``depth`` results made ahead by threads.

    An exception in ``make`` is raised where its result would have come; a caller who stops early waits at
    most for what is being made.
    """
    if depth < 1:
        yield from map(make, items)
        return
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="equissl-data") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
