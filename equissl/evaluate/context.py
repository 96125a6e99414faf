"""Evaluations that need the encoder and its images, and the context they run in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.config.validation import Checked
from equissl.data.base import Dataset, Split
from equissl.encoder.encoder import Encoder
from equissl.evaluate.base import FeatureTable, Named, Score
from equissl.evaluate.cache import FeatureCache, fingerprint, weights_fingerprint
from equissl.evaluate.features import extract
from equissl.objective import Predictive
from equissl.params import Space
from equissl.progress import Progress, no_progress

SPLITS: Mapping[Split, str] = {"train": "training", "test": "test"}


@dataclass(frozen=True)
class EvaluationContext:
    """An encoder, the images it is evaluated on, and its features, which are computed once.

    Args:
        encoder: on ``device``.
        datasets: "train" and "test".
        rows: which samples of each, (N,) int64.
        modules: trained modules that predict embeddings, by name, on ``device``; none of random baselines.
        cache: where features are kept.
        seed: of the parameters of augmentations.
        image: which image of a sample.
        model: what messages call the encoder.
    """

    encoder: Encoder
    datasets: Mapping[Split, Dataset]
    rows: Mapping[Split, Tensor]
    modules: Mapping[str, Predictive] = field(default_factory=dict)
    cache: FeatureCache = FeatureCache()
    seed: int = 0
    device: torch.device | str = "cpu"
    progress: Progress = no_progress
    image: str = "image"
    model: str = ""

    def features(
        self, split: Split = "test", augment: Augmentation | None = None, view_index: int = 0
    ) -> FeatureTable:
        """Features of a split; with an augmentation, ``params`` holds its parameters alone."""
        if augment is not None:
            key = f"{type(augment).__module__}:{augment}", view_index, self.seed
            return self._cached(split, augment.space, key, augment, view_index)
        if split not in self._plain:  # every evaluation asks for these
            self._plain[split] = self._cached(split, self.datasets[split].spaces[self.image])
        return self._plain[split]

    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of the test images."""
        return tuple(self.datasets["test"].batch(self.rows["test"][:1]).images[self.image].shape[1:])

    def _cached(
        self,
        split: Split,
        space: Space,
        key: object = "",
        augment: Augmentation | None = None,
        view_index: int = 0,
    ) -> FeatureTable:
        def make() -> FeatureTable:
            return extract(
                self.encoder,
                self.datasets[split],
                index=self.rows[split],
                augment=augment,
                image=self.image,
                dataset_params=augment is None,
                view_index=view_index,
                seed=self.seed,
                device=self.device,
                progress=lambda what, *counts: self.progress(f"{what} of {SPLITS[split]} images", *counts),
                model=self.model,
            )

        if self.cache.folder is None:
            return make()
        if split not in self._digests:
            self._digests[split] = self.datasets[split].fingerprint(self.rows[split])
        device = torch.device(self.device).type
        parts = self._weights, self._digests[split], self.rows[split].tolist()
        return self.cache.table(fingerprint(*parts, self.image, key, device, space), space, make)

    @cached_property
    def _weights(self) -> str:
        return weights_fingerprint(self.encoder)

    @cached_property
    def _digests(self) -> dict[Split, str]:
        return {}

    @cached_property
    def _plain(self) -> dict[Split, FeatureTable]:
        return {}


class EncoderEvaluation(Named, Checked, ABC):
    """A measure that needs the encoder and its images; subclasses are frozen dataclasses."""

    @abstractmethod
    def run(self, context: EvaluationContext) -> Iterator[Score]:
        """Yields nothing where it is unavailable. Leaves the encoder as it was."""

    def unavailable_reason(self, context: EvaluationContext) -> str:
        """Why it cannot be measured here, as a sentence that says what is needed; "" if it can."""
        return ""

    @classmethod
    def example(cls) -> EncoderEvaluation:
        """A small, quick instance for the laws in ``equissl.testing``."""
        return cls()
