"""The quickstart: one small encoder trained twice, invariant and equivariant, then compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from equissl import report
from equissl.api.audit import audit_run
from equissl.api.evaluate import EvaluationOptions, evaluate_run
from equissl.api.pretrain import pretrain, resume
from equissl.errors import UserError
from equissl.evaluate.audit.options import AuditOptions
from equissl.locks import folder_lock
from equissl.progress import Display
from equissl.recipe import Recipe
from equissl.recipes.quickstart import equivariant, invariant
from equissl.runs.changes import run_differences
from equissl.runs.folder import Run, check_free, open_run
from equissl.runs.load import load_run
from equissl.training.options import Options

AUDIT = AuditOptions(
    count=300, draws=1, untrained=3, minutes=0, factors=("crop", "hue", "rotation", "brightness")
)


def quickstart(
    out: Path | str = "equissl-quickstart", *, seed: int = 0, device: str = "cpu", silent: bool = True
) -> list[Path]:
    """Two pretrainings, two evaluations, two audits and a report; called again it goes on where it stopped.

    Args:
        silent: show no progress.

    Returns:
        The two run folders; ``report.html`` lies beside them.

    Raises:
        UserError: the folder holds something else.
    """
    out = Path(out)
    recipes = quickstart_recipes(seed)
    check_out(out, recipes)
    with folder_lock(out), Display(silent=silent) as display:
        for step, (name, recipe) in enumerate(recipes.items()):
            display.say(f"{step + 1}/4 pretraining the {name} encoder: {recipe.about}")
            _train(recipe, out / name, name, device, display, silent)
        for step, name in enumerate(recipes):
            display.say(f"{step + 3}/4 evaluating and auditing the {name} encoder")
            _evaluate(out / name, device, display)
    folders = [out / name for name in recipes]
    report.write(folders, out / "report.html")
    return folders


def quickstart_recipes(seed: int = 0) -> dict[str, Recipe]:
    """The recipes by the name of their run folder."""
    return {"invariant": replace(invariant(), seed=seed), "equivariant": replace(equivariant(), seed=seed)}


def check_out(out: Path, recipes: Mapping[str, Recipe]) -> None:
    """Raises UserError if the folder holds something that is not this quickstart."""
    if out.is_file():
        raise UserError(f"out={out} is a file; choose another")
    for name, recipe in recipes.items():
        if not (out / name / "recipe.json").is_file():
            check_free(out / name)
        elif run_differences(Run(out / name), recipe):
            raise UserError(
                f"out={out / name} holds another run (another seed or version); choose another out"
            )


def _train(recipe: Recipe, out: Path, name: str, device: str, display: Display, silent: bool) -> None:
    options = Options(accelerator=device, loggers=(), save_minutes=1.0, silent=silent)
    if (out / "recipe.json").is_file():
        resume(out, options=options, say=display.say)
    else:
        pretrain(recipe, out, options, name=f"quickstart.{name}")


def _evaluate(folder: Path, device: str, display: Display) -> None:
    run = open_run(folder)
    if {str(r.get("by")) for r in run.scores} >= {"evaluate", "audit"}:
        return
    evaluate_run(folder, options=EvaluationOptions(device=device), progress=display, say=display.say)
    audit_run(load_run(run), options=AUDIT, device=device, progress=display)
