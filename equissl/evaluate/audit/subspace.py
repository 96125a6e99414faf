"""The directions of features that carry a factor, and features without them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.errors import UserError
from equissl.evaluate.audit.factors import audited
from equissl.evaluate.audit.readouts.interval import resample_weights
from equissl.evaluate.audit.readouts.readout import Views, read_factors
from equissl.evaluate.base import FeatureTable, Score
from equissl.evaluate.classification.knn import KNN
from equissl.evaluate.context import EvaluationContext
from equissl.evaluate.probes.base import group_split
from equissl.evaluate.titles import ERASED, title

_ROUNDING = 1e-6  # of the largest singular value
_SOURCE_VIEW = 1_000_000  # the view of the plain images where they are cropped: no draw has this number


@dataclass(frozen=True)
class FactorSubspace:
    """Directions along which features change in proportion to a factor's change.

    Features without them are ``x - (x - mean) @ readers @ basis.T``. The change that is left does not
    correlate with the factor's in the images it was computed of, so that no linear probe reads it there; of
    all linear maps that achieve this, it changes the features least (LEACE, arXiv:2306.03819, theorem 4.3,
    for differences; covariances are shrunk as of Ledoit and Wolf).

    Args:
        basis: (D, k) what is taken away.
        readers: (D, k) how much: ``readers.T @ basis`` is the identity.
        mean: (D,) of the plain images.
        factor: its name.
    """

    basis: Tensor
    readers: Tensor
    mean: Tensor
    factor: str

    @staticmethod
    def of(plain: Tensor, changed: Tensor, targets: Tensor, factor: str = "") -> FactorSubspace:
        """Features (N, D) of the plain and of the changed images, and the encoded changes (N, c)."""
        from sklearn.covariance import ledoit_wolf

        x, mean = plain.double(), plain.double().mean(0)
        covariance = torch.from_numpy(ledoit_wolf((x - mean).numpy(), assume_centered=True)[0])
        values, vectors = torch.linalg.eigh(covariance)
        root = values.clamp(min=1e-12 * float(values[-1].clamp(min=1e-300))).sqrt()
        difference, y = changed.double() - x, targets.double()
        cross = (difference - difference.mean(0)).T @ (y - y.mean(0)) / len(y)
        left, singular, _ = torch.linalg.svd((vectors / root) @ (vectors.T @ cross), full_matrices=False)
        u = left[:, singular > _ROUNDING * singular[:1].clamp(min=1e-300)]
        half = vectors.T @ u
        return FactorSubspace((vectors * root) @ half, (vectors / root) @ half, mean, factor)

    def erased(self, x: Tensor) -> Tensor:
        """Features (N, D) without the directions."""
        result: Tensor = x.double() - (x.double() - self.mean) @ self.readers @ self.basis.T
        return result.float()


def erase_factor(
    context: EvaluationContext, factor: str, names: Sequence[str], draws: int = 2
) -> tuple[FactorSubspace, list[Score]]:
    """The subspace of a factor in half of the test images, and what its erasure does in the others.

    "erased/NAME" is what probes read of each factor afterwards, as in the audit, and "erased/knn" the top-1
    accuracy of nearest neighbours where the dataset has labels; ``extra`` says what it was before.

    Args:
        factor: an audit.
        names: audits to score, this one or others.
    """
    plain = context.features("test")
    fit, held_out = group_split(plain.groups, 0.5, context.seed)
    own = _views(context, factor, draws, fit)
    columns = [torch.cat([_numbers(targets[k]) for targets in own.targets.values()], 1) for k in range(draws)]
    subspace = FactorSubspace.of(
        own.plain.vectors.repeat(draws, 1),
        torch.cat([view.vectors for view in own.changed]),
        torch.cat(columns),
        factor,
    )
    scores = [
        score
        for name in dict.fromkeys((factor, *names))
        for score in _readable(subspace, _views(context, name, draws, held_out))
    ]
    return subspace, scores + list(_neighbours(subspace, plain[fit], plain[held_out]))


def _views(context: EvaluationContext, name: str, draws: int, rows: Tensor) -> Views:
    """Features of some of the test images and of their changes by an audit."""
    item = audited(name)
    plain = context.features("test", item.source, _SOURCE_VIEW if item.source else 0)
    changed = [context.features("test", item.augment, k)[rows] for k in range(draws)]
    views = Views.of(plain[rows], changed, item.factors, seed=context.seed)
    if not views.factors:
        raise UserError(f"{name}: it does not vary in these images")
    return views


def _numbers(targets: Tensor) -> Tensor:
    return targets if targets.is_floating_point() else F.one_hot(targets).float()


def _readable(subspace: FactorSubspace, views: Views) -> Iterator[Score]:
    seed, weights = views.seed, resample_weights(views.plain.groups, seed=views.seed)
    plain, *changed = (replace(t, vectors=subspace.erased(t.vectors)) for t in (views.plain, *views.changed))
    without = replace(views, plain=plain, changed=changed)
    before = {r.factor.name: r for r in read_factors(views, weights, control=False)}
    for after in read_factors(without, weights, control=False):
        own = before[after.factor.name]
        interval = own.score.interval()
        yield Score.of(
            f"erased/{after.factor.name}",
            after.score.interval(),
            unit="R2" if after.score.regress else "balanced accuracy",
            count=len(plain),
            seed=seed,
            extra={
                "erased": subspace.factor,
                "directions": subspace.basis.shape[1],
                "before": [interval.value, interval.low, interval.high],
                "linear": after.probes.get("linear"),
                "linear_before": own.probes.get("linear"),
            },
            title=title(after.factor.name, f"without {subspace.factor}"),
            group=ERASED,
        )


def _neighbours(subspace: FactorSubspace, train: FeatureTable, test: FeatureTable) -> Iterator[Score]:
    knn = KNN()
    if knn.unavailable_reason(train, test):
        return
    before = next(iter(knn.run(train, test)))
    tables = (replace(t, vectors=subspace.erased(t.vectors)) for t in (train, test))
    after = next(iter(knn.run(*tables)))
    extra = {**after.extra, "erased": subspace.factor, "before": [before.value, before.low, before.high]}
    yield replace(after, name="erased/knn", extra=extra, group=ERASED)
