"""Studies of reconstruction beside SIE, which gets the parameters: R2 per family of transformations, cost."""

from __future__ import annotations

from dataclasses import replace

from equissl.errors import UserError, nearest
from equissl.recipes.reconstruction import small
from equissl.study.plan import Bars, Cell, Measure, Study

KINDS = ("base", "cross_attention", "intermediate", "sie")
TITLES = {"rotation": "rotation", "color": "colour", "blur": "blur", "translation": "translation"}


def families(
    kinds: tuple[str, ...] = KINDS,
    family: str = "rotation",
    num_targets: tuple[int, ...] = (1, 2),
    epochs: int = 60,
    images: int = 500,
) -> Study:
    """VICReg alone, with either reconstruction module and with SIE: R2 of four families of transformations.

    Args:
        kinds: any of "base", "cross_attention", "intermediate", "sie".
        family: transformation of the second view, of ``augment.paths.PATHS``.
        num_targets: K of "intermediate", one cell each; 1 and 2 test a claim of arXiv:2503.18753, table 9.
        epochs: of training.
        images: test images that are scored, at most.

    Raises:
        UserError: a name that does not exist, or an empty tuple.
    """
    wrong = [f"kinds: none is called {k!r}; {nearest(k, KINDS)}" for k in kinds if k not in KINDS]
    if wrong or not kinds or not num_targets:
        raise UserError(wrong or "kinds and num_targets must hold at least one each")
    cells = []
    for kind in kinds:
        for count in num_targets if kind == "intermediate" else (2,):
            name = f"intermediate, K={count}" if kind == "intermediate" else kind
            recipe = small(kind, family=family, num_targets=count, epochs=epochs)  # type: ignore[arg-type]
            cells.append(Cell({"method": name}, recipe))
    measures = [Measure(f"family/{n}", f"{t}, R²") for n, t in TITLES.items()]
    measures += [Measure(f"family_linear/{n}", f"{t}, linear") for n, t in TITLES.items()]
    measures += [Measure("family/rotation", f"rotation, {p}", part=p) for p in ("inv", "equi")]
    measures += [
        Measure("homography/corners", "corners, R²"),
        Measure("linear/top1", "top-1"),
        Measure("cost/step", "ms/step", lower=True, digits=0),
    ]
    return Study(
        title="Reconstruction without parameters against SIE with them",
        cells=tuple(cells),
        measures=tuple(measures),
        figure=Bars(groups="method", measures=tuple(f"family/{n}" for n in TITLES)),
        about=(
            "A CPU-sized setting of our own (images of 32 pixels, a ResNet-10 with 64 features), not "
            f"comparable with the papers'. All runs see the same two views (the second with {family}), "
            "equally often. R² of a transformation's parameters from the features of both images, by a "
            "network and linearly; ms/step is the median of the log, with everything a method adds."
        ),
        evaluations=("families", "homography", "linearprobe"),
        settings={
            "families.hidden": "[512]",
            "families.pairs": "2000",
            "homography.parts": '["all"]',
        },
        images=images,
        reference={"method": "base"} if "base" in kinds else None,
    )


def target_counts(family: str = "rotation", epochs: int = 60, images: int = 500) -> Study:
    """Intermediate reconstruction with K = 1, 2 and 3 targets (arXiv:2503.18753, table 9)."""
    study = families(("intermediate",), family, (1, 2, 3), epochs, images)
    return replace(study, title="Number of intermediate targets", reference={"method": "intermediate, K=2"})
