"""Run folders as typed, frozen data; what cannot be read becomes a sentence in ``Run.problems``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from equissl.storage import parse_json
from equissl.tables import read_csv

Row = Mapping[str, object]
EVIDENCE = ("recipe.json", "log.jsonl", "scores.jsonl")  # any one of them makes a folder a run
LARGEST = 1e100  # of a number: means, variances and axes of larger ones overflow
RECONSTRUCTIONS = "reconstructions.json"
AUDIT_EXAMPLES = "audit_examples.json"
FACTS = ("weights", "mean", "std", "size", "fit")  # of a row, beside those that have a field
IMAGE = re.compile(r"data:image/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/=]+")


class NotARun(ValueError):
    """The folder holds nothing that a run writes."""


@dataclass(frozen=True)
class Measure:
    """One line of ``scores.jsonl``: the fields of ``evaluate.base.Score``, and where it came from.

    ``seed`` is the probe's; a run's own is in its recipe. ``extra`` and ``facts`` (``FACTS``) do not make two
    measures different.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    unit: str = ""
    count: int = 0
    part: str = "all"
    baseline: str = ""
    seed: int = 0
    model: str = ""
    split: str = ""
    data: str = ""
    step: int = 0
    title: str = ""
    group: str = ""
    higher_is_better: bool | None = None
    extra: Row = field(default_factory=dict, compare=False)
    facts: Row = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class LabelledImage:
    """An image as a data URI ("" where it was not one), its label, and its similarity to the query."""

    image: str
    label: str = ""
    similarity: float | None = None


@dataclass(frozen=True)
class Query:
    """An image and its nearest neighbours among the features, nearest first."""

    image: LabelledImage
    neighbours: tuple[LabelledImage, ...]


@dataclass(frozen=True)
class Reconstruction:
    """One view as a module's decoder reconstructs it and its targets, one of each per sample."""

    module: str
    view: str
    reconstructed: tuple[LabelledImage, ...]
    target: tuple[LabelledImage, ...]


@dataclass(frozen=True)
class Run:
    """The content of a run folder.

    Args:
        recipe: the resolved recipe as nested plain data, empty if unknown.
        log: one row per logged step.
        neighbours_note: what the neighbours were searched in.
        bad_images: (path, reason) of skipped files.
        problems: sentences on what is unreadable.
        components: what the recipe is made of and what scored it, with papers.
        reconstructions: by the decoders of modules that have one.
        views: view name -> its images, which were reconstructed.
        examples: audited factor -> its example images, unchecked.
    """

    folder: Path
    recipe: Row
    environment: Row
    log: tuple[Row, ...]
    scores: tuple[Measure, ...]
    queries: tuple[Query, ...]
    neighbours_note: str
    bad_images: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    components: tuple[Row, ...] = ()
    reconstructions: tuple[Reconstruction, ...] = ()
    views: Mapping[str, tuple[LabelledImage, ...]] = field(default_factory=dict)
    examples: Row = field(default_factory=dict)

    def model_names(self) -> tuple[str, ...]:
        """The models scored in this folder; the folder's own name if there is no score yet."""
        named = dict.fromkeys(m.model or self.folder.name for m in self.scores if not m.baseline)
        return tuple(named) or (self.folder.name,)

    def series(self, key: str) -> list[tuple[float, float]]:
        """(epoch, or step where a row has no epoch; value) of one logged quantity, finite values only."""
        axis = self.axis()
        points = ((number(row.get(axis)), number(row.get(key))) for row in self.log)
        return [(x, y) for x, y in points if x is not None and y is not None]

    def axis(self) -> str:
        """What the log is drawn against: "epoch", or "step" when a row has no epoch."""
        return "epoch" if all("epoch" in row for row in self.log) else "step"


def read(folder: Path) -> Run:
    """Read a run folder, finished or not.

    Raises:
        NotARun: there is no such folder, or nothing of a run in it.
    """
    _check(folder)
    problems: list[str] = []
    log = tuple(_lines(folder / "log.jsonl", problems))
    rows = _lines(folder / "scores.jsonl", problems)
    neighbours = _object(folder / "neighbours.json", problems)
    reconstructed = _object(folder / RECONSTRUCTIONS, problems)
    views = reconstructed.get("views")
    examples = _object(folder / AUDIT_EXAMPLES, problems).get("factors")
    components = tuple(_list_of_objects(folder / "components.json", problems))
    return Run(
        folder=folder,
        recipe=_object(folder / "recipe.json", problems),
        environment=_object(folder / "environment.json", problems),
        log=log,
        scores=tuple(_measures(rows, problems)),
        queries=tuple(_queries(neighbours.get("queries"))),
        neighbours_note=text(neighbours.get("note")),
        bad_images=tuple(_bad_images(folder / "bad_images.csv")),
        problems=tuple(problems),
        components=components,
        reconstructions=tuple(_reconstructions(reconstructed.get("reconstructions"))),
        views={text(n): _images(p) for n, p in views.items()} if isinstance(views, dict) else {},
        examples=examples if isinstance(examples, dict) else {},
    )


