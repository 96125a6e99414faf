"""Embeddings of every image of a set by a module that predicts, computed once for retrieval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from equissl.augment.base import Augmentation
from equissl.data.base import Dataset
from equissl.encoder.encoder import Encoder
from equissl.encoder.modes import eval_mode
from equissl.evaluate.features import make_view, whole_batch
from equissl.evaluate.finite import check_finite
from equissl.objective import Predictive
from equissl.params import Params, concatenate
from equissl.progress import Progress, no_progress
from equissl.random import shuffled

Sources = Literal["first", "every"]


@dataclass(frozen=True)
class ObjectEmbeddings:
    """Embeddings and features of every image of a set, with the object that each image shows.

    Args:
        vectors: (N, d) embeddings, ``Predictive.target``.
        features: (N, D) encoder features, or (S, D) of the first image of each of S objects alone, in the
            order of the images; predictions start from them.
        parts: of the features.
        params: the factors of each image that the module reads.
        groups: (N,) int64, the object.

    Raises:
        ValueError: the lengths do not agree.
    """

    vectors: Tensor
    features: Tensor
    parts: Mapping[str, slice]
    params: Params
    groups: Tensor

    def __post_init__(self) -> None:
        count, objects = len(self.groups), len(torch.unique(self.groups))
        for name, length in (("vectors", len(self.vectors)), ("params", len(self.params))):
            if length != count:
                raise ValueError(f"{name} must have one row for each of {count} images, got {length}")
        if len(self.features) not in (count, objects):
            raise ValueError(
                f"features must be of each of {count} images or of the first of each of {objects} objects, "
                f"got {len(self.features)} rows"
            )

    def features_of(self, rows: Tensor) -> Tensor:
        """Features (n, D) of the images ``rows``, (n,) int64.

        Raises:
            ValueError: the features of one of them were not kept.
        """
        position = torch.searchsorted(self._kept, rows).clamp(max=len(self._kept) - 1)
        if not torch.equal(self._kept[position], rows):
            raise ValueError(
                "features of the first image of every object alone were kept, so predictions cannot start "
                'from every image; embed with sources="every"'
            )
        return self.features[position]

    @cached_property
    def _kept(self) -> Tensor:
        """Rows whose features were kept, ascending."""
        if len(self.features) == len(self.groups):
            return torch.arange(len(self.groups))
        order, starts, _ = sort_by_object(self.groups)
        return order[starts].sort().values


def embed(
    module: Predictive,
    encoder: Encoder,
    dataset: Dataset,
    *,
    index: Tensor | None = None,
    augment: Augmentation | None = None,
    views: int = 50,
    sources: Sources = "first",
    seed: int = 0,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    progress: Progress = no_progress,
) -> ObjectEmbeddings:
    """Embed the images of a set once; 2.6 million embeddings of 1024 numbers take 10.7 GB and no more.

    Args:
        index: (N,) which samples; all if absent. Objects are the dataset's groups.
        augment: makes an object of every image: itself first, then ``views`` - 1 augmented views.
        sources: whose features are kept, as starting points of predictions.

    Raises:
        ValueError: there is no image, or ``views`` is below 2.
    """
    if augment is not None and views < 2:
        raise ValueError(f"views must be at least 2, got {views}")
    index = torch.arange(len(dataset)) if index is None else index
    per_object = 1 if augment is None else views
    groups = dataset.groups[index] if augment is None else torch.arange(len(index))
    groups, count = groups.repeat_interleave(per_object), len(index) * per_object
    if not count:
        raise ValueError("no images to embed")
    first = torch.ones(count, dtype=torch.bool)
    if sources == "first":
        order, starts, _ = sort_by_object(groups)
        first = torch.zeros(count, dtype=torch.bool)
        first[order[starts]] = True
    vectors, features, params, done = torch.empty(0), [], [], 0
    parts: Mapping[str, slice] = {}
    modules = [m for m in (module, encoder) if isinstance(m, nn.Module)]
    with eval_mode(*modules), torch.inference_mode():
        for rows in torch.split(index, max(1, batch_size // per_object)):
            batch = whole_batch(dataset, rows, augment).to(device)
            made = [make_view(batch)] + [
                make_view(batch, augment, view_index=k, seed=seed) for k in range(1, per_object)
            ]
            # Image by image: the views of one stand together.
            images = torch.stack([v.images for v in made], 1).flatten(0, 1)
            joint = concatenate([v.params.filled(module.space, images.device) for v in made])
            by_image = torch.arange(len(joint)).view(per_object, -1).T.flatten()
            encoded = encoder(images)
            embedding = module.target(encoded).float().cpu()
            stop = done + len(embedding)
            if not done:
                vectors = torch.empty(count, embedding.shape[1])
            vectors[done:stop] = embedding
            features.append(encoded.vector.float().cpu()[first[done:stop]])
            params.append(joint[by_image.to(images.device)].to("cpu"))
            parts, done = dict(encoded.parts), stop
            progress("embeddings", done, count)
    check_finite(vectors, "the embeddings")
    kept = torch.cat(features)
    check_finite(kept)
    return ObjectEmbeddings(vectors, kept, parts, concatenate(params), groups)


def sort_by_object(groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows sorted by object, in their order; where each object starts; how many images it has."""
    order = groups.argsort(stable=True)
    _, counts = torch.unique(groups, return_counts=True)
    return order, counts.cumsum(0) - counts, counts


def whole_objects(groups: Tensor, count: int, seed: int = 0) -> Tensor:
    """Images of randomly chosen whole objects, about ``count`` in all: (N,) int64 -> (n,) int64, sorted."""
    _, which, sizes = torch.unique(groups, return_inverse=True, return_counts=True)
    order = shuffled(len(sizes), seed, "objects")
    many = max(1, int((sizes[order].cumsum(0) <= count).sum()))
    chosen = torch.zeros(len(sizes), dtype=torch.bool)
    chosen[order[:many]] = True
    return chosen[which].nonzero()[:, 0]
