"""The four-family suite: regression of the parameters of rotation, colour, blur and translation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from equissl.augment.paths import PATHS, continuous_factors
from equissl.config.validation import check_bounds, check_unique, check_widths
from equissl.errors import nearest
from equissl.evaluate.base import Score
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext
from equissl.evaluate.factors.pairs import too_few_pairs_reason, transformed_pairs
from equissl.evaluate.metrics import component_r2, mean_r2
from equissl.evaluate.probes.mlp import mlp
from equissl.evaluate.probes.ridge import ridge
from equissl.evaluate.statistics import estimate
from equissl.evaluate.titles import FAMILIES as GROUP
from equissl.evaluate.titles import title

FAMILIES = ("rotation", "color", "blur", "translation")


@dataclass(frozen=True)
class Families(EncoderEvaluation):
    """R2 of the parameters of each family from both images' frozen features, for every part.

    "family/NAME" is by an MLP, "family_linear/NAME" by multiple linear regression with a small ridge
    (arXiv:2412.03314 and 2503.18753: 1 - RSS / TSS; here of each parameter, then averaged: how the
    papers pool parameters is not given). Ranges are those of ``augment.paths``. Our choice, after SIE's
    probe: two layers of 1024, stopped on held-out images instead of after 300 epochs. A constant scores 0.

    Args:
        families: of ``augment.paths.PATHS``.
        hidden: widths of the MLP's layers; empty for the linear probe only.
        pairs: to fit on, at most.
        parts: that the MLP reads; all if empty.
        seed: of the MLP.

    Raises:
        ValueError: a family that does not exist.
    """

    paper: ClassVar[str] = "arXiv:2412.03314"
    name: ClassVar[str] = "families"
    scores: ClassVar[tuple[str, ...]] = ("family", "family_linear")

    families: tuple[str, ...] = FAMILIES
    hidden: tuple[int, ...] = (1024, 1024)
    pairs: int = 2000
    parts: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = [n for n in self.families if n not in PATHS]
        if wrong:
            raise ValueError(f"families: none is called {wrong[0]!r}; {nearest(wrong[0], PATHS)}")
        check_unique(self, "families")
        check_bounds(self, "pairs", low=10)
        check_widths(self, "hidden", least=0)

    def unavailable_reason(self, context: EvaluationContext) -> str:
        reason = too_few_pairs_reason(context)
        grey = "color" in self.families and context.image_shape()[0] != 3
        return reason or ("the family color needs images with three channels" if grey else "")

    def run(self, context: EvaluationContext) -> Iterator[Score]:
        if self.unavailable_reason(context):
            return
        for name in self.families:
            train, test = transformed_pairs(context, PATHS[name], continuous_factors(PATHS[name]), self.pairs)
            test_parts = test.by_part()
            for part, x in train.by_part().items():
                data = (x, train.targets, train.plain.groups, test_parts[part], self.seed)
                results = {"family_linear": ridge(*data)}
                if self.hidden and (part in self.parts or not self.parts):
                    results["family"] = mlp(*data, hidden=self.hidden)
                for kind, result in results.items():
                    explained = estimate(
                        lambda rows, p=result.predictions, t=test.targets: mean_r2(p[rows], t[rows]),  # type: ignore[misc]
                        test.plain.groups,
                        seed=self.seed,
                    )
                    yield Score.of(
                        f"{kind}/{name}",
                        explained,
                        unit="R2",
                        count=len(test.targets),
                        part=part,
                        seed=self.seed,
                        extra={"columns": component_r2(result.predictions, test.targets), "pairs": len(x)},
                        title=title(name, "linear" if kind == "family_linear" else "MLP"),
                        group=GROUP,
                        higher_is_better=True,
                    )

    @classmethod
    def example(cls) -> Families:
        return cls(("rotation",), hidden=(8,), pairs=20)
