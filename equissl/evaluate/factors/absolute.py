"""Regression of each factor of an image from its frozen features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from equissl.evaluate.base import Evaluation, FeatureTable, Score
from equissl.evaluate.factors.scoring import (
    constant_prediction,
    factor_scores,
    factor_targets,
    fit_factor_probe,
    selected_factors,
    varies,
)
from equissl.params import Factor


@dataclass(frozen=True)
class Factors(Evaluation):
    """R2 of regressing each factor, or balanced accuracy where it is discrete, for every part.

    A factor is regressed as its kind encodes it (an angle as cosine and sine, a rotation as the
    quaternion of canonical sign), and R2 is pooled over the encoded columns ("factor/..."). Where there are
    several columns, two more definitions stand beside it: averaged over columns ("factor_mean/...",
    scikit-learn's default) and with one mean for all columns ("factor_flat/...", the SIE benchmark's); R2 of
    each column is in ``extra``. Angles and rotations also give the median error ("factor_degrees/...").
    Factors that do not vary are left out. Intervals resample the groups of test images.

    Args:
        factors: names; all that the dataset records if empty.
        probe: "ridge" (logistic regression for classes), "mlp" (one hidden layer of 512, whose scores are
            "factor_mlp/..." and so on) or "both".
        seed: of the split that chooses the probe's setting, and of the network's weights.
    """

    name: ClassVar[str] = "factors"
    scores: ClassVar[tuple[str, ...]] = tuple(
        f"factor{probe}{kind}" for probe in ("", "_mlp") for kind in ("", "_mean", "_flat", "_degrees")
    )

    factors: tuple[str, ...] = ()
    probe: Literal["ridge", "mlp", "both"] = "ridge"
    seed: int = 0

    def unavailable_reason(self, train: FeatureTable, test: FeatureTable) -> str:
        return "" if test.params.space.names else "it needs factors, but the dataset records none"

    def run(self, train: FeatureTable, test: FeatureTable) -> Iterator[Score]:
        for factor in selected_factors(test.params.space, self.factors, "factors.factors"):
            targets = factor_targets(factor, train.params), factor_targets(factor, test.params)
            if varies(targets[0]) and varies(targets[1]):
                yield from self._scores(factor, train, test, *targets)

    def _scores(
        self, factor: Factor, train: FeatureTable, test: FeatureTable, y: Tensor, y_test: Tensor
    ) -> Iterator[Score]:
        kinds = ("ridge", "mlp") if self.probe == "both" else (self.probe,)
        test_parts = test.by_part()
        for kind in kinds:
            name = "factor" if kind == "ridge" else "factor_mlp"
            for part, x in train.by_part().items():
                result = fit_factor_probe(kind, x, y, train.groups, test_parts[part], self.seed)
                extra = {"probe": kind, "penalty": result.penalty}
                yield from factor_scores(
                    name, factor, result.predictions, y_test, test.groups, part, seed=self.seed, extra=extra
                )
            constant = constant_prediction(y, len(test))
            yield from factor_scores(
                name, factor, constant, y_test, test.groups, baseline="constant", seed=self.seed
            )
