"""Whether predicted changes of embeddings compose and undo each other, and no change changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from equissl.augment.base import Augmentation
from equissl.config.validation import check_bounds
from equissl.data.batch import Batch
from equissl.encoder.modes import eval_mode
from equissl.evaluate.audit.asked import check_asked, suitable_audits
from equissl.evaluate.audit.factors import AUDITS, factors_of
from equissl.evaluate.base import Score
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext
from equissl.evaluate.equivariance.measures import cosine_distance
from equissl.evaluate.features import applied_rows, make_view, whole_batch
from equissl.evaluate.finite import check_finite
from equissl.evaluate.statistics import estimate
from equissl.evaluate.titles import COMPOSITION, title
from equissl.objective import Moves
from equissl.params import Params, between
from equissl.views import View

RECORDED = "recorded"
KINDS = {
    "two_steps": "two predicted steps, to the image",
    "product": "two predicted steps, to one",
    "inverse": "a predicted step and back",
    "neutral": "a prediction of no change",
}
_Row = Mapping[str, tuple[Tensor, Tensor]]  # "kind baseline" -> (N,) errors and sizes of the change


@dataclass(frozen=True)
class Composition(EncoderEvaluation):
    """Whether a module's predictions compose: g and then h is the product, g and its inverse is nothing.

    Of images x, g x and h g x with embeddings y, y1 and y2, mean cosine distances, divided by how far the
    images themselves move (so that 0 is exact):

    - "composition/two_steps": from p(p(y, g), h) to y2, over that from y to y2 (1 is the "identity"
      baseline; "one_step" predicts y2 from y at once);
    - "composition/product": from p(p(y, g), h) to p(y, hg), over the same;
    - "composition/inverse": from p(p(y, g), g^-1) to y, over that from y to y1;
    - "composition/neutral": from p(y, no change) to y, over the same.

    The baseline "shuffled" takes the second change (for "neutral": a change) of another image, which a module
    that ignores parameters equals. Views are of one augmentation of the audit at a time; where the
    dataset records factors that the module reads, "recorded" are three images of one object. A module that
    was trained on changes of plain images alone (EquiMod) has seen no change that starts at a changed one.
    Source: our own definitions, of the laws of a group.

    Args:
        augmentations: names of audits; all that suit the images if empty.
        batch_size: images at a time.
    """

    name: ClassVar[str] = "composition"
    scores: ClassVar[tuple[str, ...]] = ("composition",)

    augmentations: tuple[str, ...] = ()
    batch_size: int = 256

    def __post_init__(self) -> None:
        check_asked(self.augmentations)
        check_bounds(self, "batch_size", low=2)

    def unavailable_reason(self, context: EvaluationContext) -> str:
        if len(context.rows["test"]) < 2:
            return "it needs 2 test images or more"
        needed = "it needs a module that moves embeddings, such as EquiMod or SIE, and there is none"
        return "" if _movers(context) else needed

    def run(self, context: EvaluationContext) -> Iterator[Score]:
        if self.unavailable_reason(context):
            return
        movers, total = _movers(context), self.images(context)
        done = 0
        for name, module in movers.items():
            modules = [m for m in (module, context.encoder) if isinstance(m, nn.Module)]
            suffix = f"/{name}" if len(movers) > 1 else ""
            for change in self._changes(module, context):
                with eval_mode(*modules), torch.inference_mode():
                    if change == RECORDED:
                        row, groups = self._recorded(module, context)
                    else:
                        row, groups = self._augmented(module, context, AUDITS[change])
                yield from _scores(row, groups, change, name, suffix, context.seed)
                done += len(context.rows["test"])
                context.progress(self.name, done, total)

    def images(self, context: EvaluationContext) -> int:
        """How many images it looks at, those of each change of each module counted once."""
        changes = sum(len(self._changes(m, context)) for m in _movers(context).values())
        return changes * len(context.rows["test"])

    def _changes(self, module: Moves, context: EvaluationContext) -> list[str]:
        """Audits whose factors the module reads, and what the dataset records."""
        read, recorded = set(module.space.names), context.datasets["test"].spaces[context.image].names
        names = suitable_audits(self.augmentations, context.image_shape())
        augmented = [n for n in names if set(factors_of(n)) & read]
        return [*augmented, RECORDED] if read & set(recorded) else augmented

    def _augmented(
        self, module: Moves, context: EvaluationContext, augment: Augmentation
    ) -> tuple[_Row, Tensor]:
        dataset, rows, groups = context.datasets["test"], [], []
        for index in torch.split(context.rows["test"], self.batch_size):
            batch = whole_batch(dataset, index, augment).to(context.device)
            views = [make_view(batch, None, context.image)]
            views += [make_view(batch, augment, context.image, k, context.seed) for k in (0, 1)]
            kept = applied_rows(augment, views[1].params) | applied_rows(augment, views[2].params)
            if len(index) > 1 and kept.any():
                rows.append(_select(_measure(module, context, views), kept.cpu()))
                groups.append(dataset.groups[index][kept.cpu()])
        return _joined(rows, groups)

    def _recorded(self, module: Moves, context: EvaluationContext) -> tuple[_Row, Tensor]:
        """Three images of one object, which the dataset's own factors tell apart."""
        dataset, index = context.datasets["test"], context.rows["test"]
        triples = _triples(dataset.groups[index])
        rows, groups = [], []
        for part in torch.split(triples, self.batch_size):
            if len(part) < 2:
                continue
            batches: list[Batch] = [whole_batch(dataset, index[k]).to(context.device) for k in part.T]
            rows.append(_measure(module, context, [make_view(b, None, context.image) for b in batches]))
            groups.append(dataset.groups[index[part[:, 0]]])
        return _joined(rows, groups)

    @classmethod
    def example(cls) -> Composition:
        return cls(("brightness",))


