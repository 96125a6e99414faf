"""Audit an encoder: which augmentation factors can be read from its features, without labels."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from equissl.data.base import Data, Dataset, InMemoryDataset
from equissl.data.folder import open_data
from equissl.encoder.encoder import Encoder
from equissl.evaluate.audit import audit as readability
from equissl.evaluate.base import Score
from equissl.params import Params, Space
from equissl.progress import Progress, no_progress
from equissl.runs.load import Loaded, LoadedEncoder, LoadedRun, load_encoder, random_baseline
from equissl.runs.scores import record_scores


def audit(
    model: nn.Module | Encoder | Loaded | Path | str,
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

    Example:
        >>> import torch, equissl
        >>> images = torch.rand(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 16))
        >>> scores = equissl.audit(network, images, factors=["brightness"])
        >>> sorted({(s.name, s.baseline) for s in scores})
        [('audit/brightness', ''), ('audit/brightness', 'constant'), ('audit/brightness', 'random')]
    """
    loaded = load_encoder(str(model)) if isinstance(model, Path | str) else model
    if isinstance(loaded, LoadedEncoder | LoadedRun):
        encoder, size = loaded.encoder, loaded.config.size
        baseline = random_baseline(loaded.config, seed)
    else:
        encoder = loaded if isinstance(loaded, Encoder) else _plain_encoder(loaded, images)
        baseline, size = _untrained(encoder, seed), encoder.size
    dataset = _dataset(images, size, progress)
    encoder.to(device)
    return readability.audit(
        encoder,
        dataset,
        random=baseline.to(device),
        count=count,
        factors=tuple(factors) or None,
        seed=seed,
        device=device,
        progress=progress,
        model=loaded.name if isinstance(loaded, LoadedEncoder | LoadedRun) else "",
    )


def audit_run(
    loaded: LoadedRun,
    data: Data | None = None,
    split: Literal["test", "all"] = "test",
    *,
    count: int = 1000,
    factors: Sequence[str] = (),
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> list[Score]:
    """Audit a run and record the scores in its ``scores.jsonl``; arguments as of ``audit``.

    Args:
        data: the recipe's own if absent.
        split: "all" for data that is not split: its training split holds everything.
    """
    data = data or loaded.data
    dataset = data.open("train" if split == "all" else split, progress)
    scores = audit(loaded, dataset, count=count, factors=factors, seed=seed, device=device, progress=progress)
    record_scores(loaded, scores, "audit", data, split)
    return scores


def _untrained(encoder: Encoder, seed: int) -> Encoder:
    """A copy with new weights, of all layers that have ``reset_parameters``."""
    untrained = copy.deepcopy(encoder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for layer in untrained.modules():
            reset = getattr(layer, "reset_parameters", None)
            if callable(reset):
                reset()
    return untrained


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
        return InMemoryDataset(pixels, Params.of(Space(), {}, count=len(pixels)), none)
    if isinstance(images, Data):
        return images.open("test", progress)
    return open_data(images, size, test_fraction=0.0).open("train", progress)
