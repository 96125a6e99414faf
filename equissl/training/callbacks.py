"""Logging, monitoring and checkpointing beside the training loop: objects with the same three calls."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from equissl.distributed import any_rank, rank, world_size
from equissl.errors import NonFiniteError
from equissl.evaluate.collapse import collapse_warning
from equissl.model import Model
from equissl.progress import Display, duration, seconds_left
from equissl.training import checkpoint
from equissl.training.checkpoint import Snapshot, TrainState
from equissl.training.loggers import Logger
from equissl.training.meters import Meters
from equissl.training.monitor import monitor, target_scores
from equissl.training.options import Options
from equissl.training.setup import Plan

LONG = 60.0  # seconds of training from which its cost is worth a line


class Callback:
    """Something to do beside training; called in every process and in the same order. By default nothing."""

    def after_step(self, state: TrainState, terms: Mapping[str, Tensor]) -> None:
        """``terms``: the step's loss terms and "loss", their sum; () each, on the device."""

    def after_epoch(self, state: TrainState) -> None:
        """``state.epoch`` counts the epoch that has just ended."""

    def close(self) -> None:
        """Training has ended, for whatever reason."""


@dataclass(frozen=True)
class Agreement:
    """A decision that all processes take alike: yes if it is yes in any of them.

    They ask each other every ``interval`` steps, because each time waits for the device.
    """

    interval: int
    device: torch.device

    def __call__(self, step: int, local: bool) -> bool:
        if world_size() == 1:
            return local
        return step % self.interval == 0 and any_rank(local, self.device)


class LoggingCallback(Callback):
    """Writes a row to every logger, and a line to the display, each ``log_every`` steps.

    Args:
        loggers: those of this process; empty except in the first.
    """

    def __init__(
        self, plan: Plan, meters: Meters, loggers: Sequence[Logger], display: Display, log_every: int
    ):
        self.plan, self.meters, self.loggers = plan, meters, loggers
        self.display, self.log_every = display, log_every
        self._first: tuple[float, int] | None = None  # when it was and which step, until the cost is said

    def after_step(self, state: TrainState, terms: Mapping[str, Tensor]) -> None:
        self.meters.update(terms)
        self._say_cost(state.step)
        if state.step % self.log_every and state.step != self.plan.total_steps:
            return
        row = self.meters.flush(state.step)
        row |= {"step": state.step, "epoch": state.step / self.plan.steps_per_epoch, "lr": state.lr}
        for logger in self.loggers:
            logger.log(row)
        self.display("training", state.step, self.plan.total_steps, progress_notes(row))

    def _say_cost(self, step: int) -> None:
        """Once, as soon as it is known: how long training takes, if that is long, and what makes it less."""
        if self._first is None:
            self._first = (time.monotonic(), step) if step < self.plan.total_steps else (math.inf, step)
        began, first = self._first
        left = seconds_left(time.monotonic() - began, step - first, self.plan.total_steps - step)
        if left is not None:
            self._first = (math.inf, step)
            if left >= LONG:
                self.display.say(cost_line(left, self.plan.total_steps - step))

    def after_epoch(self, state: TrainState) -> None:
        self.meters.means(state.step)  # raises if a term is not finite

    def close(self) -> None:
        for logger in self.loggers:
            logger.close()


def cost_line(seconds: float, steps: int) -> str:
    """How long the rest of a training takes, and what makes it shorter."""
    return (
        f"about {duration(seconds)} for {steps:,} more steps at this speed; epochs=N, encoder.size=N or a "
        "smaller encoder.name=NAME take less"
    )


def progress_notes(row: Mapping[str, float]) -> tuple[str, ...]:
    """Speed, waiting and loss of a logged row; where a line is short, the last is left out first."""
    data, augment = round(100 * row["data_wait"]), round(100 * row["augment_fraction"])
    waiting = f"data {data} % · aug {augment} %"
    return f"{row['images_per_second']:.0f} img/s", waiting, f"loss {row['loss']:.3f}"


class MonitoringCallback(Callback):
    """Logs collapse statistics and probes of the features every ``monitor_every`` epochs and after the last.

    Collapse is said when it begins, and at the end.

    Args:
        loggers: those of this process; empty except in the first, which alone monitors.
    """

    def __init__(self, plan: Plan, model: Model, meters: Meters, loggers: Sequence[Logger], display: Display):
        self.plan, self.model, self.meters, self.loggers = plan, model, meters, loggers
        self.display, self.warned = display, False

    def after_epoch(self, state: TrainState) -> None:
        recipe = self.plan.recipe
        every = recipe.monitor_every
        if not every or (state.epoch % every and state.epoch != recipe.epochs):
            return
        device, problem = self.model.encoder.mean.device, ""
        with self.meters.paused():
            try:
                self._log(state, device)
            except NonFiniteError as error:
                problem = str(error)
            if any_rank(bool(problem), device):  # all of them stop, or none
                raise NonFiniteError(
                    f"{problem or 'features are not finite'} (monitored after step {state.step})"
                )

    def _log(self, state: TrainState, device: torch.device) -> None:
        if self.loggers:
            recipe = self.plan.recipe
            encoder = self.model.encoder
            row = monitor(encoder, self.plan.dataset, recipe.encoder.size, recipe.seed, device)
            row |= target_scores(self.model, self.plan.dataset, recipe, state.epoch, device)
            for logger in self.loggers:
                logger.log({"step": state.step, "epoch": state.epoch, **row})
            width = encoder.width()
            warning = collapse_warning(row["std"] / width**0.5, row["rank_me"], width)
            if warning and (not self.warned or state.epoch == recipe.epochs):
                self.display.say(f"warning: after epoch {state.epoch}, {warning}")
            self.warned = bool(warning)


class CheckpointCallback(Callback):
    """Saves every ``save_every`` steps, every ``save_minutes``, and after the last epoch.

    Args:
        folder: of the checkpoints.
        step: of the one that is there.
    """

    def __init__(
        self,
        folder: Path,
        snapshot: Snapshot,
        meters: Meters,
        options: Options,
        agreement: Agreement,
        step: int,
    ):
        self.folder, self.snapshot, self.meters = folder, snapshot, meters
        self.options, self.agreement = options, agreement
        self.saved_at = time.monotonic()
        self.saved_step = step

    def save(self, state: TrainState) -> None:
        """Write a checkpoint; every process must call it.

        Raises:
            NonFiniteError: a loss term or a tensor of the state is not finite; the last checkpoint stays.
        """
        self.saved_at = time.monotonic()
        self.meters.means(state.step)  # raises if a term is not finite
        name = self.snapshot.non_finite()
        if any_rank(bool(name), self.agreement.device):  # all of them stop, or none
            where = name or "another process"
            raise NonFiniteError(f"the weights are not finite after step {state.step} (in {where})")
        if rank() == 0:
            checkpoint.save(self.folder, self.snapshot.capture(state))
        self.snapshot.fabric.barrier()  # no process may end, and end the others, before it is on disk
        self.saved_step = state.step

    def after_step(self, state: TrainState, terms: Mapping[str, Tensor]) -> None:
        every = self.options.save_every
        overdue = time.monotonic() - self.saved_at > 60 * self.options.save_minutes
        if (every and state.step % every == 0) or self.agreement(state.step, overdue):
            self.save(state)

    def after_epoch(self, state: TrainState) -> None:
        if state.epoch == self.snapshot.epochs:
            self.save(state)
