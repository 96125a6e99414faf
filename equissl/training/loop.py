"""The training loop, to be read from top to bottom."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from timm.layers.norm_act import convert_sync_batchnorm
from torch import Tensor, nn

from equissl.augment.engine import chosen
from equissl.data.base import Dataset
from equissl.data.batch import Batch
from equissl.data.loader import batches, batches_per_epoch
from equissl.distributed import mean, rank
from equissl.encoder.encoder import Encoder
from equissl.errors import Stopped, UserError
from equissl.model import Model
from equissl.progress import Display
from equissl.recipe import Recipe
from equissl.runs import folder as runs
from equissl.storage import write_rows
from equissl.training import checkpoint
from equissl.training.loggers import Logger, check_installed, loggers
from equissl.training.meters import Record, refuse_non_finite
from equissl.training.monitor import monitor
from equissl.training.optim import parameter_groups
from equissl.training.signals import Interrupted, Interruption
from equissl.views import View, make_views


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a run is carried out; none of these changes its numbers.

    Args:
        accelerator: "auto", "cpu", "cuda".
        devices: processes; the recipe's batch size is divided among them.
        trackers: besides ``log.jsonl``.
        log_every: steps between logged rows.
        save_every: steps between checkpoints; besides one every ``save_minutes`` and those at start and end.
        stop_after: steps after which to stop as if interrupted; 0 for never.
        silent: show no progress.
    """

    accelerator: str = "auto"
    devices: int = 1
    loggers: tuple[str, ...] = ("tensorboard",)
    log_every: int = 10
    save_every: int = 0
    save_minutes: float = 5.0
    stop_after: int = 0
    silent: bool = False

    def __post_init__(self) -> None:
        for name, least in (("devices", 1), ("log_every", 1), ("save_every", 0), ("stop_after", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} must be at least {least}, got {getattr(self, name)}")


@dataclass
class State:
    """Where a run stands: steps done, epochs done, and batches done of the current epoch."""

    step: int = 0
    epoch: int = 0
    batch: int = 0


def train(
    recipe: Recipe,
    out: Path,
    options: Options = Options(),
    *,
    encoder: Encoder | None = None,
    resume: bool = False,
    name: str = "",
) -> runs.Run:
    """Pretrain ``recipe`` into the run folder ``out``.

    Nothing is written before the data is open and the model is built.

    Args:
        encoder: a module of the user's own instead of the one the recipe describes.
        resume: continue the run in ``out`` from its last checkpoint, exactly.
        name: what to call the recipe in tables.

    Raises:
        UserError: bad settings or data, a non-finite loss; ``Stopped``: an interruption, everything is saved.
    """
    fabric = Fabric(accelerator=options.accelerator, devices=options.devices, precision=recipe.precision)
    fabric.launch()
    with Display(silent=options.silent or rank() > 0) as display:
        loaded = checkpoint.load(out / "checkpoints") if resume else None
        if not resume:
            runs.check_free(out)
        # Settled once and written down, so that a run goes on with the engine it began with.
        recipe = replace(recipe, engine=chosen(recipe.engine, fabric.device))
        fabric.barrier()  # no process may look for a free folder after another has made it
        dataset = recipe.data.open("train", display).on(fabric.device)
        steps_per_epoch = batches_per_epoch(dataset, recipe.batch_size)
        if recipe.batch_size % fabric.world_size:
            raise UserError(
                f"batch_size={recipe.batch_size} cannot be divided among {fabric.world_size} devices"
            )
        check_installed(options.loggers)
        torch.manual_seed(recipe.seed)
        model = recipe.build(dataset.spaces, encoder)
        run = runs.Run(out)
        trainer = _Trainer(fabric, recipe, options, run, dataset, model, steps_per_epoch, display)
        if loaded is not None:
            trainer.restore(loaded)
        else:
            _create(fabric, run, recipe, dataset, model, name, own=encoder is not None)
            trainer.save()  # from now on there is always something to resume
        trainer.fit()
        fabric.barrier()
    return run


def _create(
    fabric: Fabric, run: runs.Run, recipe: Recipe, dataset: Dataset, model: Model, name: str, own: bool
) -> None:
    facts = {
        "recipe": name,
        "own_backbone": own,
        "images": len(dataset),
        "parameters": sum(p.numel() for p in model.encoder.parameters()),
        "device": str(fabric.device),
        "devices": fabric.world_size,
    }
    if fabric.is_global_zero:
        runs.create(run.path, recipe, facts, dataset.bad_images)
    fabric.barrier()


class _Trainer:
    """The state of one run while it trains."""

    def __init__(
        self,
        fabric: Fabric,
        recipe: Recipe,
        options: Options,
        run: runs.Run,
        dataset: Dataset,
        model: Model,
        steps_per_epoch: int,
        display: Display,
    ):
        self.fabric, self.recipe, self.options = fabric, recipe, options
        self.run, self.dataset, self.display = run, dataset, display
        self.steps_per_epoch, self.total = steps_per_epoch, steps_per_epoch * recipe.epochs
        self.model = model
        if recipe.channels_last:
            model.to(memory_format=torch.channels_last)
        if recipe.compile:
            model.encoder.compile()
        if fabric.world_size > 1 and fabric.device.type == "cuda":  # torch has none for the CPU
            convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]  # timm's: torch's drops the activation of fused layers
        try:
            optimizer = recipe.optimizer.build(parameter_groups(model, fixed_lr(model)))
        except ValueError as error:
            raise UserError(f"optimizer: {error}") from error
        self.forward, self.optimizer = fabric.setup(_Step(model), optimizer)
        self.state, self.record = State(), Record(recipe.batch_size)
        self.loggers: list[Logger] = []
        self.saved = time.monotonic()

    def fit(self) -> None:
        if self.fabric.is_global_zero:
            self.loggers = loggers(self.run.path, self.options.loggers)
        try:
            with Interruption() as self.interruption:
                for epoch in range(self.state.epoch, self.recipe.epochs):
                    self.epoch(epoch)
        except Interrupted:
            self.save()
            raise Stopped(
                f"interrupted after step {self.state.step} of {self.total}; everything is saved: "
                f"`equissl resume {self.run.path}` goes on from here"
            ) from None
        finally:
            for tracker in self.loggers:
                tracker.close()

    def epoch(self, epoch: int) -> None:
        for batch in self.timed(epoch):
            rate = self.set_rate()
            terms = self.step(batch, epoch)
            self.state.step += 1
            self.state.batch += 1
            self.record.add(terms)
            if self.state.step % self.options.log_every == 0 or self.state.step == self.total:
                self.log(epoch, rate)
            late = time.monotonic() - self.saved > 60 * self.options.save_minutes
            often = self.options.save_every and self.state.step % self.options.save_every == 0
            if often or self.agreed(late):
                self.save()
            if self.agreed(self.interruption.asked) or self.state.step == self.options.stop_after:
                raise Interrupted
        self.check_finite()
        self.state.epoch, self.state.batch = epoch + 1, 0
        self.finish_epoch(epoch)

    def agreed(self, wish: bool) -> bool:
        """Whether any process wishes it: all must do the same, and they ask each other now and then."""
        if self.fabric.world_size == 1:
            return wish
        if self.state.step % self.options.log_every:
            return False
        return bool(mean(torch.tensor(float(wish), device=self.fabric.device)) > 0)

    def step(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """One optimizer step; nothing here waits for the device."""
        recipe = self.recipe
        began = time.perf_counter()
        batch = batch.to(self.fabric.device)
        views = make_views(batch, recipe.views, recipe.seed, epoch, recipe.engine)
        self.record.viewing += time.perf_counter() - began
        terms: dict[str, Tensor] = self.forward(_Hidden(views))
        loss = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        if recipe.clip_gradient:
            self.fabric.clip_gradients(
                self.forward, self.optimizer, max_norm=recipe.clip_gradient, error_if_nonfinite=False
            )
        self.optimizer.step()
        self.model.after_step((self.state.step + 1) / self.total)
        return {"loss": loss.detach(), **{k: v.detach() for k, v in terms.items()}}

    def set_rate(self) -> float:
        peak = self.recipe.optimizer.rate
        rate = self.recipe.schedule.rate(self.state.step, peak, self.total, self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr_scale"] * (peak if group["fixed_lr"] else rate)
        return rate

    def timed(self, epoch: int) -> Iterator[Batch]:
        """The rest of an epoch's batches; the time spent waiting for them is recorded."""
        recipe = self.recipe
        source = batches(
            self.dataset,
            recipe.batch_size,
            seed=recipe.seed,
            epoch=epoch,
            start=self.state.batch,
            rank=self.fabric.global_rank,
            world=self.fabric.world_size,
        )
        while True:
            began = time.perf_counter()
            batch = next(source, None)
            self.record.waited += time.perf_counter() - began
            if batch is None:
                return
            yield batch

    def log(self, epoch: int, rate: float) -> None:
        row = self.record.flush(self.state.step)
        refuse_non_finite(row, self.run.checkpoints)
        row |= {"step": self.state.step, "epoch": self.state.step / self.steps_per_epoch, "lr": rate}
        for tracker in self.loggers:
            tracker.log(row)
        note = (
            f"loss {row['loss']:.3f}  {row['images_per_second']:.0f} images/s  "
            f"waiting for data {row['data_wait']:.0%}, making views {row['view_share']:.0%}"
        )
        self.display("training", self.state.step, self.total, note)

    def check_finite(self) -> None:
        refuse_non_finite(self.record.peek(self.state.step), self.run.checkpoints)

    def finish_epoch(self, epoch: int) -> None:
        every, last = self.recipe.monitor_every, epoch + 1 == self.recipe.epochs
        began = time.perf_counter()
        if every and ((epoch + 1) % every == 0 or last) and self.fabric.is_global_zero:
            row = monitor(
                self.model.encoder,
                self.dataset,
                self.recipe.encoder.size,
                self.recipe.seed,
                self.fabric.device,
            )
            for tracker in self.loggers:
                tracker.log({"step": self.state.step, "epoch": epoch + 1, **row})
            self.record.began += time.perf_counter() - began  # a probe is no training
        if last:
            self.save()
            if self.fabric.is_global_zero:  # a streamed file may turn out bad only when it is decoded
                runs.write_bad_images(self.run.path / "bad_images.csv", self.dataset.bad_images)

    def save(self) -> None:
        """Write a checkpoint, unless the weights are no longer finite.

        Raises:
            UserError: they are not; the last good checkpoint is named and stays.
        """
        self.saved = time.monotonic()
        self.check_finite()
        wrong = [n for n, p in self.model.named_parameters() if not bool(p.isfinite().all())]
        if wrong:
            refuse_non_finite({"bad": (self.state.step, [f"the weights {wrong[0]}"])}, self.run.checkpoints)
        if not self.fabric.is_global_zero:
            return
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.fabric.strategy.precision.state_dict(),
            "random": checkpoint.random_state(),
            "step": self.state.step,
            "epoch": self.state.epoch,
            "batch": self.state.batch,
            "epochs": self.recipe.epochs,
            "world": self.fabric.world_size,
            "data": fingerprint(self.dataset),
        }
        checkpoint.save(self.run.checkpoints, state)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a checkpoint, and drop the rows that were logged after it."""
        if state["world"] != self.fabric.world_size:
            raise UserError(
                f"devices={self.fabric.world_size}: the run was started on {state['world']}; its batches and "
                "BatchNorm statistics would change, so resume with the same number"
            )
        if state["data"] != fingerprint(self.dataset):
            raise UserError(
                f"the data is no longer what the run was started on ({state['data']} then, "
                f"{fingerprint(self.dataset)} now: number of samples and a hash of their names), so it "
                "cannot go on exactly; restore the data or start a new run"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["scaler"])
        checkpoint.restore_random_state(state["random"])
        self.state = State(state["step"], state["epoch"], state["batch"])
        if self.fabric.is_global_zero:
            kept = [r for r in self.run.rows("log.jsonl") if r["step"] <= state["step"]]
            write_rows(self.run.path / "log.jsonl", kept)


class _Hidden:
    """Views that Fabric passes on as they are: it would rebuild frozen dataclasses field by field."""

    def __init__(self, views: Mapping[str, View]):
        self.views = views


class _Step(nn.Module):
    """The module that Fabric wraps: takes hidden views."""

    def __init__(self, model: Model):
        super().__init__()
        self.model = model

    def forward(self, hidden: _Hidden) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = self.model(hidden.views)
        return terms


def fixed_lr(model: Model) -> list[str]:
    """Prefixes of the parameters whose learning rate stays at the peak."""
    return [f"{key}.{name}." for key, part in model.objectives.items() for name in part.fixed_lr]


def fingerprint(dataset: Dataset) -> str:
    """What a run's data is, as far as order and number go: count and a hash of the file names."""
    names = hashlib.blake2b("\0".join(dataset.files).encode("utf-8", "surrogateescape"), digest_size=8)
    return f"{len(dataset)}/{names.hexdigest()}"
