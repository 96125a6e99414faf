"""Training, to be read from top to bottom: one optimizer step, the loop over steps, and a run around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from equissl.config.public import ROOT
from equissl.config.serialize import to_dict, trust_needs
from equissl.data.loader import batches
from equissl.distributed import limit_threads, rank, resolve_device
from equissl.encoder.encoder import Encoder
from equissl.errors import NonFiniteError, Stopped, UserError
from equissl.locks import folder_lock
from equissl.progress import Display, say_nothing
from equissl.recipe import Precision, Recipe
from equissl.runs.folder import Run, check_free, create, write_bad_images
from equissl.storage import WriteError, read_json, write_json, write_rows
from equissl.text import shell_path
from equissl.training import checkpoint
from equissl.training.callbacks import (
    Agreement,
    Callback,
    CheckpointCallback,
    LoggingCallback,
    MonitoringCallback,
)
from equissl.training.checkpoint import Snapshot, TrainState
from equissl.training.loggers import open_loggers
from equissl.training.meters import Meters
from equissl.training.optim import set_lr
from equissl.training.options import Options
from equissl.training.precision import (
    Choice,
    check_precision,
    open_fabric,
    settle_precision,
    without_trial,
)
from equissl.training.processes import lost_processes_in_words, start_processes
from equissl.training.setup import (
    Learner,
    Opaque,
    Plan,
    build_model,
    check_weights,
    resolve,
    run_facts,
    set_up,
)
from equissl.training.signals import Interruption, signal_name
from equissl.views import View, make_views


def training_step(
    learner: Learner, views: Mapping[str, View], progress: float, clip_gradient: float = 0.0
) -> dict[str, Tensor]:
    """One optimizer step; nothing here waits for the device.

    Args:
        progress: fraction of all steps that is done after this one, for schedules of objectives.
        clip_gradient: largest gradient norm; 0 never clips.

    Returns:
        the terms of the loss and "loss", their sum; () each, detached.
    """
    terms: dict[str, Tensor] = learner.wrapped(Opaque(views))
    loss = torch.stack(list(terms.values())).sum()
    learner.optimizer.zero_grad()
    learner.fabric.backward(loss)
    if clip_gradient:
        learner.fabric.clip_gradients(
            learner.wrapped, learner.optimizer, max_norm=clip_gradient, error_if_nonfinite=False
        )
    learner.optimizer.step()
    learner.model.after_step(progress)
    return {"loss": loss.detach(), **{k: v.detach() for k, v in terms.items()}}


def fit(
    plan: Plan,
    learner: Learner,
    state: TrainState,
    meters: Meters,
    callbacks: Sequence[Callback],
    should_stop: Callable[[int], bool],
) -> bool:
    """Train from ``state`` to the last epoch, or until ``should_stop(step)``.

    Returns:
        whether training came to its end.
    """
    recipe = plan.recipe
    for epoch in range(state.epoch, recipe.epochs):
        for views in epoch_views(plan, learner.fabric, epoch, state.batch, meters):
            state.lr = plan.lr_at(state.step)
            set_lr(learner.optimizer, state.lr, recipe.optimizer.lr)
            terms = training_step(learner, views, (state.step + 1) / plan.total_steps, recipe.clip_gradient)
            state.step, state.batch = state.step + 1, state.batch + 1
            for callback in callbacks:
                callback.after_step(state, terms)
            if should_stop(state.step):
                return False
        state.epoch, state.batch = epoch + 1, 0
        for callback in callbacks:
            callback.after_epoch(state)
    return True


def epoch_views(
    plan: Plan, fabric: Fabric, epoch: int, start: int, meters: Meters
) -> Iterator[dict[str, View]]:
    """The views of an epoch's batches from number ``start`` on, made on the device."""
    recipe = plan.recipe
    source = batches(
        plan.dataset,
        recipe.batch_size,
        recipe.seed,
        epoch,
        start,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        distinct_groups=recipe.distinct_objects,
    )
    while True:
        with meters.timed("data_wait"):
            batch = next(source, None)
        if batch is None:
            return
        with meters.timed("augment_fraction"):
            views = make_views(batch.to(fabric.device), recipe.views, recipe.seed, epoch, recipe.engine)
        yield views


