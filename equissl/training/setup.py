"""From a recipe to what a training step needs: data opened, engine chosen, model and optimizer built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from equissl.augment import native
from equissl.augment.engine import resolve_engine
from equissl.config.own_code import own_errors_in_words
from equissl.data.base import Data, Dataset
from equissl.data.batch import Batch
from equissl.data.loader import batches_per_epoch
from equissl.data.tensors import check_values
from equissl.encoder.backbone import BackboneConfig
from equissl.encoder.encoder import Encoder
from equissl.encoder.modes import eval_mode
from equissl.encoder.weights import Say, silent
from equissl.errors import UserError, memory_problem
from equissl.model import Model
from equissl.nn.sync_batch_norm import synchronise_batch_norm
from equissl.progress import Progress
from equissl.recipe import Recipe, check_targets
from equissl.training.loggers import check_installed
from equissl.training.optim import parameter_groups
from equissl.training.options import Options
from equissl.views import View, check_interpolated, check_replays, make_views

NUM_TRIED = 4  # images that the augmentations are tried on before a run starts


@dataclass(frozen=True)
class Plan:
    """A recipe resolved against its data and devices."""

    recipe: Recipe
    dataset: Dataset
    steps_per_epoch: int

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.recipe.epochs

    def lr_at(self, step: int) -> float:
        """The learning rate of step ``step``, from 0."""
        recipe = self.recipe
        return recipe.schedule.lr_at(step, recipe.optimizer.lr, self.total_steps, self.steps_per_epoch)


def resolve(recipe: Recipe, options: Options, fabric: Fabric, progress: Progress) -> Plan:
    """Open the data, choose the engine, count the steps.

    Raises:
        UserError: data that cannot be read, a batch size that does not fit, a logger that is not installed.
    """
    # Written into the run, so that it is resumed and evaluated with what it was started with.
    engine, data = resolve_engine(recipe.engine, fabric.device), recipe.data.resolve(progress)
    recipe = replace(recipe, engine=engine, data=data)
    dataset = open_dataset(recipe.data, progress).to(fabric.device)
    recipe = replace(recipe, data=recipe.data.opened())
    steps_per_epoch = batches_per_epoch(dataset, recipe.batch_size, distinct_groups=recipe.distinct_objects)
    if recipe.batch_size % fabric.world_size:
        raise UserError(f"batch_size={recipe.batch_size} cannot be divided among {fabric.world_size} devices")
    check_installed(options.loggers)
    return Plan(recipe, dataset, steps_per_epoch)


def open_dataset(data: Data, progress: Progress) -> Dataset:
    """The training split, with a few samples looked at.

    Raises:
        UserError: it cannot be opened, or is no dataset whose samples can be read twice alike.
    """
    with own_errors_in_words(data, "open"):
        dataset: object = data.open("train", progress)
    if not isinstance(dataset, Dataset):
        kind = type(data).__name__
        raise UserError(f"data: {kind}.open returned a {type(dataset).__name__}, expected a Dataset")
    with own_errors_in_words(dataset, "labels, groups or batch"):
        count = len(dataset)
        for name, rows in {"labels": len(dataset.labels), "groups": len(dataset.groups)}.items():
            if rows != count:
                raise UserError(f"data: {count} samples, but {rows} rows of {name}")
        index = torch.arange(min(NUM_TRIED, count))
        first, again = dataset.batch(index), dataset.batch(index)
    for name, images in first.images.items():
        check_values(images, f"data: images {name!r}")
        if not torch.equal(images, again.images[name]):
            raise UserError(
                f"data: images {name!r} differ when they are read again, so a run could not be resumed; "
                "leave random changes to the views' augmentations"
            )
    return dataset


class Opaque:
    """Views that Fabric passes on as they are: it would rebuild frozen dataclasses field by field."""

    def __init__(self, views: Mapping[str, View]):
        self.views = views


class OpaqueForward(nn.Module):
    """The module that Fabric wraps: a model that takes ``Opaque`` views."""

    def __init__(self, model: Model):
        super().__init__()
        self.model = model

    def forward(self, opaque: Opaque) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = self.model(opaque.views)
        return terms


@dataclass(frozen=True)
class Learner:
    """A model, the same model as Fabric wraps it (for ``Opaque`` views), and its optimizer."""

    fabric: Fabric
    model: Model
    wrapped: nn.Module
    optimizer: torch.optim.Optimizer


def check_weights(config: BackboneConfig, say: Say = silent) -> None:
    """Load the weights that training begins with, before anything long; ``say`` is called with what they are.

    Raises:
        UserError: they cannot be fetched or read, or do not fit the backbone.
    """
    with torch.random.fork_rng():
        config.build(say)


def build(plan: Plan, fabric: Fabric, encoder: Encoder | None = None, weights: bool = True) -> Learner:
    """Model and optimizer; arguments and errors as of ``build_model`` and ``set_up``."""
    return set_up(plan, fabric, build_model(plan, fabric.device, encoder, weights))


def build_model(
    plan: Plan, device: torch.device, encoder: Encoder | None = None, weights: bool = True
) -> Model:
    """The model on a device; random weights depend on the recipe's seed alone.

    Args:
        encoder: used instead of the one the recipe describes.
        weights: load those that the recipe's encoder begins with; a checkpoint replaces them all.

    Raises:
        UserError: views or objectives that do not fit, an augmentation that cannot be replayed.
    """
    recipe = plan.recipe
    torch.manual_seed(recipe.seed)
    begin = recipe.encoder if weights else replace(recipe.encoder, weights="")
    model = replace(recipe, encoder=begin).build(plan.dataset.spaces, encoder)
    check_targets(recipe)
    check_interpolated(recipe.views)
    batch = plan.dataset.batch(torch.arange(min(NUM_TRIED, len(plan.dataset))))
    check_replays(recipe.views, batch)
    check_encoded(recipe, model, batch)
    if recipe.channels_last:
        model.to(memory_format=torch.channels_last)
    return model.to(device)


def set_up(plan: Plan, fabric: Fabric, model: Model) -> Learner:
    """A model and its optimizer, made ready for the precision and the processes of a ``Fabric``.

    Raises:
        UserError: optimizer settings that do not fit.
    """
    recipe = plan.recipe
    if recipe.compile:
        model.encoder.compile()
    if fabric.world_size > 1:
        synchronise_batch_norm(model, fabric.device)
    try:
        optimizer = recipe.optimizer.build(parameter_groups(model, model.fixed_lr))
    except ValueError as error:
        raise UserError(f"optimizer: {error}") from error
    wrapped, optimizer = fabric.setup(OpaqueForward(model), optimizer)
    return Learner(fabric, model, wrapped, optimizer)


def check_encoded(recipe: Recipe, model: Model, batch: Batch) -> None:
    """Encode the views of a few images; neither weights nor random states change.

    Raises:
        UserError: the encoder cannot read a view, for example one with masked patches without a mask token.
    """
    device = model.encoder.mean.device
    with torch.random.fork_rng(), eval_mode(model):
        views = make_views(batch.to(device), recipe.views, recipe.seed)
        try:
            encoded = model.encode(views)
        except ValueError as error:
            raise UserError(f"views: {error}") from error
        except Exception as error:  # whatever a module of the user's own raises
            if memory_problem(error):
                raise
            raise UserError(f"views: the encoder fails: {type(error).__name__}: {error}") from error
    for name, part in encoded.items():
        if part.vector.shape != (len(views[name].images), model.encoder.width()):
            raise UserError(
                f"encoder: it makes features {tuple(part.vector.shape)} of view {name!r} and of other images "
                f"{model.encoder.width()} columns"
            )
    trained = any(p.requires_grad for p in model.encoder.parameters())
    if trained and encoded and not any(e.vector.requires_grad for e in encoded.values()):
        raise UserError(
            "encoder: its features carry no gradient, so it would not be trained (detach() or no_grad() in "
            "the backbone?); to leave it as it is on purpose, set requires_grad_(False) on its parameters"
        )


def first_views(plan: Plan, count: int) -> dict[str, View]:
    """The views of the first ``count`` images, at most, on the device of the dataset."""
    batch = plan.dataset.batch(torch.arange(min(count, len(plan.dataset))))
    return make_views(batch, plan.recipe.views, plan.recipe.seed, 0, plan.recipe.engine)


def run_facts(plan: Plan, learner: Learner) -> dict[str, Any]:
    """What ``environment.json`` says of the data, the model, the devices and what makes the views."""
    return {
        "images": len(plan.dataset),
        "steps_per_epoch": plan.steps_per_epoch,
        "parameters": sum(p.numel() for p in learner.model.encoder.parameters()),
        "device": str(learner.fabric.device),
        "devices": learner.fabric.world_size,
        "weights": str(learner.model.encoder.loaded_weights or "random"),
        "engine": plan.recipe.engine,
        "instruction_set": native.instruction_set() if plan.recipe.engine == "native" else None,
    }
