"""Where SIE's invariant half stops holding what it should ignore: before or after its projector.

    uv run python benchmarks/sie_halves.py STUDY      # the folder of `equissl study sie out=STUDY`

Reads the change of each factor between two images of unseen objects (as the study does) from the invariant
half of the features, and from what the base's projector makes of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from equissl.data.base import Dataset
from equissl.evaluate.base import FeatureTable
from equissl.evaluate.factors.relative import RelativeFactors
from equissl.invariance.vicreg import VICReg
from equissl.runs.folder import open_run
from equissl.runs.load import LoadedRun, load_run

ASKED = {"sie": ("pose",), "sie_color": ("floor_hue", "light_hue")}
PAIRS = 4000


@torch.no_grad()
def tables(loaded: LoadedRun, dataset: Dataset, count: int) -> tuple[FeatureTable, FeatureTable]:
    """The invariant half of the features, and its embedding."""
    assert isinstance(loaded.model.base, VICReg)
    index = torch.arange(min(len(dataset), count))
    features, embeddings = [], []
    for rows in torch.split(index, 500):
        images = dataset.batch(rows).images["image"].float() / 255
        features.append(loaded.encoder(images).part("inv"))
        embeddings.append(loaded.model.base.projector(features[-1]))
    params = dataset.batch(index).params["image"]
    labels, groups = dataset.labels[index], dataset.groups[index]
    first, second = (FeatureTable(torch.cat(x), labels, params, groups, {}) for x in (features, embeddings))
    return first, second


def main(study: Path) -> None:
    for row, factors in ASKED.items():
        for folder in sorted((study / "runs").glob(f"{row}-seed*")):
            loaded = load_run(open_run(folder))
            train = tables(loaded, loaded.recipe.data.open("train"), 4800)
            test = tables(loaded, loaded.recipe.data.open("test"), 1000)
            for name, fit, score in zip(("features", "embedding"), train, test, strict=True):
                evaluation = RelativeFactors(factors=factors, probe="mlp", limit=PAIRS)
                scores = [s for s in evaluation.run(fit, score) if not s.baseline]
                rounded = {s.name: round(s.value, 2) for s in scores if s.name.startswith("relative/")}
                print(f"{folder.name} {name} of the invariant half: {rounded}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
