"""Shuffled batches of an epoch, prefetched by threads; the order depends on seed and epoch alone."""

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
    world_size: int = 1,
    prefetch: int = 2,
) -> Iterator[Batch]:
    """The batches of one epoch, shuffled.

    Args:
        batch_size: samples per step, over all ranks.
        start: index of the first batch, for a run that resumes inside an epoch.
        drop_last: drop a last batch that is not full.
        rank, world_size: every rank gets its part of each batch, and all get equally many batches.
        prefetch: number of batches prepared ahead in the background; 0 prepares each when it is needed.

    Raises:
        UserError: there is no full batch, or ``batch_size`` is not divisible by the number of ranks.
        ValueError: ``start`` or ``rank`` is out of range.
    """
    count = batches_per_epoch(dataset, batch_size, drop_last)
    if batch_size % world_size:
        raise UserError(f"batch_size={batch_size} is not divisible by the number of devices, {world_size}")
    if not (0 <= start <= count and 0 <= rank < world_size):
        raise ValueError(f"start {start} of {count} batches, rank {rank} of {world_size}")
    steps = torch.split(shuffled(len(dataset), seed, epoch), batch_size)[start:count]

    def make(step: Tensor) -> Batch:
        return dataset.batch(step.tensor_split(world_size)[rank], epoch)

    return prefetch_map(make, steps, prefetch)


def batches_per_epoch(dataset: Dataset, batch_size: int, drop_last: bool = True) -> int:
    """Number of batches of an epoch.

    Raises:
        UserError: there is none: the dataset is smaller than a batch.
    """
    if batch_size < 1:
        raise UserError(f"batch_size must be at least 1, got {batch_size}")
    full, rest = divmod(len(dataset), batch_size)
    count = full + (rest > 0 and not drop_last)
    if not count:
        images = len(dataset)
        remedy = f"Set batch_size={images} or less" if images > 1 else "Add images: training needs 2"
        raise UserError(f"batch_size={batch_size} exceeds the number of images, {images}. {remedy}")
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