def _movers(context: EvaluationContext) -> dict[str, Moves]:
    return {n: m for n, m in context.modules.items() if isinstance(m, Moves)}


def _measure(module: Moves, context: EvaluationContext, views: list[View]) -> _Row:
    """Errors and sizes of each kind, of the images of three views."""
    y, y1, y2 = (module.target(context.encoder(v.images)) for v in views)
    space = module.space
    p, p1, p2 = (v.params.filled(space, v.images.device) for v in views)

    def moved(start: Tensor, source: Params, target: Params) -> Tensor:
        result = module.move(start, between(source, target, space))
        check_finite(result, "the predicted embeddings")
        return result

    once, first = moved(y, p, p2), moved(y, p, p1)
    twice, back, still = moved(first, p1, p2), moved(first, p1, p), moved(y, p, p)
    other = torch.arange(len(y)).roll(1)
    wrong = [v[other.to(y.device)] for v in (p, p1, p2)]
    wrong_twice = module.move(first, between(wrong[1], wrong[2], space))
    wrong_back = module.move(first, between(wrong[1], wrong[0], space))
    wrong_still = module.move(y, between(wrong[0], wrong[1], space))
    far, near = cosine_distance(y2, y), cosine_distance(y1, y)
    errors = {
        "two_steps": (cosine_distance(twice, y2), far),
        "two_steps identity": (far, far),
        "two_steps one_step": (cosine_distance(once, y2), far),
        "two_steps shuffled": (cosine_distance(wrong_twice, y2), far),
        "product": (cosine_distance(twice, once), far),
        "product shuffled": (cosine_distance(wrong_twice, once), far),
        "inverse": (cosine_distance(back, y), near),
        "inverse shuffled": (cosine_distance(wrong_back, y), near),
        "neutral": (cosine_distance(still, y), near),
        "neutral shuffled": (cosine_distance(wrong_still, y), near),
    }
    return {name: (error.cpu(), size.cpu()) for name, (error, size) in errors.items()}


def _triples(groups: Tensor) -> Tensor:
    """Rows of three images of each group that has three, every image first once: (T, 3) int64."""
    order = groups.argsort(stable=True)
    _, which, counts = torch.unique_consecutive(groups[order], return_inverse=True, return_counts=True)
    starts, size = (counts.cumsum(0) - counts)[which], counts[which]
    position = torch.arange(len(order)) - starts
    columns = [order[starts + (position + k) % size] for k in range(3)]
    return torch.stack(columns, 1)[size > 2]


def _select(row: _Row, kept: Tensor) -> _Row:
    return {name: (error[kept], size[kept]) for name, (error, size) in row.items()}


def _joined(rows: list[_Row], groups: list[Tensor]) -> tuple[_Row, Tensor]:
    if not rows:
        return {}, torch.empty(0, dtype=torch.int64)
    columns = {n: tuple(torch.cat([r[n][k] for r in rows]) for k in (0, 1)) for n in rows[0]}
    return {n: (error, size) for n, (error, size) in columns.items()}, torch.cat(groups)


def _scores(row: _Row, groups: Tensor, change: str, module: str, suffix: str, seed: int) -> Iterator[Score]:
    for name, (error, size) in row.items():
        kind, _, baseline = name.partition(" ")
        if not float(size.mean()) > 1e-9:  # the embeddings do not move, so there is nothing to compose
            continue
        result = estimate(
            lambda rows, e=error, s=size: float(e[rows].mean() / s[rows].mean()),  # type: ignore[misc]
            groups,
            seed=seed,
        )
        yield Score.of(
            f"composition/{kind}/{change}{suffix}",
            result,
            unit="ratio",
            count=len(groups),
            baseline=baseline,
            seed=seed,
            extra={"module": module, "distance": float(size.mean())},
            title=title(change, KINDS[kind] + (f", {module}" if suffix else "")),
            group=COMPOSITION,
            higher_is_better=False,
        )
