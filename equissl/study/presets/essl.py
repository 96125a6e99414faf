"""E-SSL, Figure 1 (Dangovski et al., 2022): invariance or sensitivity to each transformation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from equissl.augment.base import Pipeline
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.data.solids import Solids
from equissl.encoder.backbone import EncoderConfig
from equissl.errors import UserError, nearest
from equissl.invariance.simclr import SimCLR
from equissl.recipe import Recipe
from equissl.recipes.transformations import TRANSFORMATIONS, baseline, check_name, invariant, sensitive
from equissl.study.plan import Bars, Cell, Measure, Study
from equissl.training.optim import AdamW, WarmupCosine
from equissl.views import ViewSpec

SIZE = 32
NONE = {"transformation": "none", "mode": "baseline"}
Change = Callable[[Recipe, str], Recipe]


def _sensitive_small(recipe: Recipe, name: str) -> Recipe:
    return sensitive(recipe, name, hidden=(256,))


SMALL: Mapping[str, Change] = {"invariant": invariant, "sensitive": _sensitive_small}
PAPER: Mapping[str, Change] = {"invariant": invariant, "sensitive": sensitive}


def transformations(
    names: tuple[str, ...] = tuple(TRANSFORMATIONS),
    modes: tuple[str, ...] = tuple(SMALL),
    paper: bool = False,
    images: int = 1000,
) -> Study:
    """SimCLR with crops only, and invariant or sensitive to one more transformation (arXiv:2111.00899).

    Args:
        names: any of horizontal_flip, grayscale, rotation, vertical_flip, jigsaw, blur, inversion,
            half_swap, solarize.
        modes: "invariant", "sensitive".
        paper: the paper's scale (CIFAR-10, ResNet-18, 800 epochs) instead of a CPU's.
        images: maximum number of test images to score.

    Raises:
        UserError: a name that does not exist.
    """
    problems = [f"modes: no mode {m!r}; {nearest(m, SMALL)}" for m in modes if m not in SMALL]
    if problems or not names or not modes:
        raise UserError(problems or "names and modes must name at least one each")
    start, modify = (baseline(), PAPER) if paper else (_small(), SMALL)
    cells = [Cell(NONE, start)]
    cells += [
        Cell({"transformation": check_name(n), "mode": m}, modify[m](start, n)) for n in names for m in modes
    ]
    scale = (
        "The paper's setting" if paper else "A CPU-sized setting of our own, not comparable with the paper's"
    )
    return Study(
        title="Invariance or sensitivity to each transformation (E-SSL, Figure 1)",
        cells=tuple(cells),
        measures=(Measure("knn/top1", "kNN"), Measure("linear/top1", "top-1")),
        figure=Bars(groups="transformation", series="mode"),
        about=(
            f"{scale}; SimCLR with random resized crops only, and one transformation at a time. All runs "
            "share one learning rate; the authors' later code doubles it for the sensitive ones, and their "
            "kNN has k = 200 and temperature 0.1 (here 20 and 0.07)."
        ),
        images=images,
        reference=NONE,
    )


def _small() -> Recipe:
    view = ViewSpec(Pipeline((RandomResizedCrop(SIZE, scale=(0.2, 1.0)),)))
    return Recipe(
        data=Solids(size=SIZE, objects=240, views=10),
        views={"a": view, "b": view},
        encoder=EncoderConfig(
            name="resnet10t",
            stem="small",
            options={"channels": (16, 32, 64, 128), "stem_width": 16},
            size=SIZE,
        ),
        base=replace(_base(), projector=(128, 64)),
        optimizer=AdamW(lr=2e-3, weight_decay=1e-3),
        schedule=WarmupCosine(warmup_epochs=1),
        epochs=20,
        batch_size=128,
        batch_norm="per_view",
        monitor_every=0,
        about="a cell of the E-SSL study, CPU-sized",
    )


def _base() -> SimCLR.Config:
    """Base objective of the paper's baseline."""
    base = baseline().base
    assert isinstance(base, SimCLR.Config)
    return base
