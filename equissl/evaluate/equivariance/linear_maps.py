"""Whether features change linearly with the images, for any encoder, without labels or training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from equissl.encoder.encoder import Encoder
from equissl.evaluate.audit.references import reference
from equissl.evaluate.base import Score
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext
from equissl.evaluate.equivariance.against_untrained import Against, against_untrained, geometric_mean
from equissl.evaluate.equivariance.changes import (
    CHANGES,
    PRODUCTS,
    check_changes,
    factor_of,
    suitable_changes,
)
from equissl.evaluate.equivariance.fitted_maps import FittedMaps, Ratio
from equissl.evaluate.probes.pair_kernels import PRECISION
from equissl.evaluate.statistics import Estimate
from equissl.evaluate.titles import LINEAR_MAPS, SENSITIVITY, title

MIN_IMAGES = 10
REFERENCES = ("pixels", "statistics")
Measured = Mapping[str, tuple[FittedMaps, Mapping[str, Ratio]]]  # part -> maps, and ratios by score name


@dataclass(frozen=True)
class LinearMaps(EncoderEvaluation):
    """Error of a linear map fitted to a change of the images, for every part; 1 is the identity's, 0 exact.

    "map/CHANGE" is sum |phi(g x) - M_g phi(x)|^2 / sum |phi(g x) - phi(x)|^2, each image mapped by a ridge
    regression that was fitted without its fold (``fitted_maps``), in units of each column's deviation. Its
    baselines: "identity" (1), "shift" (the mean change is added), "constant" (the mean of all changed images:
    0.5 where the features of g x say nothing of x), "pixels" and "statistics" (maps of a thumbnail and of
    twelve numbers of the image). "moved/CHANGE" is how far features move, in units of the
    distance between two images; where that is below the precision, there is no error to measure.
    "product/FIRST+SECOND" is how far two maps, one after the other, are from the map of both changes
    together (or from no change), in units of the changes; features that a map hardly moves pass, so read it
    beside "map". Source of the map: arXiv:1411.5908, section 3; folds, units and products are ours.

    Args:
        changes: names in ``changes.CHANGES``; all that suit the images if empty.
        precision: least amplitude of what counts as a move.
        seed: of the folds and the resamples.
    """

    paper: ClassVar[str] = "arXiv:1411.5908"
    bibtex: ClassVar[str] = r"""
    @inproceedings{lenc2015equivariance,
      title = {{Understanding image representations by measuring their equivariance and equivalence}},
      author = {Lenc, Karel and Vedaldi, Andrea},
      booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
      year = {2015},
      eprint = {1411.5908},
      archivePrefix = {arXiv},
    }
    """
    name: ClassVar[str] = "linearmaps"
    scores: ClassVar[tuple[str, ...]] = ("map", "moved", "product")

    changes: tuple[str, ...] = ()
    precision: float = PRECISION
    seed: int = 0

    def __post_init__(self) -> None:
        check_changes(self.changes)

    def unavailable_reason(self, context: EvaluationContext) -> str:
        groups = context.datasets["test"].groups[context.rows["test"]]
        count = len(torch.unique(groups))
        return f"it needs {MIN_IMAGES} test images, but there are {count}" if count < MIN_IMAGES else ""

    def run(self, context: EvaluationContext) -> Iterator[Score]:
        if not self.unavailable_reason(context):
            yield from self.compare(context)

    def compare(
        self, context: EvaluationContext, untrained: Sequence[Sequence[Encoder]] = ()
    ) -> Iterator[Score]:
        """As ``run``, with copies of the encoder that have random weights as the baseline "random".

        Then ``extra["to_untrained"]`` of an error is [its ratio to theirs, low, high], on the same images and
        folds, and ``extra["verdict"]`` says "below untrained", "above untrained" or "undecided"
        (``against_untrained``).

        Args:
            untrained: copies in families that were initialised in one way each.
        """
        measured = self.measure(context)
        called = replace(context, modules={}, model="an untrained copy")
        copies = [[self.measure(replace(called, encoder=e))["all"] for e in f] for f in untrained]
        against = against_untrained(measured["all"][1], [[r for _, r in family] for family in copies])
        yield from own_scores(measured, self, against)
        yield from random_scores(measured["all"][1], [copy for f in copies for copy in f], self.seed)
        shape = context.image_shape()
        for name in REFERENCES:
            encoder = reference(name, shape)
            with_it = replace(context, encoder=encoder, modules={}, device="cpu", model=name)
            for score in ratio_scores({"all": self.measure(with_it)["all"]}, self.seed, name):
                if score.name in measured["all"][1]:
                    yield score

    def passes(self, shape: tuple[int, ...], untrained: int = 0) -> int:
        """How often all images (C, H, W) go through an encoder or a reference."""
        return (1 + untrained + len(REFERENCES)) * (1 + len(suitable_changes(self.changes, shape)))

    def measure(self, context: EvaluationContext) -> Measured:
        """Maps and ratios of every part of the features."""
        plain = context.features("test")
        names = suitable_changes(self.changes, context.image_shape())
        views = {name: context.features("test", CHANGES[name]) for name in names}
        found = {}
        for part, x in plain.by_part().items():
            changed = {name: view.by_part()[part] for name, view in views.items()}
            maps = FittedMaps.of(x, changed, plain.groups, self.seed)
            found[part] = maps, self._ratios(maps)
        return found

    def _ratios(self, maps: FittedMaps) -> dict[str, Ratio]:
        moving = [n for n in maps.fits if maps.amplitude(n).value > self.precision]
        ratios = {f"map/{n}": maps.error(n) for n in moving}
        products = [p for p in PRODUCTS if all(n in moving for n in p if n)]
        return ratios | {product_name(*p): maps.product_error(*p) for p in products}

    @classmethod
    def example(cls) -> LinearMaps:
        return cls(("horizontal_flip",))


def product_name(first: str, second: str, product: str) -> str:
    """The name of a product's score."""
    return f"product/{first}+{second}"