def train(
    recipe: Recipe,
    out: Path,
    options: Options = Options(),
    *,
    encoder: Encoder | None = None,
    resume: bool = False,
    name: str = "",
) -> Run:
    """Pretrain ``recipe`` into the run folder ``out``.

    Nothing is written before the data is open and the model is built.

    Args:
        encoder: a module of the user's own instead of the one the recipe describes.
        resume: continue the run in ``out`` from its last checkpoint, bit for bit.
        name: what to call the recipe in tables.

    Raises:
        UserError: bad settings or data, a non-finite loss; ``Stopped``: interrupted, everything is saved.
    """
    layout = start_processes(options.devices, options.accelerator)
    own = encoder is not None or bool(trust_needs(recipe) - {ROOT})
    device = resolve_device(options.accelerator)
    check_precision(recipe.precision, device)

    with_precision = partial(
        open_fabric,
        accelerator=device,
        # A module of the user's own may have parameters that no loss depends on; equissl's have none.
        strategy="ddp_find_unused_parameters_true" if layout.count > 1 and own else "auto",
        devices=layout.devices,
        num_nodes=layout.nodes,
    )
    choice = without_trial(device, layout.count) if recipe.precision == "auto" else None
    fabric = with_precision(choice.precision if choice else recipe.precision)
    threads = limit_threads(layout.devices)
    run = Run(out)
    try:
        with lost_processes_in_words(out):
            fabric.launch()
            _train(fabric, recipe, run, options, encoder, resume, name, choice, with_precision, threads)
    except KeyboardInterrupt as error:  # at start-up, or the second signal
        begun = f"`equissl resume {out}` goes on from the last checkpoint"
        rest = begun if (out / "recipe.json").exists() else "nothing was written"
        raise Stopped(f"interrupted{signal_name(error)}; {rest}") from error
    return run


def _train(
    fabric: Fabric,
    recipe: Recipe,
    run: Run,
    options: Options,
    encoder: Encoder | None,
    resume: bool,
    name: str,
    choice: Choice | None,
    with_precision: Callable[[Precision], Fabric],
    threads: str,
) -> None:
    with Display(silent=options.silent or rank() > 0) as display, ExitStack() as held:
        if threads:
            display.say(threads)
        if resume:
            in_first_process(fabric, lambda: held.enter_context(folder_lock(run.path)))
        saved = checkpoint.load(run.checkpoints) if resume else None
        if saved is None:
            check_free(run.path)
        fabric.barrier()  # no process may look for a free folder after another has made it
        if saved is None and encoder is None and recipe.encoder.weights:
            check_weights(recipe.encoder, display.say)
        plan = resolve(recipe, options, fabric, display)
        model = build_model(plan, fabric.device, encoder, weights=saved is None)
        plan = settle_precision(plan, model, choice, display.say if rank() == 0 else say_nothing)
        if plan.recipe.precision != (choice.precision if choice else recipe.precision):
            fabric = with_precision(plan.recipe.precision)
        learner = set_up(plan, fabric, model)
        stored = to_dict(plan.recipe)
        snapshot = Snapshot(
            fabric, learner.model, learner.optimizer, plan.dataset, stored, plan.recipe.epochs
        )
        if saved is not None:
            state = snapshot.restore(saved)
            in_first_process(fabric, lambda: rewind(run, state, stored))
        else:
            state = TrainState()
            facts = {"recipe": name, "own_backbone": encoder is not None, **run_facts(plan, learner)}
            facts["options"] = options.stored()

            def start() -> None:
                bad = plan.dataset.bad_images
                if bad:
                    some = "1 image" if len(bad) == 1 else f"{len(bad)} images"
                    display.say(
                        f"skipped: {some} that cannot be used, listed in {run.path / 'bad_images.csv'}"
                    )
                create(run.path, plan.recipe, facts, bad, lambda p: snapshot.save(p, state))
                held.enter_context(folder_lock(run.path))

            in_first_process(fabric, start)
            display.say(
                f"{plan.total_steps} steps (epochs x batches: {recipe.epochs} x {plan.steps_per_epoch})"
            )
        fit_and_save(run, plan, learner, snapshot, state, options, display)
        if rank() == 0:  # a streamed file may turn out bad only when it is decoded
            write_bad_images(run.path / "bad_images.csv", plan.dataset.bad_images)
        fabric.barrier()


