"""The audits in some run folders as typed, frozen data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from equissl.report import display_names as names
from equissl.report.audit.equivariance import Equivariance, equivariances
from equissl.report.audit.intervals import Interval, interval_of, numbers, numbers_by_name, triple
from equissl.report.models import Model
from equissl.report.rows import IMAGE, Measure, Row, Run, number, text

PREFIX = "audit/"
LEAST_CEILING = 0.05  # of the way from chance to 1; below it nothing is read, and no bar may look full
ANGLES = ("radians", "turns", "degrees")
REFERENCES = {"pixels": "thumbnail", "statistics": "image statistics", "luminance": "luminance"}


@dataclass(frozen=True)
class Example:
    """One image before and after a factor's change, as data URIs, with the change in words.

    Args:
        changed: "" for one image of which a recorded factor is read.
        read: what a probe read from the features instead; "" for an example that is only shown.
        first: what the first image is; "" for one that the second was made of.
    """

    image: str
    original: str
    changed: str
    change: str
    read: str = ""
    first: str = ""


@dataclass(frozen=True)
class Reading:
    """One factor as it is read from one encoder.

    Args:
        factor: its name; ``augmentation`` that of what changed it, or the factor's own.
        measure: "R2" or "balanced accuracy".
        chance: score of a constant.
        ceiling: the best of all that was read of the same images, None if unknown.
        verdict: a word of ``evaluate.audit.verdict``, "" without untrained networks.
        untrained: scores of networks of its kind with random weights.
        references: what else was read from the same images, "pixels", "statistics", "luminance".
        probes: probe -> score; ``probe`` is the one that was chosen.
        curve: number of images -> score.
        decided_by: of an open factor, how many times as many images and untrained networks would decide it,
            if scores stay; None if it is decided, or nothing that was tried would.
        is_angle: it is a cosine and a sine, of an angle or a hue.
        recorded: the dataset records it, and it is read from single images.
        from_class, from_others: what the class alone tells of it, and all other recorded factors.
        within_class, partial: what the features add to these; None where they leave next to nothing.
    """

    factor: str
    title: str
    augmentation: str
    measure: str
    score: Interval
    chance: float
    verdict: str = ""
    count: int = 0
    untrained: tuple[float, ...] = ()
    references: Mapping[str, Interval] = field(default_factory=dict)
    shuffled: Interval | None = None
    to_untrained: Interval | None = None
    to_statistics: Interval | None = None
    probe: str = ""
    probes: Mapping[str, float] = field(default_factory=dict)
    amplitude: float | None = None
    bits: float | None = None
    ceiling: float | None = None
    absolute: Interval | None = None
    degrees: float | None = None
    sign: float | None = None
    curve: Mapping[int, float] = field(default_factory=dict)
    live: int = 0
    width: int = 0
    example: Example | None = None
    worst: tuple[Example, ...] = ()
    is_angle: bool = False
    decided_by: tuple[float, float] | None = None
    recorded: bool = False
    from_class: Interval | None = None
    within_class: Interval | None = None
    from_others: Interval | None = None
    partial: Interval | None = None

    @property
    def symbol(self) -> str:
        """What the score is called beside a number."""
        return names.unit(self.measure) if self.measure == "R2" else "accuracy"

    @property
    def top(self) -> float:
        """The score that counts as all: the ceiling where it is known and above chance, otherwise 1."""
        return top(self.chance, self.ceiling)

    @property
    def share(self) -> float:
        """The score between chance (0) and the ceiling (1)."""
        return share(self.score.value, self.chance, self.ceiling)


@dataclass(frozen=True)
class Audit:
    """One encoder's audit.

    Args:
        facts: what the rows say of data, weights and inputs.
        distinct: images that are no copies of one another, None if unknown.
        copies: images that were left out as they are copies of others.
        groups: of images that belong together, such as those of one object; None if unknown.
        layers: part or layer -> factor -> score, from the first to the last; "output" is all of the features.
        series: number of its colour.
        equivariance: how features change with the images, by factor, if that was measured.
    """

    name: str
    run: Run
    readings: tuple[Reading, ...]
    facts: Row
    count: int
    distinct: int | None
    copies: int = 0
    groups: int | None = None
    layers: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    series: int = 0
    equivariance: tuple[Equivariance, ...] = ()

    @property
    def random(self) -> bool:
        """Whether its weights are random, so that there is nothing to audit."""
        return text(self.facts.get("weights")).startswith("random")

    @property
    def images(self) -> int:
        return self.count if self.distinct is None else self.distinct


def top(chance: float, ceiling: float | None) -> float:
    """The score that counts as all: the ceiling where it is known and above chance, otherwise 1."""
    low = chance + LEAST_CEILING * (1 - chance)
    return ceiling if ceiling is not None and ceiling > low else 1.0


def share(value: float, chance: float, ceiling: float | None) -> float:
    """A score between chance (0) and the ceiling (1)."""
    return (value - chance) / (top(chance, ceiling) - chance)


def audits(models: Sequence[Model]) -> tuple[Audit, ...]:
    """The audits of some models, one per run that has rows of one."""
    found = [a for k, m in enumerate(models) for run in m.runs if (a := _audit(m, run, k))]
    return tuple(found)


def _audit(model: Model, run: Run, series: int) -> Audit | None:
    every = model.rows(run)
    if not (own := [m for m in every if m.name.startswith(PREFIX) and not m.baseline]):
        return None
    last = own[-1]
    every = [m for m in every if (m.data, m.split, m.step) == (last.data, last.split, last.step)]
    rows = [m for m in every if m.name.startswith(PREFIX)]
    by_name: dict[str, list[Measure]] = {}
    layers: dict[str, dict[str, Interval]] = {}
    for row in rows:
        if row.part == "all":
            by_name.setdefault(row.name, []).append(row)
        elif not row.baseline:
            found = Interval(row.value, row.low, row.high)
            layers.setdefault(row.part, {})[row.name.removeprefix(PREFIX)] = found
    readings = [r for of_one in by_name.values() if (r := _reading(of_one, run.examples))]
    if not readings:
        return None
    if layers:
        layers["output"] = {r.factor: r.score for r in readings}
    distinct = number(last.extra.get("distinct"))
    return Audit(
        name=model.name if len(model.runs) == 1 else f"{model.name}, {run.folder.name}",
        run=run,
        readings=tuple(readings),
        facts={"data": last.data, "split": last.split, "seed": last.seed, **last.facts, **_protocol(last)},
        count=max(r.count for r in readings),
        distinct=None if distinct is None else int(distinct),
        copies=int(number(last.extra.get("copies")) or 0),
        groups=None if (groups := number(last.extra.get("groups"))) is None else int(groups),
        layers=layers,
        series=series,
        equivariance=_own(equivariances(every), last.facts),
    )


def _own(found: Sequence[Equivariance], facts: Row) -> tuple[Equivariance, ...]:
    """Without comparisons to untrained networks, of an encoder whose own weights are random."""
    if not text(facts.get("weights")).startswith("random"):
        return tuple(found)
    bare = [[replace(c, untrained=(), verdict="") for c in e.changes] for e in found]
    return tuple(replace(e, changes=tuple(changes)) for e, changes in zip(found, bare, strict=True))


def _protocol(row: Measure) -> Row:
    return {n: v for n in ("precision", "draws") if (v := number(row.extra.get(n))) is not None}


def _reading(rows: Sequence[Measure], examples: Row) -> Reading | None:
    own = next((m for m in reversed(rows) if not m.baseline), None)
    if own is None:
        return None
    beside = {m.baseline: m for m in rows}
    factor, extra = own.name.removeprefix(PREFIX), own.extra
    shown = examples.get(factor)
    shown = shown if isinstance(shown, Mapping) else {}
    worst = shown.get("worst")
    chance = beside["constant"].value if "constant" in beside else 0.0
    return Reading(
        factor=factor,
        title=own.title or names.label(factor),
        augmentation=text(shown.get("augmentation")) or factor,
        measure=own.unit or "R2",
        score=Interval(own.value, own.low, own.high),
        chance=min(chance, 0.99),
        verdict=text(extra.get("verdict")),
        count=own.count,
        untrained=numbers(beside["random"].extra.get("each")) if "random" in beside else (),
        references={n: interval_of(beside[n]) for n in REFERENCES if n in beside},
        shuffled=interval_of(beside["shuffled"]) if "shuffled" in beside else None,
        to_untrained=triple(extra.get("to_untrained")),
        to_statistics=triple(extra.get("to_statistics")),
        probe=text(extra.get("probe")),
        probes=numbers_by_name(extra.get("probes")),
        amplitude=number(extra.get("amplitude")),
        bits=number(extra.get("bits")),
        ceiling=number(extra.get("ceiling")),
        absolute=triple(extra.get("absolute")),
        degrees=number(extra.get("degrees")),
        sign=number(extra.get("sign")),
        curve=_curve(extra.get("learning_curve"), own),
        live=int(number(extra.get("live")) or 0),
        width=int(number(extra.get("width")) or 0),
        example=next(_examples([shown]), None),
        worst=tuple(_examples(worst)) if isinstance(worst, list) else (),
        decided_by=_times(extra.get("decided_by")),
        is_angle=text(extra.get("unit")) in ANGLES,
        recorded=extra.get("recorded") is True,
        **{n: triple(extra.get(n)) for n in ("from_class", "within_class", "from_others", "partial")},
    )


def _times(found: object) -> tuple[float, float] | None:
    if not isinstance(found, Mapping):
        return None
    images, networks = number(found.get("images")), number(found.get("networks"))
    return (images, networks) if images and networks and images >= 1 and networks >= 1 else None


def _curve(values: object, own: Measure) -> dict[int, float]:
    """Number of images -> score, with that of all images at the end."""
    points = {int(k): v for k, v in numbers_by_name(values).items() if k.isdecimal()}
    return dict(sorted({**points, own.count: own.value}.items())) if points else {}


def _examples(rows: Sequence[object]) -> Iterator[Example]:
    for row in rows:
        if isinstance(row, Mapping):
            original, changed = (text(row.get(n)) for n in ("original", "changed"))
            shown = [original, changed] if changed else [original]
            if all(IMAGE.fullmatch(i) for i in shown):  # nothing that loads or runs something
                change = text(row.get("change", row.get("true")))
                words = (change, text(row.get("read")), text(row.get("first")))
                yield Example(text(row.get("image")), original, changed, *words)
