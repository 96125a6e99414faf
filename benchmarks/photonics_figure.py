"""Cells, densities of states and predictions, from a finished study: the figure of docs/photonics.md.

uv run python benchmarks/photonics_figure.py STUDY out=docs/photonics.png [labels=100] [cells=4]

Fine-tunes the first seed of "no pretraining" and of "E-SimCLR" as the study did and shows test cells at
evenly spaced ranks of the first one's error, so that the choice flatters neither.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure

from equissl.config.serialize import from_dict
from equissl.evaluate.base import Downstream
from equissl.photonics.data import Crystals
from equissl.photonics.dos import empty_lattice, relative_errors
from equissl.photonics.fine_tuning import FineTuneSpectra
from equissl.runs.load import load_encoder
from equissl.storage import read_json

METHODS = ("no pretraining", "E-SimCLR")


def main(study: Path, out: Path, labels: int = 0, cells: int = 4) -> None:
    plan = read_json(study / "study.json")
    (tune,) = from_dict(plan["tasks"], tuple[Downstream, ...])
    assert isinstance(tune, FineTuneSpectra)
    budget = labels or tune.labels[0]
    predicted = {}
    for title in METHODS:
        name = next(r["run"] for r in plan["runs"] if r["labels"] == {"method": title})
        loaded = load_encoder(str(study / "runs" / name))
        recipe = loaded.recipe
        assert recipe is not None and isinstance(recipe.data, Crystals)
        train, test = recipe.data.open("train"), recipe.data.open("test")
        augment = recipe.views["a"].augment
        tuned = tune.tune(loaded.encoder, train, budget, augment, seed=recipe.seed)
        predicted[title] = tuned.predict(test.images)
    nu, empty = test.plan.spectrum.nu, empty_lattice(test.plan.spectrum)
    order = relative_errors(predicted["no pretraining"], test.spectra).argsort()
    rows = order[torch.linspace(0, len(order) - 1, cells + 2).long()[1:-1]]
    figure = Figure(figsize=(2.6 * cells, 4.4), layout="constrained", dpi=90)
    axes = figure.subplots(2, cells, height_ratios=(1, 1.4), squeeze=False)
    for column, row in enumerate(rows.tolist()):
        top, below = axes[0, column], axes[1, column]
        mappable = top.imshow(1 + 19 * test.images[row, 0], vmin=1, vmax=20, cmap="viridis")
        top.set_axis_off()
        below.plot(nu, test.spectra[row], color="black", linewidth=1.4, label="truth")
        below.plot(nu, empty, color="grey", linestyle=":", linewidth=1, label="empty lattice")
        for k, (title, curves) in enumerate(predicted.items()):
            error = float(relative_errors(curves[row : row + 1], test.spectra[row : row + 1]))
            below.plot(nu, curves[row], color=f"C{k}", linewidth=1, label=title)
            below.text(
                0.04, 0.9 - 0.1 * k, f"{error:.1%}", color=f"C{k}", transform=below.transAxes, fontsize=8
            )
        below.set_xlabel("frequency nu (2πc/a, times √mean ε)", fontsize=8)
        below.tick_params(labelsize=7)
        below.spines[["top", "right"]].set_visible(False)
    axes[1, 0].set_ylabel("density of states", fontsize=8)
    figure.colorbar(mappable, ax=axes[0, :].tolist(), label="ε", shrink=0.9)
    handles, names = axes[1, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(f"Test cells ({test.plan.kind}), {budget} labels", fontsize=10)
    figure.savefig(out)


if __name__ == "__main__":
    given = dict(word.partition("=")[::2] for word in sys.argv[2:])
    out = Path(given.get("out", "photonics.png"))
    main(Path(sys.argv[1]), out, int(given.get("labels", 0)), int(given.get("cells", 4)))
