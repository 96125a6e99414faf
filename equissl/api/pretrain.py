"""Pretrain a recipe, and resume a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from equissl.config import overrides
from equissl.config.serialize import from_dict
from equissl.data.folder import open_data
from equissl.data.given_data import passed_again
from equissl.data.given_images import Images
from equissl.progress import say_nothing
from equissl.recipe import Recipe
from equissl.runs.changes import check_resumable, check_unedited, version_changes
from equissl.runs.folder import Run, open_run
from equissl.runs.load import wrap_backbone
from equissl.storage import read_object
from equissl.temporary import clean
from equissl.training import checkpoint
from equissl.training.loop import train
from equissl.training.options import Options


def pretrain(
    recipe: Recipe,
    out: Path | str,
    options: Options = Options(),
    *,
    data: Images | None = None,
    backbone: nn.Module | None = None,
    name: str = "",
    progress: bool = False,
) -> Run:
    """Train a recipe into a new run folder.

    Args:
        data: instead of the recipe's: a folder, a table, a torch ``Dataset``, or other images; a run with
            images that are in no file is resumed and evaluated with the same passed again.
        backbone: a module of your own, (B, C, H, W) -> (B, D) or (B, D, h, w), instead of the recipe's.
        name: the recipe's name in tables.
        progress: show a live bar, as ``Options(silent=False)``.

    Raises:
        UserError: with every mistake found.

    Example:
        >>> import tempfile
        >>> from dataclasses import replace
        >>> from equissl.data import Solids
        >>> from equissl.recipes import quickstart
        >>> data = Solids(size=32, objects=12, views=2, paired=True)
        >>> recipe = replace(quickstart.invariant(), data=data, epochs=1, batch_size=8, monitor_every=0)
        >>> run = pretrain(recipe, tempfile.mkdtemp(), Options(loggers=(), silent=True))
        >>> sorted(p.name for p in run.path.iterdir() if p.suffix == ".json")
        ['components.json', 'environment.json', 'recipe.json']
    """
    if data is not None:
        recipe = replace(recipe, data=open_data(data, recipe.data.size))
    options = replace(options, silent=False) if progress else options
    if backbone is None:
        recipe.encoder.check()
    return train(recipe, Path(out), options, encoder=wrap_backbone(recipe.encoder, backbone), name=name)


def resume(
    run: Path | str,
    settings: Mapping[str, str] | None = None,
    options: Options | None = None,
    *,
    data: Images | None = None,
    backbone: nn.Module | None = None,
    trusted: Sequence[str] = (),
    say: Callable[[str], object] = say_nothing,
) -> Run:
    """Continue a run exactly where its last checkpoint left it.

    Args:
        settings: of the recipe, as text. More ``epochs`` prolong the run; ``data.path`` names the folder that
            the same images lie in now; any other change is refused.
        data: the images, where they were passed in Python.
        options: ``run_options(run)`` if absent: those the run was started with.
        say: called with a line about a run that is finished, or about what changes.

    Raises:
        UserError: the recipe would change, or there is nothing to continue.
    """
    folder = open_run(Path(run))
    recipe = folder.read_recipe(trusted)
    prolonged = overrides.override(recipe, settings or {}, tuple(trusted))
    state = checkpoint.load(folder.checkpoints)
    check_unedited(folder, from_dict(state["recipe"], Recipe, trusted), recipe)
    check_resumable(recipe, prolonged)
    if prolonged.epochs == recipe.epochs and state["epoch"] >= recipe.epochs:
        for written in (folder.path, folder.checkpoints):
            clean(written)  # it may have been killed while it wrote its last files
        say(f"{folder.path} is finished (epochs={recipe.epochs}); epochs=N prolongs it")
        return folder
    for line in version_changes(folder):
        say(line)
    if prolonged.epochs != recipe.epochs:
        say(
            f"epochs {recipe.epochs} -> {prolonged.epochs}: the learning rate now follows a schedule that "
            f"ends at epoch {prolonged.epochs}, so it jumps up where the old one had already fallen"
        )
    prolonged = replace(prolonged, data=passed_again(prolonged.data, data))
    encoder = wrap_backbone(recipe.encoder, backbone)
    kept = run_options(folder) if options is None else options
    return train(prolonged, folder.path, kept, encoder=encoder, resume=True)


def run_options(run: Run) -> Options:
    """The options that a run was started with, without the device and a stop; those a resume goes on with.

    Loggers that write outside the run folder (wandb, mlflow) are not among them: name them again.
    """
    return Options.kept(read_object(run.path / "environment.json"))
