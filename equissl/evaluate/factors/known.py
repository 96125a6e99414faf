"""Which known factors can be read from frozen features, and how well?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor

from equissl.errors import UserError, nearest
from equissl.evaluate.base import Estimate, Evaluation, Score, Table, estimate
from equissl.evaluate.metrics import balanced_accuracy, component_r2, degrees, flat_r2, mean_r2, r2
from equissl.evaluate.probes.linear import logistic, ridge
from equissl.evaluate.probes.mlp import network
from equissl.evaluate.titles import ANGLES, AUDIT, FACTORS, R2_VARIANTS, RELATIVE, title
from equissl.params import Circular, Factor, Params, Rotation

GROUPS = {"factor": FACTORS, "factor_mlp": FACTORS, "relative": RELATIVE, "audit": AUDIT}
PROBES = {"factor": "", "factor_mlp": "MLP probe", "relative": "change"}
KINDS = {"mean": "mean over columns", "flat": "one mean for all columns", "degrees": ""}


@dataclass(frozen=True)
class Factors(Evaluation):
    """R2 of regressing each factor, or balanced accuracy where it is discrete, for every part.

    A factor is regressed as its kind encodes it (an angle as cosine and sine, a rotation as the
    quaternion of canonical sign), and R2 is pooled over the encoded columns ("factor/..."). Where there are
    several columns, two more definitions stand beside it: averaged over columns ("factor_mean/...",
    scikit-learn's default) and with one mean for all columns ("factor_flat/...", the SIE benchmark's); R2 of
    each column is in ``extra``. Angles and rotations also give the median error ("factor_degrees/...").
    Factors that do not vary are left out. Intervals resample the groups of test images.

    Args:
        factors: which; all that the table knows if empty.
        probe: "ridge" (logistic regression for classes), "mlp" (one hidden layer of 512, whose scores are
            "factor_mlp/..." and so on) or "both".
        seed: of the split that chooses the probe's setting, and of the network's weights.
    """

    name: ClassVar[str] = "factors"
    scores: ClassVar[tuple[str, ...]] = tuple(
        f"factor{probe}{kind}" for probe in ("", "_mlp") for kind in ("", "_mean", "_flat", "_degrees")
    )

    factors: tuple[str, ...] = ()
    probe: Literal["ridge", "mlp", "both"] = "ridge"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.probe not in ("ridge", "mlp", "both"):
            raise ValueError(f"probe must be ridge, mlp or both, got {self.probe!r}")

    def missing(self, train: Table, test: Table) -> str:
        return "" if test.params.space.names else "no factor is known of these images"

    def run(self, train: Table, test: Table) -> Iterator[Score]:
        for name in self.factors:
            if name not in test.params.space.names:
                valid = nearest(name, test.params.space.names)
                raise UserError(f"no factor named {name!r} is known of these images; {valid}")
        for factor in test.params.space.select(self.factors or test.params.space.names):
            truth = target(factor, train.params), target(factor, test.params)
            if varies(truth[0]) and varies(truth[1]):
                yield from self._read(factor, train, test, *truth)

    def _read(
        self, factor: Factor, train: Table, test: Table, known: Tensor, truth: Tensor
    ) -> Iterator[Score]:
        kinds = ("ridge", "mlp") if self.probe == "both" else (self.probe,)
        unseen = test.features()
        for kind in kinds:
            name = "factor" if kind == "ridge" else "factor_mlp"
            for part, x in train.features().items():
                given = (x, known, train.groups, unseen[part], self.seed)
                if kind == "mlp":
                    reading = network(*given)
                else:
                    reading = logistic(*given, balanced=True) if factor.discrete else ridge(*given)
                found = reading.predicted, truth, test.groups
                extra: dict[str, object] = {"probe": kind, "weight": reading.weight}
                yield from scores(name, factor, *found, part, seed=self.seed, extra=extra)
            found = constant(known, len(test)), truth, test.groups
            yield from scores(name, factor, *found, baseline="constant", seed=self.seed)


def target(factor: Factor, params: Params) -> Tensor:
    """What a probe is asked for: (N, encoded_size) numbers, or (N,) int64 classes if discrete."""
    encoded = factor.encode(params.values[factor.name])
    return factor.decode(encoded)[:, 0].round().long() if factor.discrete else encoded


def varies(truth: Tensor) -> bool:
    """Whether the images differ in it at all."""
    spread = (truth - truth[:1]).abs().double().max() if len(truth) else 0.0
    return float(spread) > 1e-6


def constant(known: Tensor, count: int) -> Tensor:
    """One answer for all test images, learnt from the training ones: the mean or the commonest."""
    answer = known.double().mean(0) if known.is_floating_point() else known.mode().values
    return answer.expand(count, *known.shape[1:])


def scores(
    name: str,
    factor: Factor,
    predicted: Tensor,
    truth: Tensor,
    groups: Tensor,
    part: str = "all",
    baseline: str = "",
    seed: int = 0,
    extra: dict[str, object] | None = None,
) -> Iterator[Score]:
    """Everything there is to say of how well a factor was read: "name/factor", and beside it its kinds."""
    main = score(f"{name}/{factor.name}", predicted, truth, groups, part, baseline, seed, extra)
    yield main
    if not truth.is_floating_point():
        return
    more: dict[str, tuple[str, Callable[[Tensor], float]]] = {}
    if truth.shape[1] > 1:
        more["mean"] = "R2", lambda rows: mean_r2(predicted[rows], truth[rows])
        more["flat"] = "R2", lambda rows: flat_r2(predicted[rows], truth[rows])
    if isinstance(factor, Circular | Rotation):
        off = degrees(factor, predicted, truth)
        more["degrees"] = "degrees", lambda rows: float(off[rows].median())
    for kind, (unit, statistic) in more.items():
        found = asdict(estimate(statistic, groups))
        yield replace(
            main,
            name=f"{name}_{kind}/{factor.name}",
            **found,
            unit=unit,
            extra=extra or {},
            title=title(factor.name, ", ".join(filter(None, (PROBES[name], KINDS[kind])))),
            group=ANGLES if kind == "degrees" else R2_VARIANTS,
            higher_is_better=kind != "degrees",
        )


def score(
    name: str,
    predicted: Tensor,
    truth: Tensor,
    groups: Tensor,
    part: str = "all",
    baseline: str = "",
    seed: int = 0,
    extra: dict[str, object] | None = None,
) -> Score:
    """How well a factor was read: R2 of numbers (N, c), balanced accuracy of classes (N,)."""
    kind, _, factor = name.partition("/")
    numbers = truth.is_floating_point()
    measure = r2 if numbers else balanced_accuracy
    result: Estimate = estimate(lambda rows: measure(predicted[rows], truth[rows]), groups)
    columns = {"component_r2": component_r2(predicted, truth)} if numbers and truth.shape[1] > 1 else {}
    return Score(
        name,
        **asdict(result),
        unit="R2" if numbers else "balanced accuracy",
        count=len(truth),
        part=part,
        baseline=baseline,
        seed=seed,
        extra={**(extra or {}), **columns},
        title=title(factor, PROBES[kind] if kind == "factor_mlp" else ""),
        group=GROUPS[kind],
        higher_is_better=True,
    )
