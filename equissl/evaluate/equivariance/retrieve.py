"""Does a module find the image it predicts, among all images of the same object?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from equissl.evaluate.base import Score
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext
from equissl.evaluate.equivariance.embedded import embed, whole_objects
from equissl.evaluate.equivariance.retrieval import Protocol, retrieval
from equissl.objective import Predictive


@dataclass(frozen=True)
class Retrieval(EncoderEvaluation):
    """MRR, H@k and PRE of every module whose factors the data knows (SIE, arXiv:2302.10283, section 5.3).

    See ``evaluate.retrieval`` for the definitions. Whole objects of the test images are asked about; a
    score's ``extra`` names the module.

    Args:
        images: asked about, at most (always whole objects); 0 for as many as are evaluated.
        protocol: which questions are asked; ``evaluate.retrieval.ORIGINAL`` follows the released code.
        seed: of the choice of objects and of the intervals.
    """

    paper: ClassVar[str] = "arXiv:2302.10283"
    name: ClassVar[str] = "retrieval"
    scores: ClassVar[tuple[str, ...]] = ("retrieval",)
    images: int = 0
    protocol: Protocol = Protocol()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.images < 0:
            raise ValueError(f"images must be at least 0, got {self.images}")

    def missing(self, subject: EvaluationContext) -> str:
        if not _knowing(subject):
            return "it needs a module that predicts changes of factors the data knows, such as SIE on poses"
        if len(self._chosen(subject)) == 0:
            return "it needs several images of one object"
        return ""

    def run(self, subject: EvaluationContext) -> Iterator[Score]:
        chosen = self._chosen(subject)
        if len(chosen) == 0:
            return
        for name, module in _knowing(subject).items():
            embedded = embed(
                module,
                subject.encoder,
                subject.datasets["test"],
                index=chosen,
                device=subject.device,
                progress=subject.progress,
            )
            for score in retrieval(
                module,
                embedded,
                protocol=self.protocol,
                seed=self.seed,
                device=subject.device,
                progress=subject.progress,
            ):
                yield replace(score, extra={**score.extra, "module": name})

    def _chosen(self, subject: EvaluationContext) -> Tensor:
        """Images of whole objects; none if every object has one image."""
        groups = subject.datasets["test"].groups
        rows = whole_objects(groups, self.images or len(subject.rows["test"]), self.seed)
        return rows if len(torch.unique(groups[rows])) < len(rows) else rows[:0]


def _knowing(subject: EvaluationContext) -> Mapping[str, Predictive]:
    known = set(subject.datasets["test"].spaces[subject.image].names)
    return {name: m for name, m in subject.modules.items() if set(m.space.names) & known}
