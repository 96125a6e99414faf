"""How far do features move when one thing about an image changes?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.evaluate.audit.audit import check_names, fitting
from equissl.evaluate.audit.factors import AUDITS
from equissl.evaluate.base import Score, estimate
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext
from equissl.evaluate.equivariance.measures import residual
from equissl.evaluate.features import applied
from equissl.evaluate.titles import SENSITIVITY, title


@dataclass(frozen=True)
class Sensitivity(EncoderEvaluation):
    """Cosine distance that each augmentation alone moves features, over that between random images.

    0 is invariance; at 1 an augmented image is as far from itself as another image is. Beside each the
    distance before the division is in ``extra``. Images that an augmentation was not applied to do not
    count. Nothing is yielded for features that are all alike. Source: our own definition; it needs no
    labels and no probe, so it says how much features move, not whether the change can be read from them.

    Args:
        augmentations: names of audits; all that suit the images if empty.
        draws: of each augmentation for every image.
    """

    name: ClassVar[str] = "sensitivity"
    scores: ClassVar[tuple[str, ...]] = ("sensitivity",)

    augmentations: tuple[str, ...] = ()
    draws: int = 1

    def __post_init__(self) -> None:
        check_names(self.augmentations)
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, got {self.draws}")

    def missing(self, subject: EvaluationContext) -> str:
        count = len(subject.rows["test"])
        return "" if count > 1 else f"it needs 2 test images or more, but there is {count}"

    def run(self, subject: EvaluationContext) -> Iterator[Score]:
        if self.missing(subject):
            return
        plain = subject.features("test")
        channels = subject.datasets["test"].batch(subject.rows["test"][:1]).images[subject.image].shape[1]
        for name in fitting(self.augmentations, channels):
            moved = [subject.features("test", AUDITS[name], draw) for draw in range(self.draws)]
            on = torch.cat([applied(AUDITS[name], table.params) for table in moved])
            groups = plain.groups.repeat(self.draws)[on]
            if not len(groups):
                continue
            for part, x in plain.features().items():
                distance = torch.cat([residual(x, table.features()[part]) for table in moved])[on]
                apart = distance_to_others(x).repeat(self.draws)[on]
                if not float(apart.mean()) > 1e-9:
                    continue
                result = estimate(
                    lambda rows, d=distance, a=apart: float(d[rows].mean() / a[rows].mean()),  # type: ignore[misc]
                    groups,
                    seed=subject.seed,
                )
                yield Score(
                    f"sensitivity/{name}",
                    **asdict(result),
                    unit="ratio",
                    count=len(groups),
                    part=part,
                    seed=subject.seed,
                    extra={"distance": float(distance.mean()), "draws": self.draws},
                    title=title(name),
                    group=SENSITIVITY,
                )

    @classmethod
    def example(cls) -> Sensitivity:
        return cls(("brightness", "horizontal_flip"), draws=2)


def distance_to_others(x: Tensor) -> Tensor:
    """The mean cosine distance of each row to all others: (N, D) -> (N,) in [0, 2], float64."""
    unit = F.normalize(x.double(), dim=1)
    similar = unit @ unit.sum(0) - unit.square().sum(1)
    return (1 - similar / (len(x) - 1)).clamp(min=0)
