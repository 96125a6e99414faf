"""Do two views of an image land close together? Alignment under a fixed policy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import ClassVar

from equissl.augment.base import Augmentation, Pipeline
from equissl.augment.geometry.flip import HorizontalFlip
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.augment.presets import simclr
from equissl.evaluate.base import Score, estimate
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext
from equissl.evaluate.equivariance.measures import residual
from equissl.evaluate.titles import COLLAPSE


@dataclass(frozen=True)
class Alignment(EncoderEvaluation):
    """Mean squared distance of unit features of two views of an image, for every part: 0 is invariance.

    Views are SimCLR's (jitter strength 0.5, no blur; crop and flip alone for images without colour),
    whatever the encoder was trained with, so that encoders can be compared. Its companion, uniformity, is
    in ``Collapse``. Source: arXiv:2005.10242, section 4.1.1, with power 2.

    Args:
        area: range of the crop's share of the image, within (0, 1].
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

    def run(self, subject: EvaluationContext) -> Iterator[Score]:
        first = subject.datasets["test"].batch(subject.rows["test"][:1]).images[subject.image]
        policy = self._policy(min(first.shape[-2:]), first.shape[1])
        one, two = (subject.features("test", policy, draw) for draw in (0, 1))
        for part, x in one.features().items():
            distance = 2 * residual(x, two.features()[part])
            result = estimate(
                lambda rows, d=distance: float(d[rows].mean()),  # type: ignore[misc]
                one.groups,
                seed=subject.seed,
            )
            yield Score(
                "alignment/simclr",
                **asdict(result),
                unit="squared distance",
                count=len(one),
                part=part,
                seed=subject.seed,
                title="Alignment of two views",
                group=COLLAPSE,
            )

    def _policy(self, size: int, channels: int) -> Augmentation:
        if channels == 3:
            return simclr(size, strength=0.5, blur=0, scale=self.area)
        return Pipeline((RandomResizedCrop(size, self.area), HorizontalFlip()))
