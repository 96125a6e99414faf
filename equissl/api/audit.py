"""Audit an encoder: which augmentation factors can be read from its features, without labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from equissl.data.base import Data, Dataset, InMemoryDataset
from equissl.data.folder import open_data
from equissl.data.tensors import as_images
from equissl.distributed import limit_threads, resolve_device
from equissl.encoder.encoder import Encoder
from equissl.encoder.features import stated_size
from equissl.errors import UserError, nearest
from equissl.evaluate.audit import audit as readability
from equissl.evaluate.audit.equivariance import audit_equivariance
from equissl.evaluate.audit.options import AuditOptions
from equissl.evaluate.audit.readout import Readout
from equissl.evaluate.audit.record import AuditRecord
from equissl.evaluate.base import Score
from equissl.objective import Predictive
from equissl.params import Params, Space
from equissl.progress import Progress, no_progress, say_nothing
from equissl.runs.load import Loaded, LoadedEncoder, LoadedRun, load_encoder
from equissl.runs.scores import record_scores


def audit(
    model: nn.Module | Encoder | Loaded | Path | str,
    images: Tensor | NDArray[Any] | Dataset | Data | Path | str,
    options: AuditOptions = AuditOptions(),
    *,
    size: int = 0,
    device: str = "cpu",
    progress: Progress = no_progress,
    say: Callable[[str], None] = say_nothing,
    store: Path | None = None,
    keep: Callable[[AuditRecord], object] | None = None,
    **settings: Any,
) -> list[Score]:
    """Which augmentation factors can be read from an encoder's features; needs no labels.

    Args:
        model: a module (B, C, H, W) -> features taking images in [0, 1], or a name as on the command line.
        images: (N, C, H, W) uint8 or float in [0, 1]; a dataset; or a folder, whose images become squares as
            those that the model was trained on.
        size: side at which a folder is read; 0 for the model's own, or 224 for a module that states none.
        say: gets one line that says what will be done and how long it takes.
        store: a folder that keeps what was read, so that the same audit goes on after an interruption.
        keep: called with predictions and images, for ``write_audit``.
        settings: fields of ``AuditOptions`` by name, instead of ``options``.

    Returns:
        Scores "audit/<factor>", with the baselines of ``evaluate.audit.audit``; with ``equivariance=True``
        those of ``evaluate.audit.equivariance`` too.

    Raises:
        UserError: an unknown factor or setting, or the model cannot be loaded or reads no such images.

    Example:
        >>> import torch, equissl
        >>> images = torch.rand(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 16))
        >>> scores = equissl.audit(network, images, factors=("brightness",))
        >>> next(s.name for s in scores if not s.baseline)
        'audit/brightness'
    """
    limit_threads()
    options = with_settings(options, settings)
    images = as_images(images) if isinstance(images, Tensor | np.ndarray) else images
    loaded = (
        load_encoder(str(model), size=size, seed=options.seed) if isinstance(model, Path | str) else model
    )
    if isinstance(loaded, LoadedEncoder | LoadedRun):
        encoder, own_size = loaded.encoder, loaded.config.size
    else:
        encoder = loaded if isinstance(loaded, Encoder) else _plain_encoder(loaded, images, size)
        own_size = encoder.size
    if isinstance(images, Path | str):
        as_trained: Any = (
            {"fit": loaded.fit, "intensity": loaded.intensity}
            if isinstance(loaded, LoadedEncoder | LoadedRun)
            else {}
        )
        images = open_data(images, size or own_size, **as_trained).open_all(progress)
    dataset = images.open("test", progress) if isinstance(images, Data) else _dataset(images)
    device = resolve_device(device)
    encoder.to(device)

    def record(readouts: Mapping[str, Readout], index: Tensor) -> None:
        if keep is not None:
            keep(AuditRecord(readouts, dataset, index, options))

    name = loaded.name if isinstance(loaded, LoadedEncoder | LoadedRun) else ""
    shared: Any = {"device": device, "progress": progress, "model": name}
    scores = readability.audit(encoder, dataset, options, say=say, store=store, keep=record, **shared)
    if options.equivariance:
        say("equivariance: linear maps, curves, and predictors if there are any")
        scores += audit_equivariance(encoder, dataset, scores, modules=_predictors(loaded, device), **shared)
    return scores


def audit_run(
    loaded: LoadedRun,
    data: Data | None = None,
    split: Literal["test", "all"] = "test",
    options: AuditOptions = AuditOptions(),
    *,
    device: str = "cpu",
    progress: Progress = no_progress,
    say: Callable[[str], None] = say_nothing,
    store: Path | None = None,
    keep: Callable[[AuditRecord], object] | None = None,
) -> list[Score]:
    """Audit a run and record scores, predictions and example images in it; arguments as of ``audit``.

    Args:
        data: the recipe's own if absent.
        split: "all" for every image of a folder.
    """
    data = data or loaded.data
    dataset = data.open_all(progress) if split == "all" else data.open(split, progress)
    kept: list[AuditRecord] = []
    scores = audit(
        loaded, dataset, options, device=device, progress=progress, say=say, store=store, keep=kept.append
    )
    for record in kept:
        record.write(loaded.run.path)
        if keep is not None:
            keep(record)
    record_scores(loaded, scores, "audit", data, data.whole if split == "all" else split)
    return scores


def _predictors(loaded: object, device: str) -> dict[str, Predictive]:
    if not isinstance(loaded, LoadedRun):
        return {}
    loaded.model.to(device)
    return {n: m for n, m in loaded.model.modules_by_name.items() if isinstance(m, Predictive)}


def with_settings(options: AuditOptions, settings: Mapping[str, Any]) -> AuditOptions:
    """The options with other values in some fields.

    Raises:
        UserError: a field does not exist.
    """
    known = [f.name for f in fields(options)]
    if unknown := [n for n in settings if n not in known]:
        raise UserError([f"an audit has no setting {n!r}; {nearest(n, known)}" for n in unknown])
    if "factors" in settings:
        settings = {**settings, "factors": tuple(settings["factors"])}
    return replace(options, **settings)


def _plain_encoder(module: nn.Module, images: object, size: int) -> Encoder:
    if isinstance(images, Tensor):
        shape = tuple(images.shape[1:])
    elif isinstance(images, Dataset):
        shape = tuple(next(iter(images.batch(torch.tensor([0])).images.values())).shape[1:])
    else:
        size = size or stated_size(module) or 224
        shape = (3, size, size)
    channels, height, width = shape
    try:
        return Encoder(module, None, (0.0,) * channels, (1.0,) * channels, (channels, height, width))
    except ValueError as error:
        raise UserError(f"model: {error}") from error


def _dataset(images: Tensor | Dataset) -> Dataset:
    if isinstance(images, Dataset):
        return images
    none = torch.full((len(images),), -1)
    return InMemoryDataset(images, Params.of(Space(), {}, count=len(images)), none)
