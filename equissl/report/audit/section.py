"""The audit on the page as data for its template: cards of factors, bars in per cent of their width."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from equissl.report import display_names as names
from equissl.report.audit import compared, equivariance_section, words
from equissl.report.audit import figures as drawn
from equissl.report.audit.readings import REFERENCES, Audit, Example, Reading
from equissl.report.figures import SHAPES
from equissl.report.rows import Row, text

BELOW = 0.08  # of the way from chance to 1 that a bar shows below chance
MAX_EXAMPLE_CHARACTERS = 2_000_000  # of all images of the page
VERSIONS = ("equissl", "torch", "timm", "torchvision", "numpy")


@dataclass(frozen=True)
class Bar:
    """One encoder's reading of one factor; places are per cent of the bar's width.

    Args:
        band: of the untrained networks, from the lowest to the highest.
        marks: (reference, place, score).
        tone: of the verdict: "good", "bad" or "none".
    """

    audit: Audit
    reading: Reading
    chance: float
    value: float
    low: float
    high: float
    ceiling: float | None
    band: tuple[float, float] | None
    marks: tuple[tuple[str, float, str], ...]
    verdict: str
    tone: str
    sentence: str
    downstream: str
    numbers: tuple[tuple[str, str], ...]

    @property
    def score(self) -> str:
        return names.decimal(self.reading.score.value, 2)

    @property
    def margin(self) -> str:
        return words.interval(self.reading.score).partition(" ")[2]


@dataclass(frozen=True)
class Factor:
    """One factor, a bar for each encoder that was audited for it, and what they read worst."""

    title: str
    symbol: str
    bars: tuple[Bar, ...]
    worst: tuple[tuple[Audit, tuple[Example, ...]], ...]


@dataclass(frozen=True)
class Card:
    """The factors of one augmentation, with one image before and after it."""

    title: str
    example: Example | None
    factors: tuple[Factor, ...]


def context(audits: Sequence[Audit], paired: Sequence[Row]) -> dict[str, Any]:
    """What ``audit.html.j2`` shows."""
    return {
        "claims": [(a, words.claim(a)) for a in audits],
        "audit_warnings": list(dict.fromkeys(w for a in audits for w in words.warnings(a))),
        "cards": list(_cards(audits)),
        "earlier": [(a, line) for a in audits for line in words.earlier_layers(a)],
        "deciding": [(a, said) for a in audits if (said := words.to_decide(a))],
        "repairs": [(a, *words.repair(a)) for a in audits if words.to_repair(a)],
        "comparisons": list(comparisons(audits, paired)),
        "profiles": list(zip(*(drawn.profiles(audits, shape) for shape in SHAPES), strict=True)),
        "learning": [drawn.learning_curves(audits, shape) for shape in SHAPES],
        "measured": [(a, measured(a)) for a in audits],
        "references": [n for n in REFERENCES if any(n in r.references for a in audits for r in a.readings)],
        "has_band": any(r.untrained for a in audits for r in a.readings),
        "has_ceiling": any(r.ceiling is not None for a in audits for r in a.readings),
        "reference_names": REFERENCES,
        **equivariance_section.context(audits),
    }


def _cards(audits: Sequence[Audit]) -> Iterator[Card]:
    by_augmentation: dict[str, dict[str, list[tuple[Audit, Reading]]]] = {}
    for audit in audits:
        for reading in audit.readings:
            factors = by_augmentation.setdefault(reading.augmentation, {})
            factors.setdefault(reading.factor, []).append((audit, reading))
    room = MAX_EXAMPLE_CHARACTERS
    for augmentation, factors in by_augmentation.items():
        readings = [r for of_one in factors.values() for _, r in of_one]
        example = next((r.example for r in readings if r.example), None)
        room -= _size([example] if example else [])
        found = []
        for of_one in factors.values():
            worst = tuple((a, r.worst) for a, r in of_one if r.worst)
            room -= (size := _size([e for _, examples in worst for e in examples]))
            if room < 0:
                room, worst = room + size, ()
            first = of_one[0][1]
            found.append(Factor(first.title, first.symbol, tuple(_bar(a, r) for a, r in of_one), worst))
        title = names.label(augmentation) if len(found) > 1 else found[0].title
        yield Card(title, example, tuple(found))


def _size(examples: Sequence[Example]) -> int:
    return sum(len(e.original) + len(e.changed) for e in examples)


def _bar(audit: Audit, reading: Reading) -> Bar:
    start = reading.chance - BELOW * (1 - reading.chance)

    def place(value: float) -> float:
        return round(100 * min(max((value - start) / (1 - start), 0.0), 1.0), 2)

    score = reading.score
    low, high = (score.value if v is None else v for v in (score.low, score.high))
    verdict = words.degree(reading)
    return Bar(
        audit=audit,
        reading=reading,
        chance=place(reading.chance),
        value=place(score.value),
        low=place(low),
        high=place(high),
        ceiling=None if reading.ceiling is None else place(reading.top),
        band=(place(min(reading.untrained)), place(max(reading.untrained))) if reading.untrained else None,
        marks=tuple((n, place(f.value), names.decimal(f.value, 2)) for n, f in reading.references.items()),
        verdict=verdict,
        tone="good" if "kept" in verdict else "bad" if "lost" in verdict else "none",
        sentence=words.sentence(reading).partition(": ")[2],
        downstream=words.downstream(reading),
        numbers=tuple(numbers(reading)),
    )


def numbers(reading: Reading) -> Iterator[tuple[str, str]]:
    """(what, number) pairs of all that was measured of one factor."""
    symbol = reading.symbol
    yield symbol, words.interval(reading.score)
    yield "chance", names.decimal(reading.chance, 2)
    if reading.ceiling is not None:
        yield "ceiling, the best of all", names.decimal(reading.ceiling, 2)
    if reading.untrained:
        yield "untrained networks", ", ".join(names.decimal(v, 2) for v in reading.untrained)
    for name, found in (("untrained", reading.to_untrained), ("image statistics", reading.to_statistics)):
        if found:
            yield f"difference to {name}", words.signed(found)
    for name, found in reading.references.items():
        yield f"read from {REFERENCES[name]}", words.interval(found)
    if reading.shuffled:
        yield "targets of other images (must be chance)", words.interval(reading.shuffled)
    if reading.absolute:
        yield "from the changed image alone", words.interval(reading.absolute)
    if reading.degrees is not None:
        yield "median error", f"{reading.degrees:.0f}°"
    if reading.sign is not None:
        yield "sign of the change, accuracy", names.decimal(reading.sign, 2)
    if reading.bits is not None:
        yield "usable information", f"{names.decimal(reading.bits, 2)} bits"
    for what, alone, added in (
        ("the class", reading.from_class, reading.within_class),
        ("the class and other recorded factors", reading.from_others, reading.partial),
    ):
        if alone:
            yield f"read from {what} alone", words.interval(alone)
        if added:
            yield f"what features add to {what}, as a share of what is left", words.interval(added)
    if reading.amplitude is not None:
        yield "features move by, in distances between images", names.decimal(reading.amplitude, 2)
    if reading.probes:
        each = ", ".join(f"{n} {names.decimal(v, 2)}" for n, v in reading.probes.items())
        yield f"R² of each probe (chosen: {reading.probe})", each
    for count, value in reading.curve.items():
        yield f"with {count} images", names.decimal(value, 2)
    if reading.width:
        yield "columns that vary", f"{reading.live} of {reading.width}"


def comparisons(audits: Sequence[Audit], paired: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Pairs of encoders with a claim and one row per factor that both hold.

    Args:
        paired: rows of ``evaluate.audit.comparison``.
    """
    by_folder = {str(a.run.folder): a for a in audits}
    pairs: dict[tuple[str, str], list[Row]] = {}
    for row in paired:
        pairs.setdefault((text(row.get("folder")), text(row.get("other"))), []).append(row)
    for (folder, other), rows in pairs.items():
        if folder not in by_folder or other not in by_folder:
            continue
        first, second = by_folder[folder], by_folder[other]
        titles = {f"audit/{r.factor}": r.title for r in first.readings}
        named = [{**r, "title": titles[text(r["name"])]} for r in rows if r["name"] in titles]
        yield {
            "first": first,
            "second": second,
            "claim": compared.differences(named, first.name, second.name),
            "rows": [_difference(r, first, second) for r in named],
        }


