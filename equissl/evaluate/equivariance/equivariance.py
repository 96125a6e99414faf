"""Do a module's predictions follow the images? EquiMod's two measures, each augmentation alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from equissl.evaluate.audit.audit import check_names, fitting
from equissl.evaluate.audit.factors import AUDITS, factors_of
from equissl.evaluate.base import Score
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext
from equissl.evaluate.equivariance.measures import measure


@dataclass(frozen=True)
class Equivariance(EncoderEvaluation):
    """EquiMod's absolute and relative measures of every module that predicts, per augmentation alone.

    See ``evaluate.measures`` for the definitions and the two baselines. An augmentation none of whose
    factors a module reads is left out. With several such modules a score's name ends in the module's.

    Args:
        augmentations: names of audits; all that suit the images if empty.
        draws: of each augmentation for every image.
    """

    paper: ClassVar[str] = "arXiv:2211.01244"
    name: ClassVar[str] = "equivariance"
    scores: ClassVar[tuple[str, ...]] = ("equivariance",)
    augmentations: tuple[str, ...] = ()
    draws: int = 1

    def __post_init__(self) -> None:
        check_names(self.augmentations)
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, got {self.draws}")

    def missing(self, subject: EvaluationContext) -> str:
        return (
            "" if subject.modules else "it needs a module that predicts, such as EquiMod, and there is none"
        )

    def run(self, subject: EvaluationContext) -> Iterator[Score]:
        dataset, index = subject.datasets["test"], subject.rows["test"]
        channels = dataset.batch(index[:1]).images[subject.image].shape[1]
        names = fitting(self.augmentations, channels)
        for name, module in subject.modules.items():
            known = set(module.space.names)
            for score in measure(
                module,
                subject.encoder,
                dataset,
                {n: AUDITS[n] for n in names if set(factors_of(n)) & known},
                index=index,
                image=subject.image,
                draws=self.draws,
                seed=subject.seed,
                device=subject.device,
                progress=subject.progress,
            ):
                extra = {**score.extra, "module": name, "draws": self.draws}
                score = replace(score, extra=extra)
                if len(subject.modules) > 1:
                    score = replace(score, name=f"{score.name}/{name}", title=f"{score.title}, {name}")
                yield score

    @classmethod
    def example(cls) -> Equivariance:
        return cls(("brightness",), draws=2)
