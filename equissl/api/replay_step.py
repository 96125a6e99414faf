"""Make one step of a run again, to see where a number stopped being finite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from equissl.data.given_data import passed_again
from equissl.data.given_images import Images
from equissl.distributed import resolve_device
from equissl.progress import ShowProgress, shown
from equissl.runs.folder import open_run
from equissl.runs.load import wrap_backbone
from equissl.storage import read_object
from equissl.training.options import Options
from equissl.training.precision import open_fabric
from equissl.training.replay import StepReplay, check_step, replay
from equissl.training.setup import build, resolve


def replay_step(
    run: Path | str,
    step: int,
    *,
    device: str = "cpu",
    progress: ShowProgress = False,
    data: Images | None = None,
    trusted: Sequence[str] = (),
    backbone: nn.Module | None = None,
) -> StepReplay:
    """Make step ``step`` of a run again, with every tensor looked at; the run is not changed.

    The weights are those of the nearest checkpoint before it, trained on to the step; on the device and
    precision that the run had, they are the run's own. The step itself is in float32.

    Args:
        step: from 1, as in the log and in messages.
        data: the images, where they were passed in Python.
        backbone: a module like the one the run was trained with, if that was your own.

    Raises:
        UserError: no such run or step, or the data are not the run's.
    """
    folder = open_run(Path(run))
    recipe = replace(folder.read_recipe(trusted), compile=False)
    recipe = replace(recipe, data=passed_again(recipe.data, data))
    per_epoch = read_object(folder.path / "environment.json").get("steps_per_epoch")
    if isinstance(per_epoch, int):  # before the images are read
        check_step(step, per_epoch * recipe.epochs)
    options = Options(accelerator=resolve_device(device), loggers=())
    fabric = open_fabric(recipe.precision, accelerator=options.accelerator, devices=1)
    with shown(progress) as show:
        plan = resolve(recipe, options, fabric, show)
    learner = build(plan, fabric, wrap_backbone(recipe.encoder, backbone))
    return replay(folder, step, plan, learner)
