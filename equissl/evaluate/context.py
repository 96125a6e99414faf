"""The contract of an evaluation that must look at images again, and what it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.data.base import Dataset, Split
from equissl.encoder.encoder import Encoder
from equissl.evaluate.base import Named, Score, Table
from equissl.evaluate.cache import Store, fingerprint, weights_fingerprint
from equissl.evaluate.features import extract
from equissl.objective import Predictive
from equissl.params import Space
from equissl.progress import Progress, no_progress


@dataclass(frozen=True)
class EvaluationContext:
    """An encoder, the images it is asked about, and its features, which are taken once.

    Args:
        encoder: on ``device``.
        datasets: "train" and "test".
        rows: which samples of each, (N,) int64.
        modules: trained modules that predict, by name, on ``device``; an untrained encoder has none.
        store: where features are kept.
        seed: of augmentations that are drawn.
        image: which image of a sample.
    """

    encoder: Encoder
    datasets: Mapping[Split, Dataset]
    rows: Mapping[Split, Tensor]
    modules: Mapping[str, Predictive] = field(default_factory=dict)
    store: Store = Store()
    seed: int = 0
    device: torch.device | str = "cpu"
    progress: Progress = no_progress
    image: str = "image"

    def features(self, split: Split = "test", augment: Augmentation | None = None, draw: int = 0) -> Table:
        """Features of a split; with an augmentation, its draw is all that ``params`` holds."""
        if augment is not None:
            drawn = f"{type(augment).__module__}:{augment}", draw, self.seed
            return self._stored(split, augment.space, drawn, augment, draw)
        if split not in self._plain:  # every evaluation asks for these
            self._plain[split] = self._stored(split, self.datasets[split].spaces[self.image])
        return self._plain[split]

    def _stored(
        self,
        split: Split,
        space: Space,
        drawn: object = "",
        augment: Augmentation | None = None,
        draw: int = 0,
    ) -> Table:
        def make() -> Table:
            return extract(
                self.encoder,
                self.datasets[split],
                index=self.rows[split],
                augment=augment,
                image=self.image,
                known=augment is None,
                draw=draw,
                seed=self.seed,
                device=self.device,
                progress=self.progress,
            )

        if self.store.folder is None:
            return make()
        if split not in self._digests:
            self._digests[split] = self.datasets[split].fingerprint(self.rows[split])
        device = torch.device(self.device).type
        parts = self._weights, self._digests[split], self.rows[split].tolist()
        return self.store.table(fingerprint(*parts, self.image, drawn, device, space), space, make)

    @cached_property
    def _weights(self) -> str:
        return weights_fingerprint(self.encoder)

    @cached_property
    def _digests(self) -> dict[Split, str]:
        return {}

    @cached_property
    def _plain(self) -> dict[Split, Table]:
        return {}


class EncoderEvaluation(Named, ABC):
    """A question that needs the encoder and its images; subclasses are frozen dataclasses."""

    @abstractmethod
    def run(self, subject: EvaluationContext) -> Iterator[Score]:
        """Yields nothing where the question has no meaning here. Leaves the encoder as it was."""

    def missing(self, subject: EvaluationContext) -> str:
        """Why the question has no meaning here, as a sentence that says what is needed; "" if it has one."""
        return ""

    @classmethod
    def example(cls) -> EncoderEvaluation:
        """A small, quick instance for the laws in ``equissl.testing``."""
        return cls()
