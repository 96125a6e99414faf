"""Alignment of two augmented views under a fixed policy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from equissl.augment.base import Augmentation, Pipeline
from equissl.augment.geometry.flip import HorizontalFlip
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.augment.presets import simclr
from equissl.evaluate.base import Score
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext
from equissl.evaluate.equivariance.measures import cosine_distance
from equissl.evaluate.statistics import mean_estimate
from equissl.evaluate.titles import COLLAPSE


@dataclass(frozen=True)
class Alignment(EncoderEvaluation):
    """Alignment: mean squared distance of normalised features of two views, for every part; 0 is invariance.

    Views are SimCLR's (jitter strength 0.5, no blur; crop and flip alone for images without colour),
    whatever the encoder was trained with, so that encoders can be compared. Its companion, uniformity, is
    in ``Collapse``. Source: arXiv:2005.10242, section 4.1.1, with power 2.

    Args:
        area: range of the crop's fraction of the image area, within (0, 1].
    """

    paper: ClassVar[str] = "arXiv:2005.10242"
    bibtex: ClassVar[str] = r"""
    @inproceedings{alignmentuniformity2020,
      title = {{Understanding Contrastive Representation Learning through Alignment and Uniformity on the
        Hypersphere}},
      author = {Wang, Tongzhou and Isola, Phillip},
      booktitle = {International Conference on Machine Learning},
      year = {2020},
      eprint = {2005.10242},
      archivePrefix = {arXiv},
    }
    """
    name: ClassVar[str] = "alignment"
    scores: ClassVar[tuple[str, ...]] = ("alignment",)
    area: tuple[float, float] = (0.2, 1.0)

    def __post_init__(self) -> None:
        RandomResizedCrop(1, self.area)  # checks it

    def run(self, context: EvaluationContext) -> Iterator[Score]:
        first = context.datasets["test"].batch(context.rows["test"][:1]).images[context.image]
        policy = self._policy(min(first.shape[-2:]), first.shape[1])
        one, two = (context.features("test", policy, view) for view in (0, 1))
        for part, x in one.by_part().items():
            distance = 2 * cosine_distance(x, two.by_part()[part])
            yield Score.of(
                "alignment/simclr",
                mean_estimate(distance, one.groups, context.seed),
                unit="squared distance",
                count=len(one),
                part=part,
                seed=context.seed,
                title="Alignment of two views",
                group=COLLAPSE,
            )

    def _policy(self, size: int, channels: int) -> Augmentation:
        if channels == 3:
            return simclr(size, strength=0.5, blur=0, scale=self.area)
        return Pipeline((RandomResizedCrop(size, self.area), HorizontalFlip()))
