"""How features change with the images, as typed, frozen data: for each factor maps, products and a curve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from equissl.report import display_names as names
from equissl.report.audit.intervals import Interval, interval_of, numbers, triple
from equissl.report.rows import Measure, number, text

KINDS = ("moved", "map", "product", "curve", "composition")  # what names of its rows begin with
UNCHANGED = "unchanged"  # what two changes that undo each other make up
TRIVIAL = ("identity", "shift", "constant")
REFERENCES = ("pixels", "statistics")


@dataclass(frozen=True)
class Change:
    """One change of the images, such as a turn by 90 degrees.

    Args:
        moved: how far features move, in distances between two images.
        error: of a linear map, 1 is that of no map; None where features do not move.
        trivial: errors of maps without a fit ("identity", "shift", "constant").
        untrained: errors of networks with random weights.
        references: errors of maps of "pixels" and "statistics" of the images.
        to_untrained: the error over that of untrained networks.
        verdict: "below untrained", "above untrained", "undecided"; "" without untrained networks.
    """

    name: str
    title: str
    moved: Interval
    error: Interval | None = None
    trivial: Mapping[str, float] = field(default_factory=dict)
    untrained: tuple[float, ...] = ()
    references: Mapping[str, Interval] = field(default_factory=dict)
    to_untrained: Interval | None = None
    verdict: str = ""

    @property
    def bound(self) -> float:
        """The least error without a fit."""
        return min(self.trivial.values(), default=1.0)


@dataclass(frozen=True)
class Product:
    """The map of one change and then of another against the map of both, in units of the changes.

    Args:
        whole: the change that both make up, or ``UNCHANGED``.
        composed: the error of both maps to the image itself.
    """

    first: str
    second: str
    whole: str
    error: Interval
    shift: float | None = None
    untrained: tuple[float, ...] = ()
    composed: float | None = None


@dataclass(frozen=True)
class Curve:
    """How far features move at growing strengths, in cosine distances between two images."""

    unit: str
    points: tuple[tuple[float, Interval], ...]


@dataclass(frozen=True)
class Prediction:
    """How far predictions of a module are from a law of changes, in units of the change.

    Args:
        law: "two_steps", "product", "inverse", "neutral"; ``title`` says it in words.
        baselines: "identity", "one_step", "shuffled" -> error.
    """

    module: str
    law: str
    title: str
    error: Interval
    baselines: Mapping[str, float]


@dataclass(frozen=True)
class Equivariance:
    """All that was measured of how features change with one factor of the images."""

    factor: str
    changes: tuple[Change, ...] = ()
    products: tuple[Product, ...] = ()
    curve: Curve | None = None
    predictions: tuple[Prediction, ...] = ()

    @property
    def title(self) -> str:
        return names.label(self.factor)


def equivariances(rows: Sequence[Measure]) -> tuple[Equivariance, ...]:
    """What rows of the whole features say, by factor; those with linear maps first."""
    by_name: dict[str, dict[str, Measure]] = {}
    for row in rows:
        if row.part == "all" and row.name.partition("/")[0] in KINDS:
            by_name.setdefault(row.name, {})[row.baseline] = row
    found = {name: beside for name, beside in by_name.items() if "" in beside}
    factors = [_factor(kind, name, beside[""]) for kind in KINDS for name, beside in found.items()]
    return tuple(_equivariance(factor, found) for factor in dict.fromkeys(factors) if factor)


def _factor(kind: str, name: str, own: Measure) -> str:
    """The factor that a row of this kind is of; "" for a row of another kind."""
    of, _, rest = name.partition("/")
    if of != kind or not rest:
        return ""
    if kind == "curve":
        return rest
    return rest.split("/")[1] if kind == "composition" and "/" in rest else text(own.extra.get("factor"))


def _equivariance(factor: str, found: Mapping[str, Mapping[str, Measure]]) -> Equivariance:
    def of(kind: str) -> Iterable[tuple[str, Mapping[str, Measure]]]:
        for name, beside in found.items():
            if _factor(kind, name, beside[""]) == factor:
                yield name.partition("/")[2], beside

    return Equivariance(
        factor,
        tuple(_change(n, b[""], found.get(f"map/{n}", {})) for n, b in of("moved")),
        tuple(p for n, b in of("product") if (p := _product(n, b))),
        next((c for _, b in of("curve") if (c := _curve(b[""]))), None),
        tuple(_prediction(n, b) for n, b in of("composition")),
    )


def _change(name: str, moved: Measure, rows: Mapping[str, Measure]) -> Change:
    own = rows.get("")
    if own is None:
        return Change(name, names.label(name), interval_of(moved))
    return Change(
        name,
        names.label(name),
        interval_of(moved),
        interval_of(own),
        {b: rows[b].value for b in TRIVIAL if b in rows},
        numbers(rows["random"].extra.get("each")) if "random" in rows else (),
        {b: interval_of(rows[b]) for b in REFERENCES if b in rows},
        triple(own.extra.get("to_untrained")),
        text(own.extra.get("verdict")),
    )


def _product(name: str, rows: Mapping[str, Measure]) -> Product | None:
    first, plus, second = name.partition("+")
    if not plus:
        return None
    return Product(
        first,
        second,
        text(rows[""].extra.get("product")) or UNCHANGED,
        interval_of(rows[""]),
        rows["shift"].value if "shift" in rows else None,
        numbers(rows["random"].extra.get("each")) if "random" in rows else (),
        number(rows[""].extra.get("composed")),
    )


def _curve(row: Measure) -> Curve | None:
    given = row.extra.get("curve")
    points = [numbers(point) for point in given] if isinstance(given, list) else []
    if not points or any(len(p) != 4 for p in points):
        return None
    return Curve(text(row.extra.get("of")), tuple((p[0], Interval(*p[1:])) for p in points))


def _prediction(name: str, rows: Mapping[str, Measure]) -> Prediction:
    own = rows[""]
    others = {b: row.value for b, row in rows.items() if b}
    return Prediction(
        text(own.extra.get("module")),
        name.partition("/")[0],
        own.title or names.label(name),
        interval_of(own),
        others,
    )
