"""Precision of a run: ``precision=auto`` becomes bfloat16 where a trial shows that it is faster."""

from __future__ import annotations

import copy
import logging
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from equissl.encoder.modes import eval_mode
from equissl.encoder.weights import Say
from equissl.errors import UserError, memory_problem
from equissl.model import Model
from equissl.recipe import Precision
from equissl.training.setup import NUM_TRIED, Plan, first_views
from equissl.views import View

FLOAT32: Final = "32-true"
BFLOAT16: Final = "bf16-mixed"
MIN_GAIN = 1.15  # below it the rounding is not worth it
SECONDS = 2.0  # of the trial, after a few steps to get ready
MIN_STEP = 0.05  # seconds of a step that is measured; batches grow until it takes as long
WRONG = "has a stride larger than the map it sees, for which torch's bfloat16 gradients are wrong"
ROUNDS = 3, 50  # at least, at most

Settled = Literal["32-true", "bf16-mixed", "16-mixed"]
ViewsOf = Callable[[int], Mapping[str, View]]


@dataclass(frozen=True)
class Choice:
    """A precision and why it was chosen, one line."""

    precision: Settled
    reason: str


def check_precision(precision: Precision, device: str) -> None:
    """Raises UserError for float16 on a CPU: torch scales losses on CUDA only."""
    if precision == "16-mixed" and torch.device(device).type == "cpu":
        raise UserError(
            "precision=16-mixed needs CUDA, and this run is on a CPU; "
            "set precision=bf16-mixed, precision=32-true or precision=auto"
        )


def for_fabric(precision: Precision) -> Settled:
    """The precision that ``Fabric`` begins with: float32 until "auto" is settled."""
    return FLOAT32 if precision == "auto" else precision


def open_fabric(precision: Precision, **options: Any) -> Fabric:
    """``Fabric`` without the line that it writes about a lower precision; a run says its own."""
    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        return Fabric(precision=for_fabric(precision), **options)
    finally:
        logger.setLevel(level)


def settle_precision(plan: Plan, model: Model, choice: Choice | None, say: Say) -> Plan:
    """A plan whose precision is not "auto" any more; ``say`` is called with the reason, or with a warning.

    Args:
        model: on its device, in the memory format of the run.
        choice: what ``without_trial`` returned.
    """
    recipe, on_cpu = plan.recipe, model.encoder.mean.device.type == "cpu"
    if recipe.precision == "auto":
        choice = choice or choose_precision(model, partial(first_views, plan), recipe.batch_size)
        say(f"precision={choice.precision}: {choice.reason}")
        return replace(plan, recipe=replace(recipe, precision=choice.precision))
    if (
        recipe.precision != FLOAT32
        and on_cpu
        and (layers := overstrided(model, first_views(plan, NUM_TRIED)))
    ):
        say(
            f"warning: precision={recipe.precision} on a CPU: {layers[0]} {WRONG}; "
            "precision=32-true avoids that"
        )
    return plan


def without_trial(device: str, processes: int = 1) -> Choice | None:
    """The choice that needs no trial: on CUDA, and of several processes; None on a CPU."""
    if torch.device(device).type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Choice(BFLOAT16, "the GPU computes in bfloat16")
        return Choice(FLOAT32, "the GPU has no bfloat16")
    if processes > 1:
        return Choice(FLOAT32, "bfloat16 is tried in a single process only")
    return None


def choose_precision(model: Model, views_of: ViewsOf, batch_size: int) -> Choice:
    """bfloat16 if a model's forward and backward pass on the CPU is ``MIN_GAIN`` times as fast with it.

    The trial takes ``SECONDS`` and a few steps; float32 is kept where torch's bfloat16 is known to be wrong
    (``overstrided``), fails, or gives a loss that is not finite, and where the model takes no smaller batch.

    Args:
        model: in the memory format of the run; neither its weights nor random states change.
        views_of: makes the views of a number of images.
        batch_size: images of a step, at most tried.
    """
    try:
        trial = copy.deepcopy(model).train()
    except Exception as error:  # a module of the user's own that cannot be copied
        if memory_problem(error):
            raise
        return Choice(FLOAT32, f"no trial of bfloat16: the model cannot be copied ({type(error).__name__})")
    with torch.random.fork_rng([]):
        return _tried(trial, views_of, batch_size)


