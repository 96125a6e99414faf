"""Targets and scores of factors, shared by the evaluations that read factors from features."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace

from torch import Tensor

from equissl.errors import UserError, nearest
from equissl.evaluate.base import Score
from equissl.evaluate.metrics import angular_error, balanced_accuracy, component_r2, flat_r2, mean_r2, r2
from equissl.evaluate.probes.base import ProbeResult
from equissl.evaluate.probes.logistic import logistic
from equissl.evaluate.probes.mlp import mlp
from equissl.evaluate.probes.ridge import ridge
from equissl.evaluate.statistics import estimate
from equissl.evaluate.titles import ANGLES, AUDIT, FACTORS, R2_VARIANTS, RELATIVE, title
from equissl.params import Circular, Factor, Params, Rotation, Space

GROUPS = {"factor": FACTORS, "factor_mlp": FACTORS, "relative": RELATIVE, "audit": AUDIT}
PROBES = {"factor": "", "factor_mlp": "MLP probe", "relative": "change"}
KINDS = {"mean": "mean over columns", "flat": "one mean for all columns", "degrees": ""}


def factor_targets(factor: Factor, params: Params) -> Tensor:
    """Targets of a probe: (N, encoded_size) numbers, or (N,) int64 classes if the factor is discrete."""
    encoded = factor.encode(params.values[factor.name])
    return factor.decode(encoded)[:, 0].round().long() if factor.discrete else encoded


def fit_factor_probe(
    kind: str, x: Tensor, targets: Tensor, groups: Tensor, x_test: Tensor, seed: int
) -> ProbeResult:
    """The MLP for "mlp"; for "ridge" ridge regression of numbers, logistic regression of classes."""
    if kind == "mlp":
        return mlp(x, targets, groups, x_test, seed)
    if targets.is_floating_point():
        return ridge(x, targets, groups, x_test, seed)
    return logistic(x, targets, groups, x_test, seed, balanced=True)


def varies(targets: Tensor) -> bool:
    """Whether the targets are finite and differ between images at all."""
    largest = float((targets - targets[:1]).abs().double().max()) if targets.numel() else 0.0
    return 1e-6 < largest < math.inf


def selected_factors(space: Space, names: Sequence[str], setting: str) -> Space:
    """The factors called ``names``, all if there are none.

    Raises:
        UserError: one that the dataset does not record; the message names the setting.
    """
    for name in names:
        if name not in space.names:
            raise UserError(
                f"{setting}: the dataset records no factor {name!r}; {nearest(name, space.names)}"
            )
    return space.select(tuple(names) or space.names)


def constant_prediction(targets: Tensor, count: int) -> Tensor:
    """The mean of the training targets, or their most frequent class, for ``count`` test images."""
    value = targets.double().mean(0) if targets.is_floating_point() else targets.mode().values
    return value.expand(count, *targets.shape[1:])


def factor_scores(
    name: str,
    factor: Factor,
    predictions: Tensor,
    targets: Tensor,
    groups: Tensor,
    part: str = "all",
    baseline: str = "",
    seed: int = 0,
    extra: Mapping[str, object] | None = None,
) -> Iterator[Score]:
    """All scores of one factor: "name/f" and, where they apply, "name_mean/f", "name_flat/f" and others."""
    main = factor_score(f"{name}/{factor.name}", predictions, targets, groups, part, baseline, seed, extra)
    yield main
    if not targets.is_floating_point():
        return
    more: dict[str, tuple[str, Callable[[Tensor], float]]] = {}
    if targets.shape[1] > 1:
        more["mean"] = "R2", lambda rows: mean_r2(predictions[rows], targets[rows])
        more["flat"] = "R2", lambda rows: flat_r2(predictions[rows], targets[rows])
    if isinstance(factor, Circular | Rotation):
        error = angular_error(factor, predictions, targets)
        more["degrees"] = "degrees", lambda rows: float(error[rows].median())
    for kind, (unit, statistic) in more.items():
        result = asdict(estimate(statistic, groups))
        yield replace(
            main,
            name=f"{name}_{kind}/{factor.name}",
            **result,
            unit=unit,
            extra=extra or {},
            title=title(factor.name, ", ".join(filter(None, (PROBES[name], KINDS[kind])))),
            group=ANGLES if kind == "degrees" else R2_VARIANTS,
            higher_is_better=kind != "degrees",
        )


def factor_score(
    name: str,
    predictions: Tensor,
    targets: Tensor,
    groups: Tensor,
    part: str = "all",
    baseline: str = "",
    seed: int = 0,
    extra: Mapping[str, object] | None = None,
) -> Score:
    """R2 of numbers (N, c), or balanced accuracy of classes (N,)."""
    kind, _, factor = name.partition("/")
    regress = targets.is_floating_point()
    metric = r2 if regress else balanced_accuracy
    result = estimate(lambda rows: metric(predictions[rows], targets[rows]), groups)
    columns = {"component_r2": component_r2(predictions, targets)} if regress and targets.shape[1] > 1 else {}
    return Score.of(
        name,
        result,
        unit="R2" if regress else "balanced accuracy",
        count=len(targets),
        part=part,
        baseline=baseline,
        seed=seed,
        extra={**(extra or {}), **columns},
        title=title(factor, PROBES[kind] if kind == "factor_mlp" else ""),
        group=GROUPS[kind],
        higher_is_better=True,
    )
