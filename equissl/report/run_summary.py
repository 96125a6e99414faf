"""What was run, and what a reader should be warned of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from equissl.report import display_names as names
from equissl.report.models import Model, seed
from equissl.report.rows import Row, Run, number, text

COLLAPSED_STD = 0.05  # of the logged std, which is about 1 for healthy features of any width
COLLAPSED_RANK = 2.0
SHOWN = 4  # settings of a component named beside it
HARDWARE = ("device", "cuda", "processor", "threads", "platform")


def facts(model: Model) -> list[tuple[str, str]]:
    """(what, value) pairs; what the recipe does not say is not listed."""
    run = model.runs[0]
    recipe = run.recipe
    found = {
        "Data": component(recipe.get("data")),
        "Encoder": component(recipe.get("encoder")),
        "Base": component(recipe.get("base")),
        "Modules": "; ".join(_modules(recipe.get("modules"))) or ("none" if recipe else ""),
        "Optimizer": component(recipe.get("optimizer")),
        "Epochs": text(recipe.get("epochs")),
        "Batch size": text(recipe.get("batch_size")),
        "Seed" if len(model.runs) == 1 else "Seeds": _seeds(model),
        "Time": _time(model),
        "Speed": _speed(model),
        "Hardware": _hardware(run.environment),
    }
    return [(what, value) for what, value in found.items() if value]


def component(plain: object) -> str:
    """``resnet18 (stem small)`` or ``SimCLR (temperature 0.5)`` for a component of a recipe."""
    if not isinstance(plain, Mapping):
        return text(plain)
    address = text(plain.get("is"))
    # "equissl.invariance.simclr:SimCLR.Config" is people's SimCLR.
    title = text(plain.get("name")) or address.rpartition(":")[2].removesuffix(".Config")
    settings = [
        f"{key.replace('_', ' ')} {value}"
        for key, value in plain.items()
        if key != "is" and not isinstance(value, Mapping | list) and value not in (None, "", title)
    ]
    shown = settings[:SHOWN] + (["…"] if len(settings) > SHOWN else [])
    return f"{title} ({', '.join(shown)})" if shown and title else title or ", ".join(shown)


def warnings(model: Model) -> Iterator[str]:
    """Sentences on a model's runs that change how its numbers should be read."""
    for run in model.runs:
        where = f"{model.name}, {run.folder.name}" if len(model.runs) > 1 else model.name
        yield from (f"{where}: {sentence}" for sentence in _warnings(run))


def notes(model: Model) -> Iterator[str]:
    """Sentences on files that are missing or damaged."""
    for run in model.runs:
        yield from (f"{run.folder.name}: {problem}." for problem in run.problems)


def _warnings(run: Run) -> Iterator[str]:
    if run.bad_images:
        path, reason = run.bad_images[0]
        count = len(run.bad_images)
        some = "1 image was" if count == 1 else f"{count} images were"
        yield f"{some} skipped (bad_images.csv); the first is {path}: {reason}."
    if not run.scores:
        yield "no scores yet, so it is absent from the comparison."
    yield from _unfinished(run)
    yield from _collapse(run)


def _unfinished(run: Run) -> Iterator[str]:
    planned = number(run.recipe.get("epochs"))
    reached = [e for row in run.log if (e := number(row.get("epoch"))) is not None]
    if planned is None or not reached:
        return
    # The last logged step may lie up to one logging interval before the end.
    spacing = max((b - a for a, b in zip(reached[-3:], reached[-2:], strict=False)), default=0.0)
    if reached[-1] < planned - max(1.5 * spacing, 0.02 * planned):
        yield f"unfinished: the log ends at epoch {reached[-1]:.3g} of {planned:g}."


def _collapse(run: Run) -> Iterator[str]:
    limits = (("std", COLLAPSED_STD, "embedding std"), ("rank_me", COLLAPSED_RANK, "RankMe"))
    for key, limit, words in limits:
        last = run.series(key)[-1:]
        if last and last[0][1] < limit:
            yield f"collapse suspected: the last {words} is {last[0][1]:.2g}, below {limit:g}."


def _modules(plain: object) -> Iterator[str]:
    for name, entry in plain.items() if isinstance(plain, Mapping) else ():
        if isinstance(entry, Mapping):
            weight = entry.get("weight")
            times = "" if weight is None else f"{weight} \N{MULTIPLICATION SIGN} "
            yield times + (component(entry.get("module", entry)) or text(name))


def _seeds(model: Model) -> str:
    return ", ".join(text(seed(run, model.key(run))) for run in model.runs)


def _time(model: Model) -> str:
    known = [s for run in model.runs if (s := seconds(run)) is not None]
    each = " each" if len(known) > 1 else ""
    return names.duration(sum(known) / len(known)) + each if known else ""


def seconds(run: Run) -> float | None:
    """How long the training steps took, probes between them aside: images seen by images per second."""
    size = number(run.recipe.get("batch_size"))
    if size is None:
        return None
    total, before = 0.0, 0.0
    for row in run.log:
        step, speed = number(row.get("step")), number(row.get("images_per_second"))
        if step and speed:
            total, before = total + (step - before) * size / speed, step
    return total or None


def _speed(model: Model) -> str:
    speeds = sorted(y for run in model.runs for _, y in run.series("images_per_second"))
    waits = [y for run in model.runs for _, y in run.series("data_wait")]
    if not speeds:
        return ""
    waiting = f", {100 * sum(waits) / len(waits):.0f} % of the time waiting for data" if waits else ""
    return f"{speeds[len(speeds) // 2]:.0f} images/s (median){waiting}"


def _hardware(environment: Row) -> str:
    return ", ".join(_plain(key, environment[key]) for key in HARDWARE if environment.get(key))


def _plain(key: str, value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return f"{value} threads" if key == "threads" else text(value)