def _difference(row: Mapping[str, Any], first: Audit, second: Audit) -> dict[str, Any]:
    places = {n: round(50 + 50 * min(max(float(row[n]), -1.0), 1.0), 2) for n in ("value", "low", "high")}
    said = compared.comparison_sentence(row, first.name, second.name)
    return {**row, "sentence": said, "places": places, "said": said.partition(": ")[2]}


def measured(audit: Audit) -> list[tuple[str, str]]:
    """(what, value) pairs of the protocol: data, counts, inputs, weights, versions, command."""
    facts, environment = audit.facts, audit.run.environment
    versions = environment.get("versions")
    versions = versions if isinstance(versions, Mapping) else {}
    command = environment.get("command")
    named = [f"{n} {versions[n]}" for n in VERSIONS if versions.get(n)]
    pairs = {
        "Images": text(facts.get("data")),
        "Split": text(facts.get("split")),
        "Number of images": str(audit.count),
        "Different images": "" if audit.distinct is None else str(audit.distinct),
        "Groups of images": "" if audit.groups in (None, audit.count) else str(audit.groups),
        "Weights": text(facts.get("weights")),
        "Size": f"{text(facts.get('size'))} px, fit: {text(facts.get('fit'))}" if facts.get("size") else "",
        "Normalisation": _normalisation(facts),
        "Draws per image": _whole(facts.get("draws")),
        "Precision": text(facts.get("precision")),
        "Seed": text(facts.get("seed")),
        "Versions": ", ".join(named),
        "Platform": text(environment.get("platform")),
        "Date": text(environment.get("started")).replace("T", " ")[:16],
        "Command": _command(command) if isinstance(command, list) else "",
    }
    return [(n, v) for n, v in pairs.items() if v]


def _command(given: Sequence[object]) -> str:
    """A command as it is typed; the program without the folder that it lies in."""
    program, *rest = [str(word) for word in given] or [""]
    return shlex.join([PurePath(program).name, *rest])


def _normalisation(facts: Row) -> str:
    mean, std = facts.get("mean"), facts.get("std")
    if isinstance(mean, list) and not any(mean) and isinstance(std, list) and all(x == 1 for x in std):
        return "none: images in [0, 1]" if mean and std else ""
    return f"mean {_list(mean)}, std {_list(std)}" if mean and std else ""


def _list(values: object) -> str:
    return (
        ", ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in values)
        if isinstance(values, list)
        else ""
    )


def _whole(value: object) -> str:
    return f"{value:.0f}" if isinstance(value, int | float) else ""
