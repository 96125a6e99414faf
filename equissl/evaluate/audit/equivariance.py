"""Equivariance in an audit: linear maps beside untrained copies, curves, and composition of predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from equissl.data.base import Dataset
from equissl.encoder.encoder import Encoder
from equissl.encoder.untrained import CALIBRATION_IMAGES, calibrated, untrained_copy
from equissl.evaluate.audit.duplicates import distinct_images
from equissl.evaluate.audit.options import MOST_IMAGES
from equissl.evaluate.audit.sensitivity.curves import SensitivityCurves
from equissl.evaluate.base import Score
from equissl.evaluate.context import EvaluationContext
from equissl.evaluate.equivariance.composition import Composition
from equissl.evaluate.equivariance.linear_maps import LinearMaps
from equissl.evaluate.features import plain_images
from equissl.objective import Predictive
from equissl.progress import Progress, no_progress, say_nothing
from equissl.random import shuffled


def audit_equivariance(
    encoder: Encoder,
    dataset: Dataset,
    audited: Sequence[Score],
    *,
    modules: Mapping[str, Predictive] | None = None,
    image: str = "image",
    device: torch.device | str = "cpu",
    progress: Progress = no_progress,
    say: Callable[[str], None] = say_nothing,
    model: str = "",
) -> list[Score]:
    """How features change with the images: linear maps, curves, and composition where there is a predictor.

    Args:
        audited: scores of the audit, whose images and number of untrained copies are taken.
        modules: that predict embeddings, on ``device``.
        say: gets one line that says what will be done.

    Raises:
        UserError: the copies of the encoder are no baseline.
    """
    own = next((s for s in audited if not s.baseline), Score("", 0.0))
    each = next((s.extra["each"] for s in audited if s.baseline == "random" and "each" in s.extra), ())
    copies = len(each) if isinstance(each, Sequence) else 0
    limit, seed = own.extra.get("limit"), own.seed
    count = limit if isinstance(limit, int) else MOST_IMAGES
    index = dataset.readable(shuffled(len(dataset), seed, "audit")[:count].sort().values)
    index = distinct_images(dataset, index, image)
    of_all = _OfAll(progress, "audit: equivariance")
    context = EvaluationContext(
        encoder,
        {"test": dataset},
        {"test": index},
        modules or {},
        seed=seed,
        device=device,
        progress=of_all,
        image=image,
        model=model,
    )
    maps, curves, composition = LinearMaps(seed=seed), SensitivityCurves(), Composition()
    networks = _copies(context, index, copies)
    shape = context.image_shape()
    passes = maps.passes(shape, sum(map(len, networks))) + curves.passes(shape)
    of_all.total = passes * len(index) + composition.images(context)
    say(
        f"equivariance: {len(index)} images, linear maps and curves of {passes} passes, untrained networks "
        f"included{', and predictors' if composition.images(context) else ''}"
    )
    scores = [*maps.compare(context, networks), *curves.run(context), *composition.run(context)]
    return [s if s.paper else replace(s, paper=maps.paper if _is_map(s) else "") for s in scores]


def _is_map(score: Score) -> bool:
    return score.name.partition("/")[0] in LinearMaps.scores


def _copies(context: EvaluationContext, index: Tensor, count: int) -> list[list[Encoder]]:
    """Untrained copies as those of the audit, in families that were initialised in one way."""
    encoder = context.encoder
    if not any(p.is_floating_point() for p in encoder.parameters()):
        return []  # all copies would be itself
    dataset = context.datasets["test"]
    images = plain_images(dataset, index[:CALIBRATION_IMAGES], context.image, context.device)
    families: dict[bool, list[Encoder]] = {}
    for seed, calibrate in enumerate(calibrated(encoder, count)):
        families.setdefault(calibrate, []).append(untrained_copy(encoder, images, seed, calibrate))
    return list(families.values())


@dataclass
class _OfAll:
    """Progress of several passes as one: each call counts from 0 to the images of its pass."""

    progress: Progress
    what: str
    total: int = 0
    before: int = 0

    def __call__(self, _: str, done: int, total: int) -> None:
        self.progress(self.what, self.before + done, self.total)
        if done >= total:
            self.before += total
