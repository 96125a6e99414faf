"""Every objective in float32 and in bfloat16: do 200 steps end with the same features?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from equissl.data.solids import Solids
from equissl.errors import UserError, nearest
from equissl.invariance.dinov2 import DINOv2
from equissl.invariance.ibot import IBOT
from equissl.recipe import Recipe
from equissl.recipes import reconstruction, sie
from equissl.study.plan import Bars, Cell, Measure, Study
from equissl.study.presets import grid

OBJECTS, VIEWS, BATCH_SIZE = 160, 10, 64  # 25 steps in an epoch


def _module(name: str) -> Recipe:
    return grid.MODULES[name](grid.recipe())


def _dinov2() -> Recipe:
    recipe = reconstruction.ibot_small()
    assert isinstance(recipe.base, IBOT.Config)
    return replace(recipe, base=DINOv2.Config(distillation=recipe.base.distillation, part="inv"))


METHODS: Mapping[str, Callable[[], Recipe]] = {
    **{name: partial(grid.recipe, name) for name in grid.BASES},
    "ibot": reconstruction.ibot_small,
    "dinov2": _dinov2,
    **{f"simclr+{name}": partial(_module, name) for name in grid.MODULES if name != "none"},
    "sie": lambda: sie.on_solids(sie.sie()),
    "cross_attention": partial(reconstruction.small, "cross_attention"),
    "intermediate": partial(reconstruction.small, "intermediate"),
}


def precision(methods: tuple[str, ...] = tuple(METHODS), epochs: int = 8, images: int = 1000) -> Study:
    """float32 against bfloat16: kNN and factors decoded from the features after 200 steps.

    Args:
        methods: any of simclr, byol, simsiam, barlowtwins, vicreg, moco, mocov3, dino, ibot, dinov2,
            simclr+equimod, simclr+essl, simclr+augself, sie, cross_attention, intermediate.
        epochs: of training, 25 steps each on the study's own images.
        images: maximum number of test images to score.

    Raises:
        UserError: a name that does not exist.
    """
    problems = [f"methods: none is called {m!r}; {nearest(m, METHODS)}" for m in methods if m not in METHODS]
    if problems or not methods:
        raise UserError(problems or "methods must name at least one")
    cells = []
    for method in methods:
        for value in ("32-true", "bf16-mixed"):
            recipe = METHODS[method]()
            data = Solids(size=32, objects=OBJECTS, views=VIEWS, paired=method == "sie")
            common = {"data": data, "epochs": epochs, "batch_size": BATCH_SIZE, "monitor_every": 0}
            recipe = replace(recipe, precision=value, **common)  # type: ignore[arg-type]
            cells.append(Cell({"method": method, "precision": value}, recipe))
    return Study(
        title="float32 against bfloat16",
        cells=tuple(cells),
        measures=(
            Measure("knn/top1", "kNN"),
            Measure("factor/floor_hue", "floor hue, R2"),
            Measure("factor/pose", "pose, R2"),
            Measure("cost/step", "ms/step", lower=True, digits=0),
        ),
        figure=Bars(groups="method", series="precision", measures=("knn/top1", "factor/floor_hue")),
        about=(
            f"Small networks and {epochs} epochs: it asks whether bfloat16 changes what is learned, not "
            "which method is better. Differences are of the same seed, so of the same initial weights and "
            "views."
        ),
        evaluations=("knn", "factors"),
        images=images,
        compare=("precision", "32-true"),
    )