def fit_and_save(
    run: Run,
    plan: Plan,
    learner: Learner,
    snapshot: Snapshot,
    state: TrainState,
    options: Options,
    display: Display,
) -> None:
    """``fit`` with everything beside it: logging, monitoring, checkpoints, signals."""
    meters = Meters(plan.recipe.batch_size)
    agreement = Agreement(options.log_every, learner.fabric.device)
    loggers = open_loggers(run.path, options.loggers, state.step) if rank() == 0 else []
    checkpoints = CheckpointCallback(run.checkpoints, snapshot, meters, options, agreement, state.step)
    callbacks: list[Callback] = [
        LoggingCallback(plan, meters, loggers, display, options.log_every),
        MonitoringCallback(plan, learner.model, meters, loggers, display),
        checkpoints,
    ]
    try:
        with Interruption() as interruption:

            def should_stop(step: int) -> bool:
                return agreement(step, interruption.requested) or step == options.stop_after

            finished = fit(plan, learner, state, meters, callbacks, should_stop)
        if not finished:
            checkpoints.save(state)
            raise Stopped(
                f"interrupted after step {state.step} of {plan.total_steps}; everything is saved: "
                f"`equissl resume {shell_path(run.path)}` goes on from here"
            )
    except WriteError as error:
        again = f"`equissl resume {shell_path(run.path)}` goes on from the last checkpoint"
        raise UserError(f"{error}. Once that is solved, {again}") from error
    except NonFiniteError as error:
        saved = checkpoints.saved_step
        good = f"the last good checkpoint, all finite, is that of step {saved}: {run.checkpoints / 'last.pt'}"
        look = f"equissl replay-step {shell_path(run.path)} step={error.step or state.step}"
        advice = "Start again with a lower optimizer.lr, clip_gradient=1, or precision=32-true"
        raise NonFiniteError(f"{error}; {good}. {advice}; `{look}` shows where it began.") from error
    finally:
        for callback in callbacks:
            callback.close()


def in_first_process(fabric: Fabric, work: Callable[[], object]) -> None:
    """Do something in the first process alone; all go on after it.

    Raises:
        UserError: that of the first process, in every process.
    """
    problems: list[str] = []
    if rank() == 0:
        try:
            work()
        except UserError as error:
            problems = error.problems
    if problems := fabric.broadcast(problems):
        raise UserError(problems)


def rewind(run: Run, state: TrainState, recipe: Mapping[str, Any]) -> None:
    """Bring a run folder to the state of a checkpoint: no row that will be logged again, the new recipe.

    A row of the step itself is that of the training step, logged before the checkpoint; one of the epoch's
    end will be logged again if the checkpoint lies before it.
    """

    def stays(row: Mapping[str, Any]) -> bool:
        at = row.get("step")
        if not isinstance(at, int | float):
            return False
        return bool(at < state.step or (at == state.step and ("loss" in row or not state.batch)))

    write_rows(run.path / "log.jsonl", [row for row in run.log if stays(row)])
    if read_json(run.path / "recipe.json") != recipe:
        write_json(run.path / "recipe.json", recipe)
