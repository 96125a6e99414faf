"""Retrieval of the changed image, among all images of the object, by the predicted embedding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from equissl.config.validation import check_bounds
from equissl.evaluate.base import Score
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext
from equissl.evaluate.equivariance.embeddings import embed, whole_objects
from equissl.evaluate.equivariance.ranking import RetrievalProtocol
from equissl.evaluate.equivariance.retrieval_metrics import retrieval_scores
from equissl.objective import Predictive


@dataclass(frozen=True)
class Retrieval(EncoderEvaluation):
    """MRR, H@k and PRE of every module whose factors the data records (SIE, arXiv:2302.10283, section 5.3).

    ``equivariance.retrieval_metrics`` holds the definitions. Queries are about whole objects of the test
    images, without those that cannot be decoded; a score's ``extra`` names the module.

    Args:
        images: of the objects, at most (always whole objects); 0 for as many as are evaluated.
        protocol: queries and candidates; ``SIE_PROTOCOL`` follows the released code.
        seed: of the choice of objects and of the intervals.
    """

    paper: ClassVar[str] = "arXiv:2302.10283"
    name: ClassVar[str] = "retrieval"
    scores: ClassVar[tuple[str, ...]] = ("retrieval",)
    images: int = 0
    protocol: RetrievalProtocol = RetrievalProtocol()
    seed: int = 0

    def __post_init__(self) -> None:
        check_bounds(self, "images", low=0)

    def unavailable_reason(self, context: EvaluationContext) -> str:
        if not _modules(context):
            return "it needs a module that predicts changes of factors the data records, such as SIE on poses"
        if len(self._rows(context)) == 0:
            return "it needs several images of one object"
        return ""

    def run(self, context: EvaluationContext) -> Iterator[Score]:
        rows, data = self._rows(context), context.datasets["test"]
        if len(rows) == 0:
            return
        rows = data.readable(rows)
        if len(torch.unique(data.groups[rows])) == len(rows):
            return
        for name, module in _modules(context).items():
            embeddings = embed(
                module,
                context.encoder,
                data,
                index=rows,
                sources=self.protocol.sources,
                device=context.device,
                progress=context.progress,
            )
            for score in retrieval_scores(
                module,
                embeddings,
                protocol=self.protocol,
                seed=self.seed,
                device=context.device,
                progress=context.progress,
            ):
                yield replace(score, extra={**score.extra, "module": name})

    def _rows(self, context: EvaluationContext) -> Tensor:
        """Images of whole objects; none if every object has one image."""
        groups = context.datasets["test"].groups
        rows = whole_objects(groups, self.images or len(context.rows["test"]), self.seed)
        return rows if len(torch.unique(groups[rows])) < len(rows) else rows[:0]


def _modules(context: EvaluationContext) -> Mapping[str, Predictive]:
    recorded = set(context.datasets["test"].spaces[context.image].names)
    return {name: m for name, m in context.modules.items() if set(m.space.names) & recorded}
