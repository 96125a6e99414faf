"""Settings of a run for its card, and warnings that change how its numbers should be read."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath

from equissl.report import display_names as names
from equissl.report.models import Model, seed
from equissl.report.rows import Row, Run, number, text

MIN_STD = 0.05  # of the logged std, which is about 1 for healthy features of any width
MIN_RANK = 2.0
AUDIT = "audit/"  # what the names of its scores begin with
MAX_SETTINGS = 4  # of a component, named beside it
HARDWARE = ("device", "cuda", "processor", "threads", "platform")


def summary(model: Model) -> list[tuple[str, str]]:
    """(setting, value) pairs; settings that the recipe lacks are not listed."""
    run = model.runs[0]
    recipe, titles = run.recipe, _titles(run)
    settings = {
        "Encoder": component(recipe.get("encoder"), titles),
        "Base": component(recipe.get("base"), titles),
        "Modules": "; ".join(_modules(recipe.get("modules"), titles)) or ("none" if recipe else ""),
        "Optimizer": component(recipe.get("optimizer"), titles),
        "Epochs": text(recipe.get("epochs")),
        "Batch size": text(recipe.get("batch_size")),
        "Seed" if len(model.runs) == 1 else "Seeds": _seeds(model),
        "Time": _time(model),
        "Speed": _speed(model),
        "Hardware": _hardware(run.environment),
    }
    return [(name, value) for name, value in settings.items() if value]


def provenance(model: Model) -> list[tuple[str, str]]:
    """(what, value) pairs of what made a model's numbers, from its data to its command."""
    run = model.runs[0]
    recipe, environment = run.recipe, run.environment
    facts = next((row.facts for row in run.scores if row.facts), {})
    data = component(recipe.get("data"), _titles(run))
    pairs = {
        "Data": data or ", ".join(dict.fromkeys(row.data for row in run.scores if row.data)),
        "Images": _images(model),
        "Size": f"{size} px" if (size := text(model.size() or facts.get("size"))) else "",
        "Weights": _weights(run),
        "Date": text(environment.get("started")).replace("T", " ").replace("+0000", " UTC"),
        "Version": _versions(environment),
        "Command": command(environment.get("command")),
    }
    return [(name, value) for name, value in pairs.items() if value]


def command(words: object) -> str:
    """A command as it is typed, the program by its name alone."""
    if not isinstance(words, list) or not words:
        return ""
    program, *arguments = map(str, words)
    return shlex.join([PurePath(program).name, *arguments])


def _images(model: Model) -> str:
    run = model.runs[0]
    trained, counts = number(run.environment.get("images")), [m.count for m in model.rows(run) if m.count]
    parts = [f"{trained:,.0f} to train on"] if trained else []
    parts += [f"scores of {min(counts):,} to {max(counts):,}"] if counts and min(counts) < max(counts) else []
    parts += [f"scores of {max(counts):,}"] if counts and min(counts) == max(counts) else []
    return ", ".join(parts)


def _weights(run: Run) -> str:
    """Where they started and how far they were trained; of an encoder that was only scored, its file."""
    start = text(run.environment.get("weights"))
    step = max((s for row in run.log if (s := number(row.get("step"))) is not None), default=None)
    if step is not None:
        origin = "random weights" if start == "random" else start
        return f"trained for {step:,.0f} steps" + (f" from {origin}" if origin else "")
    return start or next((text(w) for row in run.scores if (w := row.facts.get("weights"))), "")


def _versions(environment: Row) -> str:
    versions = environment.get("versions")
    named = versions if isinstance(versions, Mapping) else {}
    parts = [f"{name} {named[name]}" for name in ("equissl", "torch") if named.get(name)]
    commit = text(environment.get("commit"))
    return ", ".join(parts) + (f" (commit {commit})" if parts and commit else "")


def component(plain: object, titles: Mapping[str, str]) -> str:
    """``resnet18 (stem small)`` or ``SimCLR (temperature 0.5)`` for a component of a recipe.

    Args:
        titles: address of a class -> what people call it.
    """
    if not isinstance(plain, Mapping):
        return text(plain)
    address = text(plain.get("is")).removesuffix(".Config")
    title = text(plain.get("name")) or titles.get(address, address.rpartition(":")[2])
    settings = [
        f"{key.replace('_', ' ')} {value}"
        for key, value in plain.items()
        if key != "is" and not isinstance(value, Mapping | list) and value not in (None, "", title)
    ]
    shown = settings[:MAX_SETTINGS] + (["…"] if len(settings) > MAX_SETTINGS else [])
    return f"{title} ({', '.join(shown)})" if shown and title else title or ", ".join(shown)


