"""Encoders as transformers of scikit-learn: images in, features out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from equissl.api.given import load_with_images
from equissl.data.base import Dataset
from equissl.data.given_images import Images
from equissl.distributed import limit_threads, resolve_device
from equissl.errors import UserError, nearest
from equissl.evaluate.features import extract
from equissl.progress import Progress, ShowProgress, no_progress, shown
from equissl.runs.given import Given
from equissl.runs.load import Loaded


class Embedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Features of images by a frozen encoder, as a transformer of scikit-learn.

    ``fit`` learns nothing. Images of Pillow, files and samples of a torch ``Dataset`` become squares as those
    that the model was trained on.

    Args:
        model: as of ``equissl.audit``: a module, a function of images, an ``Encoder``, a run folder, or a
            name such as ``timm/resnet50@FILE``.
        part: which columns of the features: "all", or a name of the encoder's parts.
        size, mean, std, preprocess, trusted: as of ``equissl.audit``.
        seed: of random weights.
        device: "cpu" or "cuda".
        progress: True for a live bar.

    Example:
        >>> import torch
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.pipeline import make_pipeline
        >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1))
        >>> images, labels = torch.rand(20, 3, 8, 8), [0, 1] * 10
        >>> classifier = make_pipeline(Embedder(network), LogisticRegression()).fit(images, labels)
        >>> Embedder(network).transform(images).shape, classifier.predict(images[:2]).shape
        ((20, 8), (2,))
    """

    def __init__(
        self,
        model: Given,
        *,
        part: str = "all",
        size: int = 0,
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
        preprocess: object = None,
        trusted: Sequence[str] = (),
        seed: int = 0,
        device: str = "cpu",
        progress: ShowProgress = False,
    ):
        self.model, self.part, self.size = model, part, size
        self.mean, self.std, self.preprocess = mean, std, preprocess
        self.trusted, self.seed, self.device, self.progress = trusted, seed, device, progress

    def fit(self, X: Images, y: object = None) -> Embedder:
        """Only loads the model, to see that it takes such images, and how many features it gives."""
        loaded, _ = self._loaded(X, limit=1)
        self._n_features_out = loaded.encoder.width(self.part)
        return self

    def transform(self, X: Images) -> NDArray[np.float32]:
        """Features of images: (N, D) float32.

        Raises:
            UserError: as of ``equissl.embed``; or no part of the features has that name.
        """
        limit_threads()
        with shown(self.progress) as show:
            loaded, dataset = self._loaded(X, progress=show)
            device = resolve_device(self.device)
            encoder = loaded.encoder.to(device)
            table = extract(encoder, dataset, device=device, progress=show, model=loaded.name)
        if self.part not in table.parts:
            raise UserError(f"part={self.part!r}: the features have none; {nearest(self.part, table.parts)}")
        features: NDArray[np.float32] = table.vectors[:, table.parts[self.part]].numpy()
        return features

    def _loaded(
        self, images: Images, progress: Progress = no_progress, limit: int | None = None
    ) -> tuple[Loaded, Dataset]:
        given: Any = {name: getattr(self, name) for name in ("mean", "std", "preprocess", "seed", "trusted")}
        return load_with_images(self.model, images, self.size, progress, limit, **given)

    def __sklearn_clone__(self) -> Embedder:
        """With the same model, which is frozen: a copy of a large network would only take memory."""
        return type(self)(**self.get_params(deep=False))

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit, tags.no_validation = False, True
        tags.input_tags.two_d_array = False
        return tags