def measured(rows: Sequence[Row], folder: Path) -> Run:
    """Score rows that lie in memory, as if a run in ``folder`` held nothing else."""
    problems: list[str] = []
    scores = tuple(_measures(list(rows), problems))
    return Run(folder, {}, {}, (), scores, (), "", (), tuple(problems))


def number(value: object) -> float | None:
    """A finite number of at most ``LARGEST``, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= LARGEST else None


def text(value: object) -> str:
    """Text as it is, numbers in words, "" for nothing."""
    return "" if value is None else str(value)


def _check(folder: Path) -> None:
    if not folder.exists():
        raise NotARun(f"{folder} does not exist; expected a run folder")
    if not folder.is_dir():
        raise NotARun(f"{folder} is a file; expected a run folder (one that holds {', '.join(EVIDENCE)})")
    if not any((folder / name).is_file() for name in EVIDENCE):
        raise NotARun(f"{folder} is no run: it holds none of {', '.join(EVIDENCE)}")


def _object(path: Path, problems: list[str]) -> Row:
    content = _json(path, problems, dict)
    return content if isinstance(content, dict) else {}


def _list_of_objects(path: Path, problems: list[str]) -> list[Row]:
    content = _json(path, problems, list)
    return [row for row in content if isinstance(row, dict)] if isinstance(content, list) else []


def _json(path: Path, problems: list[str], kind: type) -> object:
    """The content of a file, None where there is none of this kind."""
    if not path.is_file():
        return None
    try:
        content = parse_json(path.read_text(encoding="utf-8", errors="replace"))
    except ValueError:
        content = None
    if isinstance(content, kind):
        return content
    problems.append(f"{path.name} could not be read as JSON and was left out")
    return None


def _lines(path: Path, problems: list[str]) -> list[Row]:
    """Rows of a JSON-lines file that may still be written to."""
    if not path.is_file():
        return []
    content = path.read_text(encoding="utf-8", errors="replace")
    lines = content.split("\n")
    rows: list[Row] = []
    bad = 0
    for place, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        elif place == len(lines):
            problems.append(
                f"the last line of {path.name} is cut off: it is still being written, or was killed"
            )
        else:
            bad += 1
    if bad:
        problems.append(f"{bad} unreadable {'line' if bad == 1 else 'lines'} in {path.name} left out")
    return rows


def _measures(rows: list[Row], problems: list[str]) -> Iterator[Measure]:
    lost = 0
    for row in rows:
        value = number(row.get("value"))
        if value is None or not isinstance(row.get("name"), str):
            lost += 1
            continue
        yield Measure(
            name=text(row["name"]),
            value=value,
            low=number(row.get("low")),
            high=number(row.get("high")),
            unit=text(row.get("unit")),
            count=int(number(row.get("count")) or 0),
            part=text(row.get("part")) or "all",
            baseline=text(row.get("baseline")),
            seed=int(number(row.get("probe_seed", row.get("seed"))) or 0),
            model=text(row.get("model")),
            split=text(row.get("split")),
            data=text(row.get("data")),
            step=int(number(row.get("step")) or 0),
            title=text(row.get("title")),
            group=text(row.get("group")),
            higher_is_better=better if isinstance(better := row.get("higher_is_better"), bool) else None,
            extra=extra if isinstance(extra := row.get("extra"), dict) else {},
            facts={n: row[n] for n in FACTS if n in row},
        )
    if lost:
        problems.append(
            f"{lost} of {len(rows)} scores are no finite number (or above {LARGEST:g}) and were left out"
        )


def _queries(rows: object) -> Iterator[Query]:
    for query in rows if isinstance(rows, list) else []:
        if not isinstance(query, dict):
            continue
        near = query.get("neighbours")
        neighbours = [_image(n) for n in near if isinstance(n, dict)] if isinstance(near, list) else []
        yield Query(_image(query), tuple(neighbours))


def _reconstructions(rows: object) -> Iterator[Reconstruction]:
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict):
            reconstructed, target = _images(row.get("reconstructed")), _images(row.get("target"))
            yield Reconstruction(text(row.get("module")), text(row.get("view")), reconstructed, target)


def _images(uris: object) -> tuple[LabelledImage, ...]:
    return tuple(_image({"image": u}) for u in uris) if isinstance(uris, list) else ()


def _image(row: Row) -> LabelledImage:
    image = text(row.get("image"))
    # Anything but an inline raster image could load or run something from elsewhere.
    safe = image if IMAGE.fullmatch(image) else ""
    return LabelledImage(safe, text(row.get("label")), number(row.get("similarity")))


def _bad_images(path: Path) -> Iterator[tuple[str, str]]:
    if not path.is_file():
        return
    header, *rows = read_csv(path) or [[]]
    for row in rows:
        named = dict(zip(header, row, strict=False))
        yield named.get("path", ""), named.get("reason", "")
