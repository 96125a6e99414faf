"""What the package does, as functions: pretrain, resume, evaluate, audit, report, load."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equissl import checkpoint, models, runs, settings
from equissl.data.base import Data, Dataset, Progress, Resident, quiet
from equissl.encoder.encoder import Encoder
from equissl.errors import UserError
from equissl.evaluate.audit import audit as audit_encoder
from equissl.evaluate.audits import AUDITS, factors_of
from equissl.evaluate.base import Evaluation, Score, Table
from equissl.evaluate.collapse import Collapse
from equissl.evaluate.embedded import embed, whole_objects
from equissl.evaluate.extract import extract
from equissl.evaluate.factors import Factors
from equissl.evaluate.knn import KNN
from equissl.evaluate.linear import LinearProbe
from equissl.evaluate.measures import measure
from equissl.evaluate.neighbours import neighbours
from equissl.evaluate.retrieval import retrieval
from equissl.model import Model
from equissl.objective import Predictive
from equissl.params import Params, Space
from equissl.random import shuffled
from equissl.recipe import Recipe, to_plain
from equissl.train import Options, train

TRAIN_PICTURES = 10_000


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
    wanted = settings.override(recipe, changes or {}, tuple(trusted))
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
        runs.write_json(found.path / "recipe.json", to_plain(wanted))
    return train(wanted, found.path, options, encoder=models.wrapped(recipe.encoder, backbone), resume=True)


def refuse_changes(old: Recipe, new: Recipe) -> None:
    """Raises UserError unless the recipes differ in nothing but more epochs."""
    before, after = _flat(to_plain(old)), _flat(to_plain(new))
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
    count: int = 1000,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = quiet,
    trusted: Sequence[str] = ("equissl",),
    backbone: nn.Module | None = None,
) -> list[Score]:
    """Score a run and write ``scores.jsonl`` and ``neighbours.json`` into its folder.

    A linear probe and kNN where there are labels, the factors that the data knows, and for every module that
    predicts, EquiMod's measures; each beside constant, random-weights or standing-still baselines.

    Args:
        data: where to evaluate; the recipe's own data if absent.
        count: test pictures at most (training pictures: ten times as many, at most 10,000).
        backbone: a module like the one the run was trained with, if that was your own.
    """
    if count < 1:
        raise UserError(f"count must be at least 1, got {count}")
    found = runs.open_run(Path(run))
    loaded = models.load_run(found, trusted, backbone=backbone)
    assert loaded.model is not None and loaded.recipe is not None
    data = data or replace(loaded.recipe.data, size=loaded.recipe.encoder.size)  # type: ignore[type-var]
    train_set, test_set = data.open("train", progress), data.open("test", progress)
    chosen = [
        _sample(s, n, seed) for s, n in ((train_set, min(10 * count, TRAIN_PICTURES)), (test_set, count))
    ]
    scores: list[Score] = []
    for baseline, encoder in (("", loaded.encoder), ("random", loaded.random_twin(seed))):
        encoder.to(device)
        train_table, test_table = (
            extract(encoder, s, index=index, seed=seed, device=device, progress=progress)
            for s, index in zip((train_set, test_set), chosen, strict=True)
        )
        scores += probe(train_table, test_table, baseline)
        if not baseline:
            pictures = neighbours(test_table, test_set, chosen[1])
            runs.write_text(found.path / "neighbours.json", _json(pictures))
    loaded.model.to(device)
    scores += measures(loaded.model, test_set, chosen[1], seed, device, progress)
    scores += retrievals(loaded.model, test_set, count, seed, device, progress)
    record(found, scores, "evaluate", loaded, data)
    return scores


def _sample(dataset: Dataset, count: int, seed: int) -> Tensor:
    """Up to ``count`` samples by chance, labelled ones if there are any."""
    order = shuffled(len(dataset), seed, "evaluate")
    labelled = order[dataset.labels[order] >= 0]
    return (labelled if len(labelled) else order)[:count]


def probe(train_table: Table, test_table: Table, baseline: str = "") -> list[Score]:
    """Every evaluation that has a meaning for these tables."""
    evaluations: Iterable[Evaluation] = (LinearProbe(), KNN(), Factors(), Collapse())
    scores = [s for e in evaluations for s in e.run(train_table, test_table)]
    if baseline:  # the twin is itself a baseline: what is compared with it is not repeated
        return [replace(s, baseline=baseline) for s in scores if not s.baseline and s.part == "all"]
    return scores


def measures(
    model: Model, dataset: Dataset, index: Tensor, seed: int, device: str, progress: Progress
) -> Iterator[Score]:
    """EquiMod's measures of every module that predicts, per augmentation it knows."""
    for name, module in model.modules_by_name.items():
        if not isinstance(module, Predictive):
            continue
        known = set(module.space.names)
        fitting = {k: a for k, a in AUDITS.items() if set(factors_of(k)) & known}
        for score in measure(
            module, model.encoder, dataset, fitting, index=index, seed=seed, device=device, progress=progress
        ):
            yield replace(score, extra={**score.extra, "module": name})


def retrievals(
    model: Model, dataset: Dataset, count: int, seed: int, device: str, progress: Progress
) -> Iterator[Score]:
    """MRR, H@k and PRE of every module whose factors the data knows, on whole objects of several pictures."""
    index = whole_objects(dataset.groups, count, seed)
    if len(torch.unique(dataset.groups[index])) == len(index):
        return
    for name, module in model.modules_by_name.items():
        if not isinstance(module, Predictive) or not set(module.space.names) & set(
            dataset.spaces["image"].names
        ):
            continue
        embedded = embed(module, model.encoder, dataset, index=index, device=device, progress=progress)
        for score in retrieval(module, embedded, seed=seed, device=device, progress=progress):
            yield replace(score, extra={**score.extra, "module": name})


def audit(
    model: nn.Module | Encoder | models.Loaded | str,
    images: Tensor | Dataset | Data | Path | str,
    *,
    count: int = 1000,
    factors: Sequence[str] = (),
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = quiet,
) -> list[Score]:
    """Which augmentation factors can be read from an encoder's features; needs no labels.

    Args:
        model: a module (B, C, H, W) -> features taking pictures in [0, 1], or a name as on the command line.
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
    run: runs.Run, scores: Iterable[Score], by: str, loaded: models.Loaded, data: Data, split: str = "test"
) -> list[dict[str, Any]]:
    """Add rows to ``scores.jsonl``, in place of earlier ones of the same name, data and split."""
    facts = run_facts(run, loaded, data) | {"by": by, "split": split}
    rows = [{**s.row(), **facts, "probe_seed": s.seed} for s in scores]
    again = {(r["name"], r["data"], r["split"]) for r in rows}
    kept = [r for r in run.rows("scores.jsonl") if (r["name"], r["data"], r["split"]) not in again]
    runs.write_rows(run.path / "scores.jsonl", [*kept, *rows])
    return rows


def run_facts(run: runs.Run, loaded: models.Loaded, data: Data) -> dict[str, Any]:
    """What identifies a run in a row of scores."""
    stored = runs.read_json(run.path / "environment.json")
    where = getattr(data, "path", None)
    return {
        "model": run.path.name,
        "recipe": stored.get("recipe", ""),
        "seed": loaded.recipe.seed if loaded.recipe else 0,
        "data": f"{type(data).__name__} {where}" if where else type(data).__name__,
        "step": loaded.step,
    }


def load_backbone(path: Path | str, **how: Any) -> Encoder:
    """The encoder of a run folder or an exported folder: pictures (B, C, H, W) in [0, 1] -> ``Encoded``.

    Args:
        how: passed to ``equissl.models.load``.
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
