"""The losses between two logged rows, and the refusal to go on when one is not finite."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from equissl.distributed import mean
from equissl.errors import UserError


class Record:
    """Loss terms of the steps since the last row, kept on the device until one is due."""

    def __init__(self, batch_size: int):
        self.batch_size = batch_size
        self.restart()

    def restart(self) -> None:
        self.terms: list[dict[str, Tensor]] = []
        self.waited, self.viewing, self.began = 0.0, 0.0, time.perf_counter()

    def add(self, terms: dict[str, Tensor]) -> None:
        self.terms.append(terms)

    def peek(self, step: int) -> dict[str, Any]:
        """Means of the terms; "bad" names the first step and term that is not finite."""
        if not self.terms:
            return {}
        names = list(self.terms[0])
        local = torch.stack([torch.stack([t[n].float() for n in names]) for t in self.terms])
        values = mean(local).cpu()
        row: dict[str, Any] = dict(zip(names, values.double().mean(0).tolist(), strict=True))
        wrong = (~values.isfinite()).nonzero()
        if len(wrong):
            first = int(wrong[0, 0])
            terms = [names[int(c)] for r, c in wrong if int(r) == first]
            row["bad"] = (step - len(self.terms) + first + 1, [t for t in terms if t != "loss"] or terms)
        return row

    def flush(self, step: int) -> dict[str, Any]:
        row = self.peek(step)
        seconds = time.perf_counter() - self.began
        row["images_per_second"] = len(self.terms) * self.batch_size / seconds
        row["data_wait"] = self.waited / seconds
        row["view_share"] = self.viewing / seconds  # on a GPU: of giving the orders, not of carrying them out
        self.restart()
        return row


def refuse_non_finite(row: Mapping[str, Any], folder: Path) -> None:
    """Raises UserError naming the step, the terms and the checkpoint in ``folder`` to go back to."""
    if "bad" not in row:
        return
    step, terms = row["bad"]
    saved = folder / "last.pt"
    good = f"the last good checkpoint is {saved}" if saved.exists() else "no checkpoint had been saved yet"
    raise UserError(
        f"the loss is not finite at step {step} (in {', '.join(terms)}); {good}. Try a lower optimizer.rate, "
        "clip_gradient=1, or precision=32-true"
    )
