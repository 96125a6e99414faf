"""The recipe of a repair: fine-tuning that adds forgotten factors to what an encoder's features hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from equissl.auto.feasibility import feasibility_warnings, unidentifiable
from equissl.auto.requirements import change_targets, kept_factors, policy
from equissl.auto.selection import with_settings
from equissl.data.base import Data, Dataset
from equissl.data.folder import data_settings, open_data, split_of_tests
from equissl.data.given_images import Images
from equissl.encoder.backbone import BackboneConfig
from equissl.equivariance.augself import AugSelf
from equissl.errors import UserError
from equissl.evaluate.audit.options import MIN_IMAGES
from equissl.invariance.feature_distillation import FeatureDistillation
from equissl.progress import Progress, no_progress
from equissl.recipe import Recipe, Weighted
from equissl.runs.load import Loaded, LoadedRun, load_encoder
from equissl.runs.scores import describe_data
from equissl.training.optim import AdamW, WarmupCosine
from equissl.views import ViewSpec

BATCH_SIZE = 64
STEPS = 400
MAX_EPOCHS = 100
PLAIN, MOVED = "plain", "moved"
TEST_FRACTION = 0.2  # of a folder without a test split


@dataclass(frozen=True)
class Repair:
    """A planned repair.

    Args:
        original: the encoder as it is.
        recipe: the fine-tuning.
        test: images that are held out; the audits are of these.
        source: where all images come from, in words.
        reasons: what was decided, and warnings, a line each.
    """

    original: Loaded
    recipe: Recipe
    train: Dataset
    test: Dataset
    source: str
    reasons: tuple[str, ...]


def plan_repair(
    model: Loaded | Path | str,
    data: Images,
    keep: Sequence[str],
    *,
    test: Images | None = None,
    labels: str = "none",
    limit: int | None = None,
    settings: Mapping[str, str] | None = None,
    seed: int = 0,
    trusted: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Repair:
    """Everything that ``equissl.repair`` checks before it trains; arguments and errors as there."""
    kept, warnings = kept_factors(keep)
    loaded = model if not isinstance(model, Path | str) else load_encoder(str(model), trusted=trusted)
    begin = _begin(loaded)
    of_data, settings = data_settings(settings or {})
    train_data, train, test_set, source = _open(loaded, data, test, labels, limit, progress, of_data)
    recipe = replace(repair_recipe(begin, train_data, kept, len(train)), seed=seed)
    recipe = with_settings(recipe, settings, tuple(trusted))
    if recipe.encoder != begin:
        raise UserError("encoder.* cannot be set: MODEL decides the encoder")
    if problems := unidentifiable(recipe):
        raise UserError(problems)
    warnings += [*train_data.remarks(), *feasibility_warnings(recipe)]
    reasons = (recipe.about, *(f"warning: {line}" for line in warnings))
    return Repair(loaded, recipe, train, test_set, source, reasons)


def repair_recipe(encoder: BackboneConfig, data: Data, keep: Sequence[str], images: int) -> Recipe:
    """Fine-tune an encoder so that factors can be read from its features; nothing is trained here.

    Two views of an image: as it is, and with the kept factors sampled. AugSelf predicts their change from one
    to the other, so the features must hold it; feature distillation from the encoder as it was, on both
    views, asks that they still hold what they held before.

    Args:
        encoder: with the weights to start from.
        data: images at the encoder's size.
        keep: names in ``auto.FACTORS``.
        images: number of training images, which decides the number of epochs.
    """
    views = {
        PLAIN: ViewSpec(policy(encoder.size, (), keep, vary_kept=False)),
        MOVED: ViewSpec(policy(encoder.size, (), keep)),
    }
    module = AugSelf.Config(pair=(PLAIN, MOVED), targets=change_targets(keep), hidden=(256,))
    batch_size = max(2, min(BATCH_SIZE, images))
    steps_per_epoch = max(1, images // batch_size)
    return Recipe(
        data=data,
        views=views,
        encoder=encoder,
        base=FeatureDistillation.Config(views=(PLAIN, MOVED)),
        modules={"kept": Weighted(module=module)},
        optimizer=AdamW(lr=3e-4, weight_decay=1e-4),
        schedule=WarmupCosine(warmup_epochs=1),
        epochs=max(1, min(MAX_EPOCHS, round(STEPS / steps_per_epoch))),
        batch_size=batch_size,
        batch_norm="frozen",
        precision="auto",
        clip_gradient=1.0,
        monitor_every=0,
        about=f"keep {', '.join(keep)}; AugSelf + feature distillation from the encoder as it was",
    )


def _begin(loaded: Loaded) -> BackboneConfig:
    """The config of the encoder with the weights that it has.

    Raises:
        UserError: it has no trained weights that can be trained further.
    """
    name = loaded.name
    if not any(p.requires_grad for p in loaded.encoder.parameters()):
        raise UserError(f"{name!r} has no weights that torch can train, so it cannot be repaired")
    if loaded.backbone is not None:
        return replace(loaded.config, weights="")
    if isinstance(loaded, LoadedRun):
        return replace(loaded.config, weights=str(loaded.run.path.resolve()))
    if not loaded.config.weights:
        raise UserError(
            f"{name!r} has random weights, so there is nothing to repair; write {name.split()[0]}@pretrained "
            "or @FILE"
        )
    path = Path(loaded.config.weights)
    return replace(loaded.config, weights=str(path.resolve()) if path.exists() else loaded.config.weights)


def _open(
    loaded: Loaded,
    data: Images,
    test: Images | None,
    labels: str,
    limit: int | None,
    progress: Progress,
    settings: Mapping[str, str],
) -> tuple[Data, Dataset, Dataset, str]:
    """The training data and its dataset, the held-out images, and what they are called.

    Raises:
        UserError: too few images.
    """
    held_out = TEST_FRACTION if test is None else 0.0
    train_data = _data(loaded, data, labels, held_out, limit, settings).resolve(progress)
    train = train_data.open("train", progress)
    test_data = train_data
    if test is not None:
        test_data = _data(loaded, test, labels, 0.0, limit, settings).like(train_data)
    test_set = test_data.open("test" if test is None else split_of_tests(test_data), progress)
    for dataset, what in ((train, "to learn from"), (test_set, "held out for the audits")):
        if len(dataset) < MIN_IMAGES:
            raise UserError(
                f"data: {len(dataset)} images {what}, but a repair needs at least {MIN_IMAGES} (a folder "
                f"without a test split gives a fifth of its images); add images, or name others as test=DIR"
            )
    return train_data, train, test_set, describe_data(train_data, None if test is None else test_data)


def _data(
    loaded: Loaded,
    data: Images,
    labels: str,
    test_fraction: float,
    limit: int | None,
    settings: Mapping[str, str],
) -> Data:
    if isinstance(data, Data):
        any_data: Any = data  # every Data is a dataclass with a field ``size``
        resized: Data = replace(any_data, size=loaded.config.size)
        return resized
    as_trained: Any = {"fit": loaded.fit, "intensity": loaded.intensity, "settings": settings}
    return open_data(data, loaded.config.size, labels, test_fraction=test_fraction, limit=limit, **as_trained)
