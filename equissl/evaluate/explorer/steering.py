"""The steering explorer's data: predicted embeddings of changed images, and the images nearest to them.

Every position of every slider is computed beforehand, one slider at a time, so that the page works without a
network, for any module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from equissl.augment.batched import as_float
from equissl.config.validation import Checked
from equissl.data.base import Dataset
from equissl.encoder.encoder import Encoder
from equissl.encoder.modes import eval_mode
from equissl.evaluate.explorer.neighbors import sample_per_class
from equissl.evaluate.explorer.sources import Bank, Network, start_source, to_rows
from equissl.evaluate.explorer.sprite import sprite
from equissl.evaluate.features import whole_batch
from equissl.objective import Predictive
from equissl.params import concatenate
from equissl.progress import Progress, no_progress
from equissl.random import shuffled

NO_PREDICTOR = "no module of this run predicts embeddings (EquiMod and SIE do), so there is nothing to steer"
NO_FACTOR = "reads no factor that can be moved: none that the data records, none of the audit's augmentations"
TOO_FEW_IMAGES = "steering needs at least two images"
_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class ExplorerSize(Checked):
    """Size of the steering explorer.

    Args:
        images: to start from.
        others: images that are searched, beside those of the started objects.
        views: images of a started object, at most.
        steps: positions of a slider, about.
        nearest: images found per position.
    """

    images: int = 12
    others: int = 300
    views: int = 50
    steps: int = 25
    nearest: int = 5

    def __post_init__(self) -> None:
        for name, least in (("images", 1), ("others", 1), ("views", 1), ("steps", 3), ("nearest", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")


def steering(
    modules: Mapping[str, Predictive],
    encoder: Encoder,
    dataset: Dataset,
    rows: Tensor,
    *,
    size: ExplorerSize = ExplorerSize(),
    image: str = "image",
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = no_progress,
) -> dict[str, object]:
    """What ``steering.json`` holds: ``{"explorers": [one per module], "note": why one is missing}``.

    The truth of a position is what the data renders for the changed factors ("rendered"), the image after the
    augmentation ("augmented"), or else the recorded image of the same object whose factors are nearest to
    the target ones ("recorded"). Similarities are cosines of ``predict`` and ``target``;
    "identity_similarity" is that of the identity baseline, the embedding of the source image itself.
    Candidates are real images without the source image and, for an augmentation, also the versions that its
    sweeps make of the source image.

    Args:
        modules: by name, on ``device``.
        rows: (N,) samples that may be shown.
        seed: of the choice of images to search.
    """
    explorers: list[dict[str, Any]] = []
    notes = [] if modules else [NO_PREDICTOR]
    if len(rows) < 2:
        return {"explorers": explorers, "note": TOO_FEW_IMAGES}
    for name, module in modules.items():
        parts = [m for m in (module, encoder) if isinstance(m, nn.Module)]
        with eval_mode(*parts), torch.inference_mode():
            network = Network(module, encoder, device)
            explorer = _explorer(network, dataset, rows, size, image, seed, progress)
        if explorer["sources"]:
            explorers.append({"name": name, **explorer})
        else:
            notes.append(f"{name} {NO_FACTOR}")
    return {"explorers": explorers, "note": "; ".join(notes)}


def _explorer(
    network: Network,
    dataset: Dataset,
    rows: Tensor,
    size: ExplorerSize,
    image: str,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    chosen = rows[sample_per_class(dataset.labels[rows], size.images)]
    bank = _bank(network, dataset, chosen, rows, size, image, seed)
    sources = []
    for done, row in enumerate(chosen.tolist()):
        source, versions = start_source(network, dataset, bank, row, size.steps)
        sources += [to_rows(source, versions, size.nearest)] if source.sweeps else []
        progress("steering", done + 1, len(chosen))
    labels, names = dataset.labels[bank.rows].tolist(), dataset.classes
    searched = {
        "sprite": sprite(bank.images),
        "labels": [names[k] if 0 <= k < len(names) else "" for k in labels],
        "groups": bank.groups.tolist(),
    }
    return {"bank": searched, "sources": sources}


def _bank(
    network: Network,
    dataset: Dataset,
    chosen: Tensor,
    rows: Tensor,
    size: ExplorerSize,
    image: str,
    seed: int,
) -> Bank:
    """The started images, others of the same objects, and some by chance."""
    groups = dataset.groups
    same = [(groups == groups[row]).nonzero()[:, 0] for row in chosen]
    own = [views[views != row][: size.views - 1] for row, views in zip(chosen, same, strict=True)]
    others = rows[shuffled(len(rows), seed, "steering")[: size.others]]
    bank_rows = dataset.readable(torch.unique(torch.cat([chosen, *own, others])))
    batches = [whole_batch(dataset, part) for part in torch.split(bank_rows, _BATCH)]
    images = torch.cat([as_float(b.images[image]).cpu() for b in batches])
    params = concatenate([b.params[image].to("cpu") for b in batches])
    return Bank(bank_rows, images, network.embed(images)[1], params, groups[bank_rows])
