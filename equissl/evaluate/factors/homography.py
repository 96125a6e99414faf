"""Where do the corners of a warped image go? A proxy for homography estimation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.geometry.perspective import Perspective
from equissl.evaluate.base import Score, estimate
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext
from equissl.evaluate.factors.changes import changes
from equissl.evaluate.metrics import mean_r2
from equissl.evaluate.probes.mlp import network
from equissl.evaluate.titles import HOMOGRAPHY


@dataclass(frozen=True)
class Homography(EncoderEvaluation):
    """The shift of four corners, read by a network from the pooled features of an image and of its warp.

    "homography/corner_error" is the mean distance of the corners from where they are, as a share of the side,
    lower is better; "homography/corners" is R2. A proxy of our own: S-COCO (as in arXiv:2503.18753, table 6)
    has a convolutional head on the spatial features of larger photographs, so its numbers are not comparable.
    The baseline "constant" says the mean shift of the training pairs.

    Args:
        distortion: a corner moves by up to half this share of the side, inwards.
        hidden: the network's layers.
        pairs: to fit on, at most.
        parts: that the network reads; all if empty.
        seed: of the network.
    """

    name: ClassVar[str] = "homography"
    scores: ClassVar[tuple[str, ...]] = ("homography",)

    distortion: float = 0.3
    hidden: tuple[int, ...] = (512,)
    pairs: int = 2000
    parts: tuple[str, ...] = ()
    seed: int = 0

    def missing(self, subject: EvaluationContext) -> str:
        count = min(len(subject.rows[s]) for s in ("train", "test"))
        few = f"it needs 10 training and 10 test images or more, but there are {count}"
        return few if count < 10 else ""

    def run(self, subject: EvaluationContext) -> Iterator[Score]:
        if self.missing(subject):
            return
        warp = Perspective(self.distortion, padding_mode="reflection", p=1.0)
        train, test = changes(subject, warp, warp.space.names, self.pairs)
        unseen = test.features()
        for part, x in train.features().items():
            if self.parts and part not in self.parts:
                continue
            given = (x, train.truth, train.plain.groups, unseen[part], self.seed)
            said = network(*given, hidden=self.hidden).predicted
            yield from self._scores(said, test.truth, test.plain.groups, part, "")
        constant = train.truth.mean(0).expand_as(test.truth)
        yield from self._scores(constant, test.truth, test.plain.groups, "all", "constant")

    def _scores(
        self, said: Tensor, truth: Tensor, groups: Tensor, part: str, baseline: str
    ) -> Iterator[Score]:
        away = (said - truth).double().view(len(said), 4, 2).norm(dim=2).mean(1)
        common = {
            "count": len(truth),
            "part": part,
            "baseline": baseline,
            "seed": self.seed,
            "group": HOMOGRAPHY,
        }
        error = estimate(lambda rows: float(away[rows].mean()), groups, seed=self.seed)
        names = {"title": "Mean corner error", "unit": "side", "higher_is_better": False}
        yield Score("homography/corner_error", **asdict(error), **names, **common)  # type: ignore[arg-type]
        told = estimate(lambda rows: mean_r2(said[rows], truth[rows]), groups, seed=self.seed)
        names = {"title": "Corner shifts", "unit": "R2", "higher_is_better": True}
        yield Score("homography/corners", **asdict(told), **names, **common)  # type: ignore[arg-type]

    @classmethod
    def example(cls) -> Homography:
        return cls(hidden=(8,), pairs=20)
