"""Label efficiency of E-SSL on photonic crystals (arXiv:2111.00899, section 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from equissl.equivariance.essl import ESSL
from equissl.invariance.simclr import SimCLR
from equissl.photonics import recipes
from equissl.photonics.data import Crystals
from equissl.photonics.encoder import CrystalNet
from equissl.photonics.fine_tuning import FineTuneSpectra
from equissl.photonics.generate import CrystalPlan
from equissl.recipe import Recipe
from equissl.study.plan import Bars, Cell, Measure, Study
from equissl.training.optim import AdamW, WarmupCosine

SCRATCH = "no pretraining"
_METHODS: Mapping[str, Mapping[str, Callable[[], Recipe]]] = {
    "blob": {
        "SimCLR": recipes.blob_baseline,
        "SimCLR + half rolls": recipes.blob_invariant,
        "E-SimCLR": recipes.blob_essl,
    },
    "gpm": {
        "SimCLR": recipes.gpm_baseline,
        "SimCLR + quarter turns": recipes.gpm_invariant,
        "E-SimCLR": recipes.gpm_essl,
    },
}


def photonics(
    setting: Literal["blob", "gpm"] = "gpm",
    unlabelled: int = 4000,
    budgets: tuple[int, ...] = (100, 300, 1000),
    validation: int = 200,
    test: int = 500,
    steps: int = 1000,
    lrs: tuple[float, ...] = (1e-3,),
    epochs: int = 20,
    file: str = "",
    paper: bool = False,
) -> Study:
    """Error of the density of states after fine-tuning on few labels, with and without pretraining.

    Args:
        setting: the paper's Blob (predict half-cell rolls) or Gpm (predict quarter turns).
        unlabelled: number of cells for pretraining alone, which also uses the cells of the labelled pool.
        budgets: numbers of labelled cells for fine-tuning.
        validation: number of labelled cells to choose its lr and step.
        test: number of labelled cells for the scores.
        steps: of the fine-tuning.
        lrs: learning rates of the fine-tuning.
        epochs: of the pretraining; the paper has 200.
        file: of the crystals, generated if it does not exist; "" for one in the working directory.
        paper: use the paper's network and optimizer instead of smaller ones for a CPU.

    Raises:
        UserError, ValueError: a number is out of its range.
    """
    pool = max(budgets, default=0) + validation
    plan = CrystalPlan(kind=setting, count=unlabelled + pool + test, labelled=pool + test)
    name = file or f"crystals-{setting}-{plan.count}.safetensors"
    data = Crystals(path=str(Path(name).resolve()), plan=plan, test_size=test)
    tune = FineTuneSpectra(labels=budgets, validation=validation, lrs=lrs, steps=steps)
    methods = {n: replace(make(), data=data, epochs=epochs) for n, make in _METHODS[setting].items()}
    if not paper:
        tune = replace(tune, hidden=(256, 256), final_lr_ratio=0.0, check_every=max(1, min(50, steps)))
        methods = {n: _small(r) for n, r in methods.items()}
    cells = [Cell({"method": SCRATCH}, replace(methods["SimCLR"], epochs=0))]
    cells += [Cell({"method": n}, r) for n, r in methods.items()]
    scale = "The paper's network" if paper else "A CPU-sized network of our own"
    return Study(
        title=f"Label efficiency on photonic crystals, {setting} (E-SSL)",
        cells=tuple(cells),
        measures=tuple(
            Measure(f"dos/error_{n}", f"error with {n} labels", lower=True, digits=4) for n in budgets
        ),
        figure=Bars(groups="method"),
        about=(
            f"{scale} and our own crystals, not comparable with the paper's numbers. Mean relative error of "
            f"the density of states on {test} test cells, lower is better; {unlabelled} unlabelled cells; "
            f"learning lr and step chosen on {validation} validation cells. Every seed has its "
            'own pretraining and its own labelled cells. "One answer for all" is the empty lattice, 2 pi nu.'
        ),
        compare=("method", SCRATCH),
        tasks=(tune,),
    )


def _small(recipe: Recipe) -> Recipe:
    """A narrow network and AdamW, for half an hour on two cores."""
    modules = {}
    for name, weighted in recipe.modules.items():
        assert isinstance(weighted.module, ESSL.Config)
        modules[name] = replace(weighted, module=replace(weighted.module, hidden=(128,)))
    assert isinstance(recipe.base, SimCLR.Config)
    return replace(
        recipe,
        encoder=CrystalNet.Config(channels=(16, 32, 64), hidden=(128, 128), kernel=5),
        base=replace(recipe.base, projector=(128, 64)),
        modules=modules,
        optimizer=AdamW(lr=1e-3),
        schedule=WarmupCosine(warmup_epochs=1),
        batch_size=128,
        monitor_every=0,
        about=f"{recipe.about}, CPU-sized",
    )
