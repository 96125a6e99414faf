"""One training step made again from the nearest checkpoint before it, with every tensor looked at."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from equissl.augment.record import Record
from equissl.augment.table import Table
from equissl.config.serialize import to_dict
from equissl.data.loader import batches
from equissl.encoder.non_finite import is_finite, not_finite_outputs
from equissl.errors import UserError
from equissl.runs.folder import Run
from equissl.training import checkpoint
from equissl.training.checkpoint import Snapshot, TrainState
from equissl.training.loop import fit
from equissl.training.meters import Meters
from equissl.training.optim import set_lr
from equissl.training.setup import Learner, Plan
from equissl.views import View, make_views


@dataclass(frozen=True)
class StepReplay:
    """What a step did when it was made again.

    Args:
        step: from 1; ``epoch`` and ``batch``, of ``batches`` in an epoch, from 0.
        checkpoint: the step of the weights that it was reached from; 0 for those that the run began with.
        terms: of the loss, and "loss", their sum.
        not_finite: what held an infinity or NaN, the first of each kind, in the order of the computation.
        table: file, view and parameters of all views of the batch's images.
    """

    step: int
    epoch: int
    batch: int
    batches: int
    checkpoint: int
    terms: Mapping[str, float]
    not_finite: tuple[str, ...]
    table: Table


def replay(run: Run, step: int, plan: Plan, learner: Learner) -> StepReplay:
    """Train on from the nearest checkpoint before ``step``, then make it in float32 and look at every tensor.

    Nothing is written. Augmentations are hashes of seed, epoch and image, so the batch is the run's own.

    Args:
        learner: one process, with the weights that the run began with.

    Raises:
        UserError: there is no such step, or the data are not the run's.
    """
    check_step(step, plan.total_steps)
    snapshot = Snapshot(
        learner.fabric,
        learner.model,
        learner.optimizer,
        plan.dataset,
        to_dict(plan.recipe),
        plan.recipe.epochs,
    )
    saved = _nearest_before(run, step)
    # In one process the batch is whole, and BatchNorm's statistics are those of all processes.
    state = snapshot.restore({**saved, "world_size": 1}) if saved else TrainState()
    begin, meters = state.step, Meters(plan.recipe.batch_size)
    if begin < step - 1:
        fit(plan, learner, state, meters, (), lambda done: done == step - 1)
    epoch, batch = divmod(step - 1, plan.steps_per_epoch)
    found = [f"{name}, before the step" for name in [snapshot.non_finite()] if name]
    made, table = _views(plan, epoch, batch, learner.fabric.device)
    found += [f"images of view {n}" for n, v in made.items() if not is_finite(v.images)]
    with not_finite_outputs(learner.model) as seen:
        terms, problem = _forward_and_backward(learner.model, made)
    gradients = [
        n for n, p in learner.model.named_parameters() if p.grad is not None and not is_finite(p.grad)
    ]
    found += [*seen[:1], *(f"loss term {n}" for n, v in terms.items() if not is_finite(v))]
    found += [problem] * bool(problem) + [f"gradient of {n}" for n in gradients[:1]]
    set_lr(learner.optimizer, plan.lr_at(step - 1), plan.recipe.optimizer.lr)
    getattr(learner.optimizer, "optimizer", learner.optimizer).step()
    found += [f"{name}, after the step" for name in [snapshot.non_finite()] if name]
    numbers = {name: float(value) for name, value in terms.items()}
    return StepReplay(step, epoch, batch, plan.steps_per_epoch, begin, numbers, tuple(found), table)


def check_step(step: int, count: int) -> None:
    """Raises UserError: ``step`` is none of a run's ``count`` steps."""
    if not 1 <= step <= count:
        raise UserError(f"step={step}: the run has steps 1 to {count}")


def _nearest_before(run: Run, step: int) -> dict[str, Any]:
    """The latest checkpoint before a step; empty if there is none any more."""
    for name in ("last.pt", "previous.pt"):
        if (run.checkpoints / name).is_file():
            state = checkpoint.load(run.checkpoints, name)
            if state["step"] < step:
                return state
    return {}


def _views(plan: Plan, epoch: int, number: int, device: torch.device) -> tuple[dict[str, View], Table]:
    recipe = plan.recipe
    source = batches(
        plan.dataset,
        recipe.batch_size,
        recipe.seed,
        epoch,
        number,
        prefetch=0,
        distinct_groups=recipe.distinct_objects,
    )
    batch = next(source)
    views = make_views(batch.to(device), recipe.views, recipe.seed, epoch, recipe.engine)
    # The elements of an orbit follow from its view.
    params = {n: v.params.to("cpu") for n, v in views.items() if len(v.images) == len(batch.index)}
    table = Record({}, params, batch.index).table()
    files = plan.dataset.files
    names = [files[int(k)] if files else "" for k in table.columns["image"]]  # type: ignore[arg-type]
    return views, Table({"file": names, **table.columns}, table.units)


def _forward_and_backward(model: nn.Module, views: Mapping[str, View]) -> tuple[dict[str, Tensor], str]:
    """Loss terms with "loss", and the operation whose gradient is NaN first, "" if none is."""
    model.train()
    model.zero_grad()
    problem = ""
    with warnings.catch_warnings(), torch.autograd.set_detect_anomaly(True):  # without its warning
        warnings.simplefilter("ignore")
        terms: dict[str, Tensor] = model(views)
        loss = torch.stack(list(terms.values())).sum()
        try:
            torch.autograd.backward(loss)
        except RuntimeError as error:
            problem = f"backward: {str(error).splitlines()[0]}"
    return {**{n: t.detach() for n, t in terms.items()}, "loss": loss.detach()}, problem
