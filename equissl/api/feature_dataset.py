"""Features of images as a torch ``Dataset``, computed once and kept on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from equissl.api.given import load_with_images
from equissl.data.given_images import Images
from equissl.distributed import limit_threads, resolve_device
from equissl.evaluate.base import FeatureTable
from equissl.evaluate.cache import FeatureCache, fingerprint, weights_fingerprint
from equissl.evaluate.features import extract
from equissl.params import Params
from equissl.progress import ShowProgress, shown
from equissl.runs.given import Given


class FeatureDataset(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Pairs (features (D,), label) of images by a frozen encoder, for a ``DataLoader``.

    They are computed when it is made; with ``cache`` they are read again as long as weights, images and code
    are the same.

    Args:
        model, images: as of ``equissl.audit``; labels are those of a torch ``Dataset`` of (image, label).
        cache: a folder to keep them in.
        size: side at which images are read; the model's own if 0.
        device: "cpu" or "cuda".
        progress: True for a live bar, or a function (what, done, total).
        given: ``mean``, ``std``, ``preprocess``, ``trusted``, ``seed``, as of ``equissl.audit``.

    Attributes:
        features: (N, D) float32.
        labels: (N,) int64, -1 where an image has none.
        classes: their names.
        params: factors that the samples hold.

    Raises:
        UserError: as of ``equissl.embed``.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1))
        >>> samples = [(image, k % 2) for k, image in enumerate(torch.rand(10, 3, 8, 8))]
        >>> dataset = FeatureDataset(network, samples)
        >>> features, labels = next(iter(torch.utils.data.DataLoader(dataset, batch_size=4)))
        >>> features.shape, labels
        (torch.Size([4, 8]), tensor([0, 1, 0, 1]))
    """

    def __init__(
        self,
        model: Given,
        images: Images,
        cache: Path | str | None = None,
        *,
        size: int = 0,
        device: str = "cpu",
        progress: ShowProgress = False,
        **given: Any,
    ):
        limit_threads()
        device = resolve_device(device)
        with shown(progress) as show:
            loaded, dataset = load_with_images(model, images, size, show, **given)
            encoder = loaded.encoder.to(device)

            def make() -> FeatureTable:
                return extract(encoder, dataset, device=device, progress=show, model=loaded.name)

            kept = FeatureCache(None if cache is None else Path(cache))
            key = "" if cache is None else fingerprint(weights_fingerprint(encoder), dataset.digest, device)
            table = kept.table(key, dataset.spaces["image"], make)
        self.features, self.labels = table.vectors, table.labels
        self.params: Params = table.params
        self.classes = dataset.classes

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return self.features[number], int(self.labels[number])
