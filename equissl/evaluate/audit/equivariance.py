"""Equivariance in an audit: linear maps beside untrained copies, curves, and composition of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from equissl.data.base import Dataset
from equissl.encoder.encoder import Encoder
from equissl.encoder.untrained import CALIBRATION_IMAGES, untrained_copy
from equissl.evaluate.audit.duplicates import distinct_images
from equissl.evaluate.audit.options import MOST_IMAGES
from equissl.evaluate.audit.sensitivity.curves import SensitivityCurves
from equissl.evaluate.base import Score
from equissl.evaluate.context import EvaluationContext
from equissl.evaluate.equivariance.composition import Composition
from equissl.evaluate.equivariance.linear_maps import LinearMaps
from equissl.evaluate.features import plain_images
from equissl.objective import Predictive
from equissl.progress import Progress, no_progress
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
    model: str = "",
) -> list[Score]:
    """How features change with the images: linear maps, curves, and composition where there is a predictor.

    Args:
        audited: scores of the audit, whose images and number of untrained copies are taken.
        modules: that predict embeddings, on ``device``.

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
    context = EvaluationContext(
        encoder,
        {"test": dataset},
        {"test": index},
        modules or {},
        seed=seed,
        device=device,
        progress=progress,
        image=image,
        model=model,
    )
    maps = LinearMaps(seed=seed)
    scores = list(maps.compare(context, _copies(context, index, copies)))
    for evaluation in (SensitivityCurves(), Composition()):
        scores += evaluation.run(context)
    return [s if s.paper else replace(s, paper=maps.paper if _is_map(s) else "") for s in scores]


def _is_map(score: Score) -> bool:
    return score.name.partition("/")[0] in LinearMaps.scores


def _copies(context: EvaluationContext, index: Tensor, count: int) -> list[Encoder]:
    encoder = context.encoder
    if not any(p.is_floating_point() for p in encoder.parameters()):
        return []  # all copies would be itself
    dataset = context.datasets["test"]
    images = plain_images(dataset, index[:CALIBRATION_IMAGES], context.image, context.device)
    return [untrained_copy(encoder, images, seed) for seed in range(count)]