def warnings(model: Model) -> Iterator[str]:
    """One sentence per reason to read a model's numbers with care: skipped images, unfinished, collapsed."""
    for run in model.runs:
        where = f"{model.name}, {run.folder.name}" if len(model.runs) > 1 else model.name
        yield from (f"{where}: {sentence}" for sentence in _warnings(run))


def unmeasured(models: Sequence[Model]) -> list[str]:
    """What some models were measured for and others not, with the command that measures it."""
    found: dict[str, list[Model]] = {"audit": [], "evaluate": []}
    for model in models:
        rows = [m for run in model.runs for m in model.rows(run) if not m.baseline]
        audits = sum(m.name.startswith(AUDIT) for m in rows)
        if audits:
            found["audit"].append(model)
        if len(rows) > audits:
            found["evaluate"].append(model)
    lines = []
    for verb, having in found.items():
        lacking = [m for m in models if m not in having and (verb == "audit" or _is_scored_run(m))]
        data = _data_of(having, verb == "audit") if having else ""
        for model in lacking if having else ():
            past = "audited" if verb == "audit" else "evaluated"
            folders = [shlex.quote(str(run.folder)) for run in model.runs]
            commands = " and ".join(f"`equissl {verb} {folder}{data}`" for folder in folders)
            lines.append(f"{model.name} was not {past} as {having[0].name} was: {commands} fills its column.")
    return lines


def _is_scored_run(model: Model) -> bool:
    """Whether it can be evaluated and was only audited; `_warnings` tells of runs without any score."""
    return any(run.recipe and run.scores for run in model.runs)


def _data_of(models: Sequence[Model], audit: bool) -> str:
    """`` data=DIR`` of what a model's rows were measured on; nothing for data of the recipe."""
    rows = [m for run in models[0].runs for m in models[0].rows(run) if m.name.startswith(AUDIT) == audit]
    where = rows[-1].data.partition(" -> ")[0].partition(" ")[2] or rows[-1].data if rows else ""
    if "/" in where:
        return f" data={shlex.quote(where)}"
    return " data=DIR" if audit else ""


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
        yield "not evaluated yet, so it is missing from the comparison; run `equissl evaluate`."
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
        where = f"epoch {reached[-1]:.3g} of {planned:g}"
        yield f"unfinished: the log ends at {where}; `equissl resume` continues it."


def _collapse(run: Run) -> Iterator[str]:
    limits = (("std", MIN_STD, "embedding std"), ("rank_me", MIN_RANK, "RankMe"))
    for key, limit, words in limits:
        last = run.series(key)[-1:]
        if last and last[0][1] < limit:
            yield f"possible collapse: the last logged {words} is {last[0][1]:.2g} (threshold {limit:g})."


def _titles(run: Run) -> dict[str, str]:
    return {text(row.get("address")): text(row.get("title")) for row in run.components if row.get("title")}


def _modules(plain: object, titles: Mapping[str, str]) -> Iterator[str]:
    for name, entry in plain.items() if isinstance(plain, Mapping) else ():
        if isinstance(entry, Mapping):
            weight = entry.get("weight")
            times = "" if weight is None else f"{weight} \N{MULTIPLICATION SIGN} "
            yield times + (component(entry.get("module", entry), titles) or text(name))


def _seeds(model: Model) -> str:
    return ", ".join(text(seed(run, model.key(run))) for run in model.runs)


def _time(model: Model) -> str:
    known = [s for run in model.runs if (s := seconds(run)) is not None]
    each = " each" if len(known) > 1 else ""
    return names.duration(sum(known) / len(known)) + each if known else ""


def seconds(run: Run) -> float | None:
    """Duration of the training steps without the probes between them: images over images per second."""
    size = number(run.recipe.get("batch_size"))
    if size is None:
        return None
    total, before = 0.0, 0.0
    for row in run.log:
        step, speed = number(row.get("step")), number(row.get("images_per_second"))
        if step and speed:
            total, before = total + (step - before) * size / speed, step
    return number(total) or None


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
    return f"{value} thread{'s' * (value != 1)}" if key == "threads" else text(value)
