"""What the package does, as functions: pretrain, resume, evaluate, audit, report, load."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equissl.config import overrides
from equissl.config.serialize import to_dict
from equissl.data.base import Data, Dataset, Resident, Split
from equissl.encoder.encoder import Encoder
from equissl.errors import UserError
from equissl.evaluate import protocol
from equissl.evaluate.audit.audit import audit as audit_encoder
from equissl.evaluate.base import Score
from equissl.evaluate.cache import Store
from equissl.evaluate.classification.transfer import Renumbered
from equissl.evaluate.context import EvaluationContext
from equissl.evaluate.explorer.neighbors import neighbours
from equissl.evaluate.explorer.reconstructions import redrawn
from equissl.evaluate.explorer.steering import Size, steering
from equissl.objective import Draws, Predictive
from equissl.params import Params, Space
from equissl.progress import Progress, no_progress
from equissl.random import shuffled
from equissl.recipe import Recipe
from equissl.runs import folder as runs
from equissl.runs import load as models
from equissl.storage import read_json, write_json, write_rows, write_text
from equissl.training import checkpoint
from equissl.training.loop import train
from equissl.training.options import Options
from equissl.views import make_views

TRAIN_IMAGES = 10_000
DRAWINGS = 6  # samples whose reconstructions are shown in the report


def pretrain(
    recipe: Recipe,
    out: Path | str,
    options: Options = Options(),
    *,
    backbone: nn.Module | None = None,
    name: str = "",
) -> runs.Run:
    """Train a recipe into a new run folder.

    Args:
        backbone: a module of your own, (B, C, H, W) -> (B, D) or (B, D, h, w), instead of the recipe's.
        name: what to call the recipe in tables.

    Raises:
        UserError: with every mistake found.
    """
    return train(recipe, Path(out), options, encoder=models.wrapped(recipe.encoder, backbone), name=name)


def resume(
    run: Path | str,
    changes: Mapping[str, str] | None = None,
    options: Options = Options(),
    *,
    backbone: nn.Module | None = None,
    trusted: Sequence[str] = ("equissl",),
    say: Any = print,
) -> runs.Run:
    """Continue a run exactly where its last checkpoint left it.

    Args:
        changes: recipe settings as text. More ``epochs`` are safe, and ``say`` is told what becomes of the
            schedule; any other difference is refused.

    Raises:
        UserError: the recipe would change, or there is nothing to continue.
    """
    found = runs.open_run(Path(run))
    recipe = found.recipe(trusted)
    wanted = overrides.override(recipe, changes or {}, tuple(trusted))
    state = checkpoint.load(found.checkpoints)
    refuse_changes(recipe, wanted)
    if wanted.epochs == recipe.epochs and state["epoch"] >= recipe.epochs:
        say(f"{found.path} is finished ({recipe.epochs} epochs); epochs=N prolongs it")
        return found
    if wanted != recipe:
        say(
            f"epochs {recipe.epochs} -> {wanted.epochs}: the learning rate now follows a schedule that ends "
            f"at epoch {wanted.epochs}, so it jumps up where the old one had already fallen"
        )
        write_json(found.path / "recipe.json", to_dict(wanted))
    return train(wanted, found.path, options, encoder=models.wrapped(recipe.encoder, backbone), resume=True)


def refuse_changes(old: Recipe, new: Recipe) -> None:
    """Raises UserError unless the recipes differ in nothing but more epochs."""
    before, after = _flat(to_dict(old)), _flat(to_dict(new))
    changed = sorted(k for k in before | after if before.get(k) != after.get(k) and k != "epochs")
    lines = [f"{k}: {before.get(k)!r} -> {after.get(k)!r}" for k in changed]
    if lines:
        listed = "; ".join(lines)
        raise UserError(
            f"a resumed run must keep its recipe, but this differs: {listed}. Start a new run instead"
        )
    if new.epochs < old.epochs:
        raise UserError(f"epochs={new.epochs}: a run can only be prolonged; it was started for {old.epochs}")


def evaluate_run(
    run: Path | str,
    data: Data | None = None,
    *,
    test: Data | None = None,
    test_split: Split = "test",
    evaluations: Sequence[str] = ("usual",),
    changes: Mapping[str, str] | None = None,
    count: int = 1000,
    strict: bool = True,
    steer: int = 12,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = no_progress,
    trusted: Sequence[str] = ("equissl",),
    backbone: nn.Module | None = None,
) -> list[Score]:
    """Score a run and write ``scores.jsonl``, ``neighbours.json`` and ``steering.json`` into its folder.

    Beside the run stand constant, random-weights or standing-still baselines. Features are kept in the
    folder ``features`` of the run and found again as long as weights, images and code are the same.

    Args:
        data: where to evaluate; the recipe's own data if absent.
        test: where the test images come from, if from elsewhere; classes are matched by name.
        test_split: which split of ``test``.
        evaluations: names (``equissl list evaluations``), "usual" or "all".
        changes: their settings as text, "knn.k" -> "200".
        count: test images at most (training images: ten times as many, at most 10,000).
        strict: refuse an evaluation that is named but impossible here, instead of leaving it out.
        steer: images of the steering explorer; 0 for none, which saves drawing about 125 images for each.
        backbone: a module like the one the run was trained with, if that was your own.

    Raises:
        UserError: an unknown name or setting, or an evaluation asked for by name that is impossible here.
    """
    if count < 1:
        raise UserError(f"count must be at least 1, got {count}")
    if steer < 0:
        raise UserError(f"steer must be at least 0, got {steer}")
    questions = protocol.choose(evaluations, changes, seed)
    found = runs.open_run(Path(run))
    loaded = models.load_run(found, trusted, backbone=backbone)
    assert loaded.model is not None and loaded.recipe is not None
    data = data or replace(loaded.recipe.data, size=loaded.recipe.encoder.size)  # type: ignore[type-var]
    train_set = data.open("train", progress)
    test_set = (test or data).open(test_split if test else "test", progress)
    if test is not None and test_set.classes != train_set.classes:
        test_set = Renumbered(test_set, train_set.classes)
    modules = {n: m for n, m in loaded.model.modules_by_name.items() if isinstance(m, Predictive)}
    loaded.model.to(device)
    subject = EvaluationContext(
        loaded.encoder,
        {"train": train_set, "test": test_set},
        {
            "train": _sample(train_set, min(10 * count, TRAIN_IMAGES), seed),
            "test": _sample(test_set, count, seed),
        },
        modules,
        Store(found.path / "features"),
        seed,
        device,
        progress,
    )
    scores = protocol.ask(questions, subject, strict=[n for n in evaluations if strict and n in questions])
    images = neighbours(subject.features("test"), test_set, subject.rows["test"])
    write_text(found.path / "neighbours.json", _json(images))
    if steer:
        shown = steering(
            modules,
            loaded.encoder,
            test_set,
            subject.rows["test"],
            size=Size(images=steer),
            seed=seed,
            device=device,
            progress=progress,
        )
        write_text(found.path / "steering.json", _json(shown))
    twin = replace(subject, encoder=loaded.random_twin(seed).to(device), modules={})
    # The twin is itself a baseline: what is compared with it is not repeated.
    scores += [
        replace(s, baseline="random")
        for s in protocol.ask(questions, twin)
        if not s.baseline and s.part == "all"
    ]
    drawings = _drawings(loaded, test_set, subject.rows["test"][:DRAWINGS], seed, device)
    if drawings:
        write_text(found.path / "drawings.json", _json(drawings))
    record(found, scores, "evaluate", loaded, data, source=described(data, test))
    return scores


def _sample(dataset: Dataset, count: int, seed: int) -> Tensor:
    """Up to ``count`` samples by chance, labelled ones if there are any."""
    order = shuffled(len(dataset), seed, "evaluate")
    labelled = order[dataset.labels[order] >= 0]
    return (labelled if len(labelled) else order)[:count]


@torch.no_grad()
def _drawings(
    loaded: models.Loaded, dataset: Dataset, index: Tensor, seed: int, device: str
) -> dict[str, object]:
    """What the run's modules draw of some images; empty if none of them draws, or if the data has not the
    images that the run's views are made of.
    """
    assert loaded.model is not None and loaded.recipe is not None
    modules = {n: m for n, m in loaded.model.modules_by_name.items() if isinstance(m, Draws)}
    specs = loaded.recipe.views
    if not modules or not {s.image for s in specs.values()} <= set(dataset.spaces):
        return {}
    made = make_views(dataset.batch(index).to(device), specs, seed)
    return redrawn(modules, made, loaded.model.encode(made))


def audit(
    model: nn.Module | Encoder | models.Loaded | str,
    images: Tensor | Dataset | Data | Path | str,
    *,
    count: int = 1000,
    factors: Sequence[str] = (),
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> list[Score]:
    """Which augmentation factors can be read from an encoder's features; needs no labels.

    Args:
        model: a module (B, C, H, W) -> features taking images in [0, 1], or a name as on the command line.
        images: (N, C, H, W) uint8 or float in [0, 1]; a dataset; or a folder.
        factors: names of ``AUDITS`` entries; all if empty.

    Returns:
        Scores "audit/<factor>", with baselines "constant" and "random" (the same layers, untrained).
    """
    loaded = models.load(model) if isinstance(model, str) else model
    if isinstance(loaded, models.Loaded):
        encoder, twin, size = loaded.encoder, loaded.random_twin(seed), loaded.config.size
    else:
        encoder = loaded if isinstance(loaded, Encoder) else _plain_encoder(loaded, images)
        twin, size = _untrained(encoder, seed), encoder.size
    dataset = _dataset(images, size, progress)
    encoder.to(device)
    return audit_encoder(
        encoder,
        dataset,
        random=twin.to(device) if twin is not None else None,
        count=count,
        factors=tuple(factors) or None,
        seed=seed,
        device=device,
        progress=progress,
    )


def record(
    run: runs.Run,
    scores: Iterable[Score],
    by: str,
    loaded: models.Loaded,
    data: Data,
    split: str = "test",
    source: str = "",
) -> list[dict[str, Any]]:
    """Add rows to ``scores.jsonl``, in place of earlier ones of the same name, data and split.

    Args:
        source: what the rows say of the data, instead of what is known of ``data``.
    """
    facts = run_facts(run, loaded, data) | {"by": by, "split": split}
    facts |= {"data": source} if source else {}
    rows = [{**s.row(), **facts, "probe_seed": s.seed} for s in scores]
    again = {(r["name"], r["data"], r["split"]) for r in rows}
    kept = [r for r in run.rows("scores.jsonl") if (r["name"], r["data"], r["split"]) not in again]
    write_rows(run.path / "scores.jsonl", [*kept, *rows])
    runs.cite(run, rows)
    return rows


def run_facts(run: runs.Run, loaded: models.Loaded, data: Data) -> dict[str, Any]:
    """What identifies a run in a row of scores."""
    stored = read_json(run.path / "environment.json")
    return {
        "model": run.path.name,
        "recipe": stored.get("recipe", ""),
        "seed": loaded.recipe.seed if loaded.recipe else 0,
        "data": described(data),
        "step": loaded.step,
    }


def described(data: Data, test: Data | None = None) -> str:
    """What rows say of the data: its kind and folder, and those of test images from elsewhere."""
    where = getattr(data, "path", None)
    name = f"{type(data).__name__} {where}" if where else type(data).__name__
    return f"{name} -> {described(test)}" if test is not None else name


def load_backbone(path: Path | str, **how: Any) -> Encoder:
    """The encoder of a run folder or an exported folder: images (B, C, H, W) in [0, 1] -> ``Encoded``.

    Args:
        how: passed to ``equissl.runs.load.load``.
    """
    return models.load(str(path), **how).encoder


def _untrained(encoder: Encoder, seed: int) -> Encoder:
    """A copy with fresh weights, as far as its layers know how to draw them."""
    twin = copy.deepcopy(encoder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for layer in twin.modules():
            reset = getattr(layer, "reset_parameters", None)
            if callable(reset):
                reset()
    return twin


def _plain_encoder(module: nn.Module, images: object) -> Encoder:
    shape = tuple(images.shape[1:]) if isinstance(images, Tensor) else (3, 224, 224)
    channels, height, width = shape
    return Encoder(module, None, (0.0,) * channels, (1.0,) * channels, (channels, height, width))


def _dataset(images: Tensor | Dataset | Data | Path | str, size: int, progress: Progress) -> Dataset:
    if isinstance(images, Dataset):
        return images
    if isinstance(images, Tensor):
        pixels = images if images.dtype == torch.uint8 else (images * 255).round().to(torch.uint8)
        none = torch.full((len(pixels),), -1)
        return Resident(pixels, Params.of(Space(), {}, count=len(pixels)), none)
    if isinstance(images, Data):
        return images.open("test", progress)
    from equissl.data.image_folder import ImageFolder

    return ImageFolder(path=str(images), size=size, test_share=0.0).open("train", progress)


def _flat(plain: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(plain, dict):
        return {k: v for name, value in plain.items() for k, v in _flat(value, f"{prefix}{name}.").items()}
    return {prefix.rstrip("."): plain}


def _json(value: object) -> str:
    import json

    return json.dumps(value)