def own_scores(measured: Measured, evaluation: LinearMaps, against: Mapping[str, Against]) -> Iterator[Score]:
    """The rows of the encoder itself, with the baselines "identity", "shift" and "constant"."""
    seed = evaluation.seed
    for part, (maps, ratios) in measured.items():
        for change in maps.changed:
            moves = f"map/{change}" in ratios
            yield Score.of(
                f"moved/{change}",
                maps.amplitude(change).interval(),
                unit="ratio",
                count=len(maps.plain),
                part=part,
                seed=seed,
                extra={"factor": factor_of(change), "moves": moves, "precision": evaluation.precision},
                title=title(change, "moved" if moves else "does not move"),
                group=SENSITIVITY,
            )
    yield from ratio_scores(measured, seed, against=against)
    maps, ratios = measured["all"]
    for change in maps.fits:
        if f"map/{change}" in ratios:
            rows = {
                "identity": Estimate(1.0, 1.0, 1.0),
                "shift": maps.shift_error(change).interval(),
                "constant": maps.constant_error(change).interval(),
            }
            for baseline, result in rows.items():
                yield _score(f"map/{change}", result, maps, "all", baseline, seed)
    for product in PRODUCTS:
        if product_name(*product) in ratios:
            shift = maps.product_shift_error(*product).interval()
            yield _score(product_name(*product), shift, maps, "all", "shift", seed)


def ratio_scores(
    measured: Measured, seed: int, baseline: str = "", against: Mapping[str, Against] = {}
) -> Iterator[Score]:
    """A row for each ratio.

    Args:
        against: of the whole features, how they compare with untrained networks.
    """
    for part, (maps, ratios) in measured.items():
        for name, ratio in ratios.items():
            extra = {"live": maps.live, "width": maps.width, **_details(name, maps)}
            if part == "all" and name in against:
                found = against[name]
                extra["to_untrained"] = [found.ratio.value, found.ratio.low, found.ratio.high]
                extra["verdict"] = found.word
            yield _score(name, ratio.interval(), maps, part, baseline, seed, extra)


def random_scores(
    own: Mapping[str, Ratio], copies: Sequence[tuple[FittedMaps, Mapping[str, Ratio]]], seed: int
) -> Iterator[Score]:
    """The geometric mean over untrained copies, of the ratios that the encoder has."""
    for name in own:
        if found := [(maps, ratios[name]) for maps, ratios in copies if name in ratios]:
            each = {"each": [r.value for _, r in found]}
            mean = geometric_mean([r for _, r in found])
            yield _score(name, mean, found[0][0], "all", "random", seed, each)


def _details(name: str, maps: FittedMaps) -> dict[str, object]:
    kind, _, which = name.partition("/")
    if kind == "map":
        return {"factor": factor_of(which), "penalties": [fold.penalty for fold in maps.fits[which]]}
    first, second, whole = next(p for p in PRODUCTS if product_name(*p) == name)
    facts: dict[str, object] = {"factor": factor_of(first), "product": whole or "unchanged"}
    return facts | ({"composed": maps.composed_error(first, second, whole)} if whole else {})


def _score(
    name: str,
    result: Estimate,
    maps: FittedMaps,
    part: str,
    baseline: str,
    seed: int,
    extra: Mapping[str, object] | None = None,
) -> Score:
    kind, _, which = name.partition("/")
    words = " then ".join(which.split("+"))
    return Score.of(
        name,
        result,
        unit="ratio",
        count=len(maps.plain),
        part=part,
        baseline=baseline,
        seed=seed,
        extra=extra or {},
        title=title(words, "error of a linear map" if kind == "map" else "against one map"),
        group=LINEAR_MAPS,
        higher_is_better=False,
    )
