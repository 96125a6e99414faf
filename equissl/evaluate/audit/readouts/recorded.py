"""What the probes read of factors that a dataset records, such as a pose or a measured size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.data.base import Dataset
from equissl.evaluate.audit.asked import recorded_name
from equissl.evaluate.audit.readouts.interval import Resampled
from equissl.evaluate.audit.readouts.readout import Views, learning_curve, read_factors, read_together
from equissl.evaluate.audit.readouts.store import Finding, Readouts
from equissl.evaluate.audit.scores import MODEL
from equissl.evaluate.base import FeatureTable
from equissl.evaluate.factors.scoring import factor_targets, varies
from equissl.params import Factor, Params, Space, concatenate


def recorded_params(
    dataset: Dataset, index: Tensor, space: Space, image: str, batch_size: int
) -> tuple[Params, dict[str, str]]:
    """Recorded factors of the images ``index`` (N,), by the names that an audit gives them.

    Returns:
        Those that every image has and that vary, and of each other one why it is left out.
    """
    if not space.names:  # no image need be decoded
        return Space().neutral(len(index)), {}
    batches = [dataset.batch(rows).params[image] for rows in torch.split(index, batch_size)]
    params = concatenate([p.to("cpu") for p in batches])
    reasons = {f.name: _reason(f, params) for f in space}
    kept = [f for f in space if not reasons[f.name]]
    named = Space(tuple(replace(f, name=recorded_name(f.name)) for f in kept))
    values = {recorded_name(f.name): params.values[f.name] for f in kept}
    return Params.of(named, values), {n: reason for n, reason in reasons.items() if reason}


def _reason(factor: Factor, params: Params) -> str:
    """Why a factor cannot be read, as a clause; "" if it can."""
    values = params.values[factor.name].double().flatten(1)
    if missing := int((~params.applied[factor.name] | ~values.isfinite().all(1)).sum()):
        return f"{missing} of {len(params)} images have no value"
    return "" if varies(factor_targets(factor, params)) else "it is the same for all images"


def read_recorded(
    table: FeatureTable, params: Params, repeats: int, precision: float, seed: int, weights: Tensor
) -> Readouts:
    """Each factor from single images, and beside the class and the other factors.

    Args:
        table: features of the images as they are, of all rows.
        params: (N), of ``recorded_params``.
        weights: (N, R), of ``resample_weights``.
    """
    views = Views.of_recorded(table, params, repeats, precision, seed)
    found: dict[tuple[str, str], dict[str, Finding]] = {}
    for name in table.parts:
        row, _, part = name.partition("/")
        own = views.of_part(name)
        curves = learning_curve(own) if row == MODEL else {}
        found[row, part] = {
            r.factor.name: Finding(r, curve=curves.get(r.factor.name))
            for r in read_factors(own, weights, control=row == MODEL)
        }
    own = views.of_part(f"{MODEL}/all")
    together = read_together(own, views.of_part("statistics/all"), weights)
    classes = _classes(table.labels)
    of_class = {} if classes is None else _beside(own, [classes], weights)
    for factor in own.factors:
        name = factor.name
        finding = replace(found[MODEL, "all"][name], together=together[name])
        if name in of_class:
            finding = replace(finding, from_class=of_class[name][0], with_class=of_class[name][1])
        others = [factor_targets(f, params).double() for f in params.space if f.name != name]
        if others:
            columns = others if classes is None else [classes, *others]
            alone, both = _beside(replace(own, factors=[factor]), columns, weights)[name]
            finding = replace(finding, from_others=alone, with_others=both)
        found[MODEL, "all"][name] = finding
    return found


def _beside(own: Views, columns: Sequence[Tensor], weights: Tensor) -> dict[str, tuple[Resampled, Resampled]]:
    """Factor -> its score from some columns alone, and from features beside them."""
    given = own.with_columns(columns)
    together = read_together(own, given, weights)
    return {
        r.factor.name: (r.score, together[r.factor.name]) for r in read_factors(given, weights, control=False)
    }


def _classes(labels: Tensor) -> Tensor | None:
    """Classes (N, K) of 0 and 1; None where an image has none, or all are of one."""
    known = torch.unique(labels)
    if len(known) < 2 or int(known[0]) < 0:
        return None
    return F.one_hot(torch.searchsorted(known, labels), len(known)).float()
