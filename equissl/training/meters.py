"""Loss terms and time fractions of the steps since the last logged row."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from equissl.distributed import mean
from equissl.errors import NonFiniteError
from equissl.progress import seconds_since


class Meters:
    """Means of loss terms over steps, images per second, and the fractions of time spent on views and data.

    Terms stay on the device until a row is due, so that no step waits for it.

    Args:
        batch_size: images per step, over all processes.
    """

    def __init__(self, batch_size: int):
        self.batch_size = batch_size
        self.reset()

    def reset(self) -> None:
        self._terms: list[Mapping[str, Tensor]] = []
        self._seconds = {"data_wait": 0.0, "augment_fraction": 0.0}
        self._start = time.perf_counter()

    def update(self, terms: Mapping[str, Tensor]) -> None:
        """Add the terms of one step, () each."""
        self._terms.append(terms)

    @contextmanager
    def timed(self, key: str) -> Iterator[None]:
        """Count the time within as "data_wait" or "augment_fraction".

        On a GPU that is the time to launch operations, not to run them.
        """
        start = time.perf_counter()
        yield
        self._seconds[key] += time.perf_counter() - start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time within out of all fractions and of images per second."""
        start = time.perf_counter()
        yield
        self._start += time.perf_counter() - start

    def means(self, step: int) -> dict[str, float]:
        """Means of the terms over steps and processes, up to ``step``; every process must call it.

        Raises:
            NonFiniteError: names the first step at which a term was not finite, and the terms.
        """
        if not self._terms:
            return {}
        names = list(self._terms[0])
        local = torch.stack([torch.stack([t[n].float() for n in names]) for t in self._terms])
        values = mean(local).cpu()  # (steps, terms)
        bad = (~values.isfinite()).nonzero()
        if len(bad):
            first = int(bad[0, 0])
            terms = [names[int(column)] for row, column in bad if int(row) == first]
            listed = ", ".join([t for t in terms if t != "loss"] or terms)
            bad_step = step - len(self._terms) + first + 1
            raise NonFiniteError(f"the loss is not finite at step {bad_step} (in {listed})", bad_step)
        return dict(zip(names, values.double().mean(0).tolist(), strict=True))

    def flush(self, step: int) -> dict[str, float]:
        """``means`` with "images_per_second", "data_wait" and "augment_fraction"; starts anew."""
        row = self.means(step)
        elapsed = seconds_since(self._start)
        row["images_per_second"] = len(self._terms) * self.batch_size / elapsed
        row |= {key: seconds / elapsed for key, seconds in self._seconds.items()}
        self.reset()
        return row
