"""Does a module find the picture it predicts, among all pictures of the same object?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from equissl.evaluate.base import Score
from equissl.evaluate.embedded import embed, whole_objects
from equissl.evaluate.inspection import Inspection, Subject
from equissl.evaluate.retrieval import Protocol, retrieval
from equissl.objective import Predictive


@dataclass(frozen=True)
class Retrieval(Inspection):
    """MRR, H@k and PRE of every module whose factors the data knows (SIE, arXiv:2302.10283, section 5.3).

    See ``evaluate.retrieval`` for the definitions. Whole objects of the test pictures are asked about; a
    score's ``extra`` names the module.

    Args:
        pictures: asked about, at most (always whole objects); 0 for as many as are evaluated.
        protocol: which questions are asked; ``evaluate.retrieval.ORIGINAL`` follows the released code.
        seed: of the choice of objects and of the intervals.
    """

    paper: ClassVar[str] = "arXiv:2302.10283"
    name: ClassVar[str] = "retrieval"
    pictures: int = 0
    protocol: Protocol = Protocol()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.pictures < 0:
            raise ValueError(f"pictures must be at least 0, got {self.pictures}")

    def missing(self, subject: Subject) -> str:
        if not _knowing(subject):
            return "it needs a module that predicts changes of factors the data knows, such as SIE on poses"
        if len(self._chosen(subject)) == 0:
            return "it needs several pictures of one object"
        return ""

    def run(self, subject: Subject) -> Iterator[Score]:
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

    def _chosen(self, subject: Subject) -> Tensor:
        """Pictures of whole objects; none if every object has one picture."""
        groups = subject.datasets["test"].groups
        rows = whole_objects(groups, self.pictures or len(subject.rows["test"]), self.seed)
        return rows if len(torch.unique(groups[rows])) < len(rows) else rows[:0]


def _knowing(subject: Subject) -> Mapping[str, Predictive]:
    known = set(subject.datasets["test"].spaces[subject.picture].names)
    return {name: m for name, m in subject.modules.items() if set(m.space.names) & known}
