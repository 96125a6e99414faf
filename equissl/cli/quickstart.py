"""``equissl quickstart``."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from equissl import api, report
from equissl.cli import shared
from equissl.cli.arguments import Given
from equissl.errors import UserError
from equissl.progress import Display
from equissl.recipe import Recipe
from equissl.recipes import quickstart
from equissl.runs import folder as runs
from equissl.runs import load as models
from equissl.training.options import Options

AUDITED = ("crop", "hue", "rotation", "brightness")
IMAGES = 600


def run(given: Given) -> None:
    """Two pretrainings, two evaluations, two audits, one page; started again it goes on where it stopped."""
    out: Path = given["out"]
    recipes = {
        name: replace(make(), seed=given["seed"])
        for name, make in (("invariant", quickstart.invariant), ("equivariant", quickstart.equivariant))
    }
    given.check(lambda: shared.device(given), lambda: _check_out(out, recipes))
    device, began = shared.device(given), time.monotonic()
    with Display() as display:
        for step, (name, recipe) in enumerate(recipes.items()):
            display.say(f"{step + 1}/4 pretraining the {name} encoder: {recipe.about}")
            _train(recipe, out / name, name, device)
        for step, name in enumerate(recipes):
            display.say(f"{step + 3}/4 evaluating and auditing the {name} encoder")
            _evaluate(out / name, device, display)
    folders = [out / name for name in recipes]
    page = report.write(folders, out / "report.html")
    table, console = report.comparison(folders), Console()
    console.print(report.text(table, console.width))
    print(report.headline(table))
    print(f"report: {page.resolve()}")
    print(f"took {(time.monotonic() - began) / 60:.1f} minutes; everything is in {out}")


def _check_out(out: Path, recipes: dict[str, Recipe]) -> None:
    """Raises UserError if the folder holds something that is not this quickstart."""
    if out.is_file():
        raise UserError(f"out={out} is a file; choose another")
    for name, recipe in recipes.items():
        if (out / name / "recipe.json").is_file():
            if runs.changes(runs.Run(out / name), recipe):
                raise UserError(
                    f"out={out / name} holds another run (another seed or version); choose another out"
                )
        else:
            runs.check_free(out / name)


def _train(recipe: Recipe, out: Path, name: str, device: str) -> None:
    options = Options(accelerator=device, loggers=(), save_minutes=1.0)
    if (out / "recipe.json").is_file():
        api.resume(out, options=options)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        api.pretrain(recipe, out, options, name=f"quickstart.{name}")


def _evaluate(folder: Path, device: str, display: Display) -> None:
    run = runs.open_run(folder)
    if {r.get("by") for r in run.rows("scores.jsonl")} >= {"evaluate", "audit"}:
        return
    api.evaluate_run(folder, device=device, progress=display)
    loaded = models.load_run(run)
    assert loaded.recipe is not None
    data = replace(loaded.recipe.data, size=loaded.config.size)  # type: ignore[type-var]
    scores = api.audit(loaded, data, count=IMAGES, factors=AUDITED, device=device, progress=display)
    api.record(run, scores, "audit", loaded, data)
