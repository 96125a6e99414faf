"""The quickstart: one small encoder trained twice, invariant and equivariant, then compared."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from equissl import report
from equissl.api.audit import audit_run
from equissl.api.evaluate import EvaluationOptions, evaluate_run
from equissl.api.pretrain import pretrain, resume
from equissl.data.solids import Solids
from equissl.distributed import use_free_cores
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

# Of steps of the encoder alone: heads, views, evaluations and audits take the rest of the time.
AROUND = (2.0, 3.0)
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
        if threads := use_free_cores():
            display.say(threads)
        display.say(estimate(recipes.values()))
        for step, (name, recipe) in enumerate(recipes.items()):
            display.say(f"{step + 1}/4 pretraining the {name} encoder: {recipe.about}")
            _train(recipe, out / name, name, device, display, silent)
        for step, name in enumerate(recipes):
            display.say(f"{step + 3}/4 evaluating and auditing the {name} encoder")
            _evaluate(out / name, device, display)
    folders = [out / name for name in recipes]
    report.write(folders, out / "report.html")
    return folders


def estimate(recipes: Iterable[Recipe]) -> str:
    """How long the quickstart takes with the threads that torch has now, from two steps of its encoder."""
    recipes = list(recipes)
    seconds = min(_step_seconds(recipes[0]) for _ in range(2))
    data = recipes[0].data
    images = data.objects * data.views if isinstance(data, Solids) else 0
    steps = sum(recipe.epochs * (images // recipe.batch_size) for recipe in recipes)
    low, high = (max(1, round(factor * seconds * steps / 60)) for factor in AROUND)
    count = torch.get_num_threads()
    return (
        f"about {low} to {high} minutes with {count} thread{'s' * (count > 1)}; "
        "interrupted, the same command goes on where it stopped"
    )


def _step_seconds(recipe: Recipe) -> float:
    """Both views of a batch once forward and backward."""
    encoder = recipe.encoder.build()
    images = torch.rand(2 * recipe.batch_size, 3, recipe.encoder.size, recipe.encoder.size)
    start = time.perf_counter()
    encoder(images).vector.sum().backward()
    return time.perf_counter() - start


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