def overstrided(model: Model, views: Mapping[str, View]) -> list[str]:
    """Names of convolutions with a kernel above 1x1 whose stride is larger than a map that they see.

    Their bfloat16 gradients on a CPU are of uninitialised memory in torch 2.15: wrong or not finite. Runs the
    model's encoder in evaluation mode.
    """
    found: dict[str, None] = {}

    def look(name: str, layer: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        if isinstance(layer, nn.Conv2d) and max(layer.kernel_size) > 1:
            images = inputs[0] if inputs else named["input"]
            sides = zip(layer.stride, images.shape[-2:], strict=True)
            if any(stride > side for stride, side in sides):
                found[name] = None

    handles = [
        module.register_forward_pre_hook(partial(look, name), with_kwargs=True)
        for name, module in model.named_modules()
    ]
    try:
        with torch.random.fork_rng([]), eval_mode(model), torch.no_grad():
            model.encode(views)
    finally:
        for handle in handles:
            handle.remove()
    return list(found)


def _tried(model: Model, views_of: ViewsOf, batch_size: int) -> Choice:
    failed = "no trial of bfloat16: a step of fewer images fails"
    try:
        views = views_of(min(4, batch_size))
        if layer := next(iter(overstrided(model, views)), ""):
            return Choice(FLOAT32, f"{layer} {WRONG}")
        views = _measurable(model, views, views_of, batch_size)
        failed = "bfloat16 fails here"
        finite = _is_finite(model, views)
        ratios: list[float] = []
        began = time.monotonic()
        while len(ratios) < ROUNDS[0] or (
            time.monotonic() - began < SECONDS and len(ratios) < ROUNDS[1] and not _is_clear(ratios)
        ):
            full = _step(model, views, False)
            ratios.append(full / _step(model, views, True))
    except Exception as error:  # whatever a layer without bfloat16, or without small batches, raises
        if memory_problem(error):
            raise
        return Choice(FLOAT32, f"{failed}: {type(error).__name__}: {str(error)[:100]}")
    if not finite:
        return Choice(FLOAT32, "the loss or a gradient is not finite in bfloat16")
    gain = statistics.median(ratios)
    return Choice(BFLOAT16 if gain >= MIN_GAIN else FLOAT32, _measured(gain))


def _measured(gain: float) -> str:
    if gain < 1:
        return f"a step in bfloat16 takes {1 / gain:.1f} times as long as in float32{_others()}"
    needed = "" if gain >= MIN_GAIN else f", {MIN_GAIN} is needed"
    return f"a step in bfloat16 is {gain:.2f} times as fast as in float32{needed}"


def _others() -> str:
    """A remark where others use the cores: bfloat16's threads wait for each other without giving them up."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if torch.get_num_threads() == 1 or load <= (os.cpu_count() or 1):
        return ""
    return f"; other processes use these cores (load {load:.1f}), OMP_NUM_THREADS=1 may be faster"


def _measurable(
    model: Model, views: Mapping[str, View], views_of: ViewsOf, batch_size: int
) -> Mapping[str, View]:
    """The views of so many images that a step in float32 takes ``MIN_STEP``, a batch at most."""
    size = min(4, batch_size)
    while True:
        _step(model, views, False)
        if _step(model, views, False) >= MIN_STEP or size >= batch_size:
            return views
        size = min(2 * size, batch_size)
        views = views_of(size)


def _is_clear(ratios: list[float]) -> bool:
    """Whether all rounds agree, by more than their noise."""
    return max(ratios) < 1 or min(ratios) > MIN_GAIN**2


def _step(model: Model, views: Mapping[str, View], half: bool) -> float:
    """Seconds of a forward and backward pass."""
    began = time.perf_counter()
    _backward(model, views, half)
    seconds = time.perf_counter() - began
    model.zero_grad(set_to_none=True)
    return seconds


def _is_finite(model: Model, views: Mapping[str, View]) -> bool:
    """Whether loss and gradients are finite in bfloat16."""
    loss = _backward(model, views, half=True)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    finite = all(bool(t.isfinite().all()) for t in (loss, *gradients))
    model.zero_grad(set_to_none=True)
    return finite


def _backward(model: Model, views: Mapping[str, View], half: bool) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        terms = model(views)
    loss = torch.stack(list(terms.values())).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()
