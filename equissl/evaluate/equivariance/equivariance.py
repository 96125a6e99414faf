"""EquiMod's absolute and relative equivariance of modules that predict embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from equissl.config.validation import check_bounds
from equissl.evaluate.audit.asked import check_asked, suitable_audits
from equissl.evaluate.audit.factors import AUDITS, factors_of
from equissl.evaluate.base import Score
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext
from equissl.evaluate.equivariance.measures import equivariance_scores


@dataclass(frozen=True)
class Equivariance(EncoderEvaluation):
    """EquiMod's absolute and relative equivariance of every module, one augmentation at a time.

    ``equivariance.measures`` holds the definitions and the two baselines. An augmentation none of whose
    factors a module reads is left out. With several such modules a score's name ends in the module's.

    Args:
        augmentations: names of audits; all that suit the images if empty.
        num_views: augmented views of every image.
    """

    paper: ClassVar[str] = "arXiv:2211.01244"
    name: ClassVar[str] = "equivariance"
    scores: ClassVar[tuple[str, ...]] = ("equivariance",)
    augmentations: tuple[str, ...] = ()
    num_views: int = 1

    def __post_init__(self) -> None:
        check_asked(self.augmentations)
        check_bounds(self, "num_views", low=1)

    def unavailable_reason(self, context: EvaluationContext) -> str:
        needed = "it needs a module that predicts embeddings, such as EquiMod, and there is none"
        return "" if context.modules else needed

    def run(self, context: EvaluationContext) -> Iterator[Score]:
        dataset, index = context.datasets["test"], context.rows["test"]
        names = suitable_audits(self.augmentations, context.image_shape())
        for name, module in context.modules.items():
            read = set(module.space.names)
            for score in equivariance_scores(
                module,
                context.encoder,
                dataset,
                {n: AUDITS[n] for n in names if set(factors_of(n)) & read},
                index=index,
                image=context.image,
                num_views=self.num_views,
                seed=context.seed,
                device=context.device,
                progress=context.progress,
            ):
                extra = {**score.extra, "module": name, "num_views": self.num_views}
                score = replace(score, extra=extra)
                if len(context.modules) > 1:
                    score = replace(score, name=f"{score.name}/{name}", title=f"{score.title}, {name}")
                yield score

    @classmethod
    def example(cls) -> Equivariance:
        return cls(("brightness",), num_views=2)
