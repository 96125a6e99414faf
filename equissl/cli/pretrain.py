"""``equissl pretrain`` and ``equissl resume``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from equissl.api import pretrain as training
from equissl.auto.feasibility import feasibility_warnings
from equissl.auto.selection import Selection, select_recipe, unknown_settings, with_settings
from equissl.cli import shared
from equissl.cli.grammar.arguments import Arguments
from equissl.config.serialize import trust_needs
from equissl.data.folder import existing_data, is_data
from equissl.distributed import rank
from equissl.encoder.backbone import is_timm
from equissl.errors import UserError
from equissl.recipe import Recipe, check_views
from equissl.runs.export import export_timm, snippet
from equissl.runs.folder import Run, check_free, open_run
from equissl.runs.load import load_run
from equissl.text import shell_path
from equissl.training import loggers


def pretrain(args: Arguments) -> int:
    """Train a recipe, export the encoder, and say what to do next."""
    out: Path | None = args["out"]
    selection = selected(
        args,
        args["data"],
        args["labels"],
        lambda: None if out is None else check_free(out),
        lambda: loggers.check_names(args["loggers"]),
        lambda: shared.options(args),
    )
    recipe = selection.recipe
    odd = [f"warning: {line}" for line in recipe.data.remarks()]
    for line in [*selection.reasons, *odd, summary(recipe, selection.name)]:
        print(line)
    if args["keep"]:
        print("checking that keep= is feasible on these images")
        for line in feasibility_warnings(recipe):
            print(f"warning: {line}")
    run = training.pretrain(recipe, args["out"], shared.options(args), name=selection.name)
    _finish(run, (*shared.trusted(args), *trust_needs(recipe)))  # the user's own recipe, just written
    return 0


def selected(args: Arguments, data: Path | None, labels: str, *checks: Callable[[], object]) -> Selection:
    """The recipe of a command line with its settings.

    Raises:
        UserError: with every mistake in them, after those of ``checks``.
    """
    found: list[Selection] = []

    def choose() -> None:
        if args["recipe"] is None and data is not None and not is_data(data):
            return  # reported by existing_data
        found.append(
            select_recipe(data, args["recipe"], keep=args["keep"], ignore=args["ignore"], labels=labels)
        )

    def adjust() -> None:
        if found:
            recipe = with_settings(found[0].recipe, args.settings, shared.trusted(args), args.values)
            found[0] = replace(found[0], recipe=recipe)
            recipe.encoder.check()
        elif problems := unknown_settings(args.settings, args.values):
            raise UserError(problems)

    def views() -> None:
        if found and (data is None or is_data(data)):
            check_views(found[0].recipe, found[0].recipe.data.spaces)

    args.check(lambda: data and existing_data(data), *checks, choose, adjust, views)
    return found[0]


def summary(recipe: Recipe, name: str) -> str:
    """What will be trained, in one line."""
    encoder = recipe.encoder
    parts = [type_name(recipe.base)] if recipe.base is not None else []
    parts += [f"{w.weight:g} x {key} ({type_name(w.module)})" for key, w in recipe.modules.items()]
    epochs = "1 epoch" if recipe.epochs == 1 else f"{recipe.epochs} epochs"
    return (
        f"recipe {name}: {encoder.title} at {encoder.size} px; {' + '.join(parts)}; "
        f"{epochs} in batches of {recipe.batch_size}; seed {recipe.seed}"
    )


def type_name(config: object) -> str:
    """The method a ``Config`` belongs to."""
    return type(config).__qualname__.partition(".")[0]


def resume(args: Arguments) -> int:
    """Continue a run from its last checkpoint."""
    args.check(lambda: loggers.check_names(args["loggers"] or ()), lambda: shared.options(args))
    trusted = shared.trusted(args)
    folder = open_run(Path(args.positionals[0]))
    options = shared.options(args, training.run_options(folder))
    run = training.resume(folder.path, args.settings, options, trusted=trusted, say=print)
    _finish(run, trusted, example=False)  # it was printed when the run was started
    return 0


def _finish(run: Run, trusted: tuple[str, ...], example: bool = True) -> None:
    """Export the backbone and say where things are; ``example``: with code that loads it."""
    if rank() > 0:
        return
    folder = shell_path(run.path)
    loaded = load_run(run, trusted)
    print(f"run folder: {run.path}")
    if is_timm(loaded.config):
        out = export_timm(loaded, run.path / "export", run.scores)
        print(f"exported backbone: {out}")
        if example:
            print(f"\n{snippet(loaded, out)}")
    print(f"next: equissl evaluate {folder}   equissl audit {folder} data=DIR   equissl report {folder}")
