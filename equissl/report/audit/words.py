"""What an audit found, in words: the same sentences in the terminal, on the page, in JSON and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from equissl.report import display_names as names
from equissl.report.audit.intervals import Interval
from equissl.report.audit.readings import Audit, Reading
from equissl.text import printable

FEW_GROUPS = 40
FEW_IMAGES = 200  # below which flips scored significantly below chance
MOST, SOME = 0.75, 0.25  # of the way from chance to the ceiling
SUFFICES = 0.9  # of the best probe's score
FAR, NEAR = 0.5, 0.05  # of the distance between two images
CONFOUNDED = 0.1  # of the way from chance to 1 that the class tells
GONE = 0.4  # of the best probe's score is left to a linear one,
THERE = 0.2  # and the best probe's lies this far above it
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LINEAR = ("linear", "whitened", "sparse")  # probes that a linear head can copy
# Augmentation, which the names of its factors begin with -> what its factors matter for.
MATTERS_FOR: Mapping[str, str] = {
    "crop": "detection, counting and measuring",
    "horizontal_flip": "text, handedness and the sides of a body",
    "quarter_turns": "which side is up, in scans, aerial and microscope images",
    "rotation": "orientation and pose",
    "hue": "ripeness, stains, species and whatever goes by colour",
    "saturation": "fading, haze and the health of plants",
    "brightness": "exposure, time of day and density",
    "contrast": "haze, density and the quality of scans",
    "blur": "focus, grain and small defects",
    "grayscale": "whether an image has colour",
    "vertical_flip": "which side is up",
    "solarize": "exposure",
    "invert": "whether dark means much or little, in scans and negatives",
}
DOWNSTREAM: Mapping[str, str] = {
    "kept": "frozen features will do",
    "partly kept": "frozen features will do, with errors",
    "slightly kept": "frozen features help little",
    "as untrained": "training added nothing",
    "as image statistics": "a dozen image statistics do as well",
    "below image statistics": "a dozen image statistics do better",
    "partly lost": "frozen features do worse than those of an untrained network",
    "lost": "frozen features will not do; train them further, or repair them",
}


def warnings(audit: Audit) -> Iterator[str]:
    """What must be known before any number is read; first that there are few images."""
    if audit.images < FEW_IMAGES:
        yield (
            f"Only {audit.images} different images: below {FEW_IMAGES}, scores say little, "
            "and what looks lost or kept may change with other images."
        )
    if audit.groups is not None and audit.groups < min(FEW_GROUPS, audit.images):
        yield (
            f"The {audit.images} images are of {audit.groups} groups (objects), which are resampled as "
            "wholes: intervals are rough."
        )
    if audit.random:
        yield (
            "The weights are random. Name trained ones, such as timm/NAME@pretrained or timm/NAME@FILE; "
            "what follows is what an untrained network reads."
        )
    if audit.copies:
        yield f"{audit.copies} of {audit.copies + audit.count} images are copies of others and were left out."


def claim(audit: Audit) -> str:
    """The audit in one sentence."""
    by_degree: dict[str, list[Reading]] = {}
    for reading in audit.readings:
        by_degree.setdefault(_kind(reading), []).append(reading)
    clauses = [
        words.format(listed(by_degree[kind], audit.readings))
        for kind, words in _CLAUSES.items()
        if kind in by_degree
    ]
    only = "only " if audit.images < FEW_IMAGES else ""
    where = f"On {only}{audit.images} images, {_name(audit)}"
    if audit.random:
        return (
            f"{_name(audit).removesuffix(' (random weights)')} has random weights: there is nothing to audit."
        )
    return f"{where} {'; it '.join(clauses)}."


_CLAUSES: Mapping[str, str] = {
    "kept": "keeps {}",
    "partly kept": "keeps part of {}",
    "lost": "has lost {}",
    "partly lost": "has lost part of {} that untrained networks hold",
    "as untrained": "reads {} no better than untrained networks",
    "as image statistics": "reads {} no better than image statistics do",
    "below image statistics": "reads {} worse than image statistics do",
    "read": "reads {} (compared with fewer than two untrained networks)",
    "undecided": "leaves {} undecided",
    "not surely read": "does not surely read {}",
    "not readable": "cannot be judged by {}, which neither it nor any reference reads from these images",
}


def degree(reading: Reading) -> str:
    """The verdict with its extent: "partly kept" is better than untrained, but far from all.

    Without untrained networks there is no verdict, only whether the score is surely above chance.
    """
    if not reading.verdict:
        low = reading.score.value if reading.score.low is None else reading.score.low
        return "read" if low > reading.chance else "not surely read"
    found = reading.to_statistics
    if reading.verdict == "as image statistics" and found and found.value < 0 and clear(found):
        return "below image statistics"
    return extent(reading.verdict, reading.share)


def extent(verdict: str, share: float) -> str:
    """A verdict with its extent.

    Args:
        share: the score between chance (0) and the ceiling (1).
    """
    if verdict == "kept":
        return "kept" if share >= MOST else "partly kept" if share >= SOME else "slightly kept"
    if verdict == "lost":
        return "partly lost" if share >= SOME else "lost"
    return verdict


def _kind(reading: Reading) -> str:
    """The degree as far as a claim tells degrees apart."""
    return {"slightly kept": "partly kept"}.get(degree(reading), degree(reading))


def sentence(reading: Reading) -> str:
    """One factor: the verdict, the score, how far from untrained networks and statistics, and which probe."""
    name = lower(reading.title)
    kind = degree(reading)
    score = f"{reading.symbol} {interval(reading.score)}"
    if kind == "not readable":
        at = "at or below chance" if reading.score.value <= reading.chance else "not surely above chance"
        references = "nor is any reference, corrected for all factors that were asked"
        return f"{name}: not readable on these images ({score}, {at}; {references}){_confounding(reading)}"
    count = len(reading.untrained)
    number = NUMBERS[count] if count < len(NUMBERS) else str(count)
    untrained = f"{number} untrained networks of its kind"
    if kind == "undecided" and count > 1:  # why: these differ among each other
        untrained += f" ({_plain(min(reading.untrained))} to {_plain(max(reading.untrained))})"
    whats = (
        (reading.to_untrained, untrained),
        (reading.to_statistics, "image statistics"),
    )
    parts = [score, *(_compared(found, what) for found, what in whats if found and clear(found))]
    if alike := [what for found, what in whats if found and not clear(found)]:
        parts.append(f"not clearly other than {' or '.join(alike)}")
    verdict = "" if kind == "read" else f"{kind}: "
    return f"{name}: {verdict}{', '.join(parts)}{_probe(reading)}{_movement(reading)}{_confounding(reading)}"


def _movement(reading: Reading) -> str:
    """What the score alone hides: features that move unreadably, or that tell a factor by moving hardly."""
    moved = reading.amplitude
    if moved is None:
        return ""
    if reading.share < SOME and moved > FAR:
        little = "not readably" if degree(reading) == "not surely read" else "say little of it"
        return f"; features move ({_plain(moved)} of the way to another image), but {little}"
    if reading.share >= SOME and moved < NEAR:
        return f"; features move little ({moved:.2g} of the way to another image), so that noise may hide it"
    return ""


def _confounding(reading: Reading) -> str:
    """What the class tells of a recorded factor, where that is much, and what features add to it."""
    alone, within = reading.from_class, reading.within_class
    if alone is None or alone.value < reading.chance + CONFOUNDED * (1 - reading.chance):
        return ""
    if within is None:
        return f"; the class alone tells it ({_plain(alone.value)}), so no more can be said"
    return f"; the class alone tells {_plain(alone.value)}, within a class features read {interval(within)}"


def _compared(found: Interval, what: str) -> str:
    return f"{abs(found.value):.2f} {'more' if found.value > 0 else 'less'} than {what}"


def _probe(reading: Reading) -> str:
    """What kind of head reads it. A linear one cannot read the angle between two images."""
    if not reading.probes or reading.share < 0.1 or reading.measure != "R2":
        return ""
    if degree(reading) == "not surely read" or (reading.score.low or 0.0) <= reading.chance:
        return ""
    best = max(reading.probes.values())
    linear = max((v for n, v in reading.probes.items() if n in LINEAR), default=best)
    if linear >= SUFFICES * best:
        return "" if reading.verdict == "lost" else "; a linear head suffices"
    if reading.is_angle:
        return "; a kernel probe reads it"
    if linear <= GONE * best and best - linear >= THERE:
        return f"; linearly gone (R² {_plain(linear)}), but there for a kernel probe ({_plain(best)})"
    return f"; a linear head reads {_plain(linear)}, a kernel probe {_plain(best)}"


def downstream(reading: Reading) -> str:
    """What the verdict means for who uses the features; "" where nothing can be said."""
    matters = MATTERS_FOR.get(_augmentation(reading), "")
    found = DOWNSTREAM.get(degree(reading), "")
    return f"Matters for {matters}: {found}." if matters and found else ""


def to_repair(audit: Audit) -> tuple[str, ...]:
    """Augmentations whose factors the encoder holds no better than untrained networks do."""
    weak = [r for r in audit.readings if r.verdict in ("lost", "as untrained") and not r.recorded]
    return () if audit.random else tuple(dict.fromkeys(_augmentation(r) for r in weak))


def earlier_layers(audit: Audit) -> list[str]:
    """Factors that a layer or part reads surely better than the output (intervals apart), a sentence each."""
    *earlier, last = audit.layers.values() if audit.layers else ({},)
    parts = list(audit.layers)
    said = []
    for factor, at_end in last.items():
        by_part = {p: of[factor] for p, of in zip(parts, earlier, strict=False) if factor in of}
        if not by_part:
            continue
        best = max(by_part, key=lambda p: by_part[p].value)
        low, high = by_part[best].low, at_end.high
        if low is not None and high is not None and low > high:
            title = next((r.title for r in audit.readings if r.factor == factor), factor)
            said.append(
                f"{lower(title)}: {best} reads it better than the output does, {interval(by_part[best])} "
                f"against {interval(at_end)}; use the features of {best}"
            )
    return said


def to_decide(audit: Audit) -> str:
    """What may decide the factors that are undecided or not readable; "" if all are decided."""
    open_ones = [r for r in audit.readings if r.verdict in ("undecided", "not readable")]
    if audit.random or not open_ones:
        return ""
    by_need: dict[tuple[float, float], list[Reading]] = {}
    for reading in open_ones:
        by_need.setdefault(reading.decided_by or (0, 0), []).append(reading)
    said = []
    for (images, networks), of_one in sorted(by_need.items(), reverse=True):
        which = listed(of_one, audit.readings)
        if not images:
            said.append(f"nothing that can be foreseen decides {which}")
            continue
        need = f"count={round(images * audit.count)}"
        if networks > 1:
            need += f" and untrained={round(networks * max(len(r.untrained) for r in of_one))}"
        said.append(f"{need} would decide {which}")
    now = f"now {audit.count} images and {max(len(r.untrained) for r in open_ones)} untrained networks"
    return f"If scores stay as they are and there are as many images, {'; '.join(reversed(said))} ({now})."


def repair(audit: Audit) -> tuple[str, str]:
    """A sentence on how to get back what is missing, and the command; ("", "") if nothing is."""
    keep = to_repair(audit)
    if not keep:
        return "", ""
    command = f"equissl repair MODEL data=DIR out=OUT keep={','.join(keep)}"
    return f"To fine-tune it until it holds {names.listed([lower(k) for k in keep])}:", command


def listed(readings: Sequence[Reading], of: Sequence[Reading]) -> str:
    """Factors in a sentence; those of one augmentation that are all there go by its name."""
    total = _counts(of)
    here = _counts(readings)
    titles: dict[str, None] = {}
    for reading in readings:
        family = _augmentation(reading)
        whole = here[family] == total[family] > 1
        titles[family.partition("_")[0] if whole else lower(reading.title)] = None
    return names.listed(list(titles))


def _counts(readings: Sequence[Reading]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for reading in readings:
        family = _augmentation(reading)
        counts[family] = counts.get(family, 0) + 1
    return counts


def _augmentation(reading: Reading) -> str:
    """The augmentation that the factor is one of; itself if it is recorded or of the user's own."""
    if reading.recorded:
        return reading.factor
    return next((n for n in MATTERS_FOR if reading.factor.startswith(n)), reading.factor)


def _name(audit: Audit) -> str:
    return printable(audit.name)


def clear(found: Interval) -> bool:
    """Whether an interval excludes 0."""
    return found.low is not None and found.high is not None and found.low * found.high > 0


def interval(found: Interval) -> str:
    """``0.41 [0.36, 0.46]``."""
    if found.low is None or found.high is None:
        return _plain(found.value)
    return f"{_plain(found.value)} [{_plain(found.low)}, {_plain(found.high)}]"


def signed(found: Interval) -> str:
    """``+0.30 [0.24, 0.36]``."""
    mark = "+" if round(found.value, 2) > 0 else ""
    return f"{mark}{interval(found)}"


def lower(title: str) -> str:
    """A title inside a sentence: ``Crop left`` -> "crop left", but ``HSV`` stays."""
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


def _plain(value: float) -> str:
    return names.decimal(value, 2)
