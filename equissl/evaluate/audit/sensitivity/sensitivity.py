"""Sensitivity: how far features move under one augmentation at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.config.validation import check_bounds
from equissl.evaluate.audit.asked import check_asked, suitable_audits
from equissl.evaluate.audit.factors import AUDITS
from equissl.evaluate.base import Score
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext
from equissl.evaluate.equivariance.measures import cosine_distance
from equissl.evaluate.features import applied_rows
from equissl.evaluate.statistics import estimate
from equissl.evaluate.titles import SENSITIVITY, title


@dataclass(frozen=True)
class Sensitivity(EncoderEvaluation):
    """Mean cosine distance from plain to augmented features, divided by that between different images.

    One augmentation at a time. 0 is invariance; at 1 an augmented image is as far from the plain one as
    another image is. ``extra`` holds the distance before the division. Images that an augmentation was not
    applied to do not count. Nothing is yielded for constant features. Source: our own definition; it needs no
    labels and no probe, so it says how much features move, not whether the change can be read from them.

    Args:
        augmentations: names of audits; all that suit the images if empty.
        num_views: augmented views of every image.
    """

    name: ClassVar[str] = "sensitivity"
    scores: ClassVar[tuple[str, ...]] = ("sensitivity",)

    augmentations: tuple[str, ...] = ()
    num_views: int = 1

    def __post_init__(self) -> None:
        check_asked(self.augmentations)
        check_bounds(self, "num_views", low=1)

    def unavailable_reason(self, context: EvaluationContext) -> str:
        return needs_two_images(context)

    def run(self, context: EvaluationContext) -> Iterator[Score]:
        if self.unavailable_reason(context):
            return
        plain = context.features("test")
        for name in suitable_audits(self.augmentations, context.image_shape()):
            views = [context.features("test", AUDITS[name], view) for view in range(self.num_views)]
            applied = torch.cat([applied_rows(AUDITS[name], view.params) for view in views])
            groups = plain.groups.repeat(self.num_views)[applied]
            if not len(groups):
                continue
            for part, x in plain.by_part().items():
                distance = torch.cat([cosine_distance(x, view.by_part()[part]) for view in views])[applied]
                others = distance_to_others(x).repeat(self.num_views)[applied]
                if not float(others.mean()) > 1e-9:
                    continue
                result = estimate(
                    lambda rows, d=distance, o=others: float(d[rows].mean() / o[rows].mean()),  # type: ignore[misc]
                    groups,
                    seed=context.seed,
                )
                yield Score.of(
                    f"sensitivity/{name}",
                    result,
                    unit="ratio",
                    count=len(groups),
                    part=part,
                    seed=context.seed,
                    extra={"distance": float(distance.mean()), "num_views": self.num_views},
                    title=title(name),
                    group=SENSITIVITY,
                )

    @classmethod
    def example(cls) -> Sensitivity:
        return cls(("brightness", "horizontal_flip"), num_views=2)


def needs_two_images(context: EvaluationContext) -> str:
    """Why distances between images cannot be measured; "" if they can."""
    count = len(context.rows["test"])
    return "" if count > 1 else f"it needs 2 test images or more, but there is {count}"


def distance_to_others(x: Tensor) -> Tensor:
    """Mean cosine distance of each row to all others: (N, D) -> (N,) in [0, 2], float64."""
    unit = F.normalize(x.double(), dim=1)
    similar = unit @ unit.sum(0) - unit.square().sum(1)
    return (1 - similar / (len(x) - 1)).clamp(min=0)
