"""``equissl study``."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

from equissl.cli import shared
from equissl.cli.arguments import Given
from equissl.config import registry
from equissl.config.parse import parse
from equissl.data.files.scan import existing_folder
from equissl.errors import UserError, nearest
from equissl.recipe import Recipe
from equissl.study import plan, runner
from equissl.study.plan import Study
from equissl.training.options import Options


def run(given: Given) -> None:
    """List studies, tabulate one, or carry one out."""
    if not given.things:
        given.check()
        _list()
        return
    made: dict[str, Any] = {}
    out: Path | None = given["out"]

    def make() -> None:
        made["study"] = _study(given)

    def place() -> None:
        if out is None:
            raise UserError("out=... is missing: folder to write")

    given.check(place, lambda: shared.device(given), lambda: _check_data(given), make)
    assert out is not None
    if given["only"] == "table":
        page = runner.tabulate(out)
    else:
        device = shared.device(given)
        options = Options(accelerator=device, loggers=(), save_minutes=1.0)
        page = runner.run(
            made["study"],
            out,
            seeds=given["seeds"],
            options=options,
            device=device,
            trusted=shared.trusted(given),
        )
    print(page.read_text(encoding="utf-8"))
    print(f"table: {page}   figure: {out / 'figure.png'}   scores: {out / 'scores.jsonl'}")


def parameters(function: Callable[..., Study]) -> dict[str, tuple[Any, Any]]:
    """The settings that a study itself has: name -> (type, default)."""
    hints = get_type_hints(function)
    return {n: (hints[n], p.default) for n, p in inspect.signature(function).parameters.items()}


def _study(given: Given) -> Study:
    """The study asked for, on the data asked for, with every setting applied."""
    function = registry.find_study(given.things[0])
    own = parameters(function)
    fields = [f.name for f in dataclasses.fields(Recipe)]
    values, settings, problems = {}, {}, []
    for path, text in given.settings.items():
        try:
            if path in own:
                values[path] = parse(text, own[path][0], path)
            elif path.split(".")[0] in fields:
                settings[path] = text
            else:
                valid = nearest(path, {*fields, *own, *given.values})
                problems.append(f"{path}: neither the study nor its recipes have it; {valid}")
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(problems)
    try:
        study = function(**values)
    except ValueError as error:
        raise UserError(str(error)) from error
    if not isinstance(study, Study):
        raise UserError(f"study={given.things[0]!r} returned {type(study).__name__}, not a Study")
    return plan.changed(_on_data(study, given), settings, shared.trusted(given))


def _on_data(study: Study, given: Given) -> Study:
    path: Path | None = given["data"]
    if path is None or not path.is_dir():  # a missing folder is reported by _check_data
        return study
    recipes = [c.recipe for c in study.cells]
    return study.with_recipes(
        [
            replace(
                r,
                data=shared.folder(path, r.data.size, given["labels"], limit=given["limit"] or None),
            )
            for r in recipes
        ]
    )


def _check_data(given: Given) -> None:
    if given["data"] is not None:
        existing_folder(str(given["data"]))
    if given["limit"] < 0:
        raise UserError(f"limit={given['limit']}: must be at least 0")
    if given["data"] is None and (given["limit"] or given["labels"] != "none"):
        raise UserError("limit=... and labels=... are about data=DIR, which is missing")


def _list() -> None:
    print("studies:")
    for entry in registry.studies():
        print(f"  {entry.name}: {entry.line}")
        for name, (_, default) in parameters(entry.value).items():
            shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
            print(f"    {name}={shown}")
    print("\nEvery study also takes path.to.field=value, for all of its recipes; see equissl study --help")
