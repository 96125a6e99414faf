"""A proxy for homography estimation: regression of the corner shifts of a warped image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.geometry.perspective import Perspective
from equissl.config.validation import check_bounds, check_widths
from equissl.evaluate.base import Score
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext
from equissl.evaluate.factors.pairs import too_few_pairs_reason, transformed_pairs
from equissl.evaluate.metrics import mean_r2
from equissl.evaluate.probes.mlp import mlp
from equissl.evaluate.statistics import estimate, mean_estimate
from equissl.evaluate.titles import HOMOGRAPHY


@dataclass(frozen=True)
class Homography(EncoderEvaluation):
    """The shifts of four corners, regressed by an MLP on the pooled features of an image and of its warp.

    "homography/corner_error" is the mean distance of the corners from where they are, as a fraction of the
    side, lower is better; "homography/corners" is R2. A proxy of our own: S-COCO (as in arXiv:2503.18753,
    table 6) has a convolutional head on the spatial features of larger photographs, so its numbers are not
    comparable. The baseline "constant" predicts the mean shift of the training pairs.

    Args:
        distortion: a corner moves by up to half this fraction of the side, inwards.
        hidden: widths of the MLP's layers.
        pairs: to fit on, at most.
        parts: that the MLP reads; all if empty.
        seed: of the MLP.
    """

    name: ClassVar[str] = "homography"
    scores: ClassVar[tuple[str, ...]] = ("homography",)

    distortion: float = 0.3
    hidden: tuple[int, ...] = (512,)
    pairs: int = 2000
    parts: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        Perspective(self.distortion)  # checks it
        check_bounds(self, "pairs", low=10)
        check_widths(self, "hidden")

    def unavailable_reason(self, context: EvaluationContext) -> str:
        return too_few_pairs_reason(context)

    def run(self, context: EvaluationContext) -> Iterator[Score]:
        if self.unavailable_reason(context):
            return
        warp = Perspective(self.distortion, padding_mode="reflection", p=1.0)
        train, test = transformed_pairs(context, warp, warp.space.names, self.pairs)
        test_parts = test.by_part()
        for part, x in train.by_part().items():
            if self.parts and part not in self.parts:
                continue
            data = (x, train.targets, train.plain.groups, test_parts[part], self.seed)
            predictions = mlp(*data, hidden=self.hidden).predictions
            yield from self._scores(predictions, test.targets, test.plain.groups, part, "")
        constant = train.targets.mean(0).expand_as(test.targets)
        yield from self._scores(constant, test.targets, test.plain.groups, "all", "constant")

    def _scores(
        self, predictions: Tensor, targets: Tensor, groups: Tensor, part: str, baseline: str
    ) -> Iterator[Score]:
        distance = (predictions - targets).double().view(len(predictions), 4, 2).norm(dim=2).mean(1)
        common = {
            "count": len(targets),
            "part": part,
            "baseline": baseline,
            "seed": self.seed,
            "group": HOMOGRAPHY,
        }
        error = mean_estimate(distance, groups, self.seed)
        named = {"title": "Mean corner error", "unit": "side", "higher_is_better": False}
        yield Score.of("homography/corner_error", error, **named, **common)
        explained = estimate(lambda r: mean_r2(predictions[r], targets[r]), groups, seed=self.seed)
        named = {"title": "Corner shifts", "unit": "R2", "higher_is_better": True}
        yield Score.of("homography/corners", explained, **named, **common)

    @classmethod
    def example(cls) -> Homography:
        return cls(hidden=(8,), pairs=20)
