"""Methods of the SIE paper (Garrido et al., 2023) on Solids: scores of all features and of both parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from equissl.errors import UserError, nearest
from equissl.recipe import Recipe
from equissl.recipes import sie as recipes
from equissl.study.plan import Bars, Cell, Measure, Study

ROWS: Mapping[str, Callable[[], Recipe]] = {
    "vicreg": recipes.vicreg,
    "simclr": recipes.simclr,
    "simclr_augself": recipes.simclr_augself,
    "vicreg_augself": recipes.vicreg_augself,
    "equimod": recipes.equimod,
    "equimod_hypernetwork": recipes.equimod_hypernetwork,
    "vicreg_equimod": recipes.vicreg_equimod,
    "only_equivariance_contrastive": recipes.only_equivariance_contrastive,
    "only_equivariance_vicreg": recipes.only_equivariance_vicreg,
    "sie": recipes.sie,
    "sie_without_predictor_variance": recipes.sie_without_predictor_variance,
    "sie_color": recipes.sie_color,
}
_PARTS = ("all", "inv", "equi")


def sie(rows: tuple[str, ...] = tuple(ROWS), epochs: int = 16, images: int = 1000) -> Study:
    """Methods of the SIE paper on Solids: top-1, relative factors and retrieval (arXiv:2302.10283).

    Args:
        rows: any of vicreg, simclr, simclr_augself, vicreg_augself, equimod, equimod_hypernetwork,
            vicreg_equimod, only_equivariance_contrastive, only_equivariance_vicreg, sie,
            sie_without_predictor_variance, sie_color; "vicreg" is the baseline of the differences.
        epochs: of training.
        images: maximum number of test images to score.

    Raises:
        UserError: a name that does not exist.
    """
    problems = [f"rows: none is called {r!r}; {nearest(r, ROWS)}" for r in rows if r not in ROWS]
    if problems or not rows:
        raise UserError(problems or "rows must name at least one")
    cells = [
        Cell({"row": r}, replace(recipes.on_solids(ROWS[r]()), epochs=epochs, monitor_every=0)) for r in rows
    ]
    top1 = [Measure("linear/top1", _title("top-1", p), part=p) for p in _PARTS]
    pose = [Measure("relative/pose", _title("rotation, R2", p), part=p) for p in _PARTS]
    floor = [Measure("relative/floor_hue", _title("floor hue, R2", p), part=p) for p in _PARTS]
    light = [Measure("relative/light_hue", _title("light hue, R2", p), part=p) for p in _PARTS]
    others = [
        Measure("relative_flat/pose", "rotation, flat R2"),
        Measure("relative_degrees/pose", "rotation, median error in degrees", lower=True, digits=1),
        Measure("retrieval/test/mrr", "MRR"),
        Measure("retrieval/test/hits@1", "H@1"),
        Measure("retrieval/test/hits@5", "H@5"),
        Measure("retrieval/test/pre/same/pose", "PRE", lower=True),
    ]
    return Study(
        title="Methods of the SIE paper on Solids",
        cells=tuple(cells),
        measures=(*top1, *pose, *floor, *light, *others),
        figure=Bars(
            groups="row", measures=tuple(m.key for m in (top1[0], *pose, *floor, light[0], others[2]))
        ),
        about=(
            "A CPU-sized setting of our own on Solids of 32 pixels (all widths an eighth of the paper's), "
            "not comparable with the paper's numbers. R2 is that of the change between two images of an "
            "object that training never saw, read from both images' features by a network of one hidden "
            "layer: pooled over components, so that a constant scores 0 (the paper's definition is the flat "
            'one). "inv" and "equi" are the parts of split features. Retrieval: the 9 '
            "other images of the object are ranked. Rows with a module are trained with the change of the "
            "pose, sie_color also with that of both hues; vicreg and simclr without either."
        ),
        evaluations=("usual", "relativefactors"),
        settings={
            "relativefactors.factors": '["pose", "floor_hue", "light_hue"]',
            "relativefactors.probe": '"mlp"',
            "relativefactors.limit": "4000",
        },
        images=images,
        reference={"row": "vicreg"} if "vicreg" in rows else None,
    )


def _title(title: str, part: str) -> str:
    return title if part == "all" else f"{title}, {part}"
