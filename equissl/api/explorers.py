"""The data of the report's explorers: examples, neighbours, steering, reconstructions."""

from __future__ import annotations

import torch

from equissl.evaluate.context import EvaluationContext
from equissl.evaluate.explorer.examples import example_images
from equissl.evaluate.explorer.neighbors import nearest_neighbors
from equissl.evaluate.explorer.reconstructions import reconstructions
from equissl.evaluate.explorer.steering import ExplorerSize, steering
from equissl.evaluate.features import whole_batch
from equissl.objective import Reconstructs
from equissl.runs.load import LoadedRun
from equissl.storage import write_json
from equissl.views import make_views

RECONSTRUCTED_IMAGES = 6  # whose reconstructions the report shows


def write_explorers(loaded: LoadedRun, context: EvaluationContext, steer: int = 12) -> None:
    """Write the data of the report's explorers into a run's folder.

    These are ``examples.json``; ``neighbours.json``; ``steering.json``, of ``steer`` images if there are
    any; and ``reconstructions.json``, if a module reconstructs images.
    """
    folder, dataset, rows = loaded.run.path, context.datasets["test"], context.rows["test"]
    examples = example_images(loaded.data, loaded.recipe.views, dataset, rows, context.image)
    write_json(folder / "examples.json", examples, indent=None)
    nearest = nearest_neighbors(context.features("test"), dataset, rows)
    write_json(folder / "neighbours.json", nearest, indent=None)
    if steer:
        factors = steering(
            context.modules,
            context.encoder,
            dataset,
            rows,
            size=ExplorerSize(images=steer),
            seed=context.seed,
            device=str(context.device),
            progress=context.progress,
        )
        write_json(folder / "steering.json", factors, indent=None)
    reconstructed = _reconstructions(loaded, context)
    if reconstructed:
        write_json(folder / "reconstructions.json", reconstructed, indent=None)


@torch.no_grad()
def _reconstructions(loaded: LoadedRun, context: EvaluationContext) -> dict[str, object]:
    """Reconstructions of some test images by the run's modules.

    Empty if no module reconstructs, or if the data lacks the images that the run's views are made of.
    """
    modules = {n: m for n, m in loaded.model.modules_by_name.items() if isinstance(m, Reconstructs)}
    specs, dataset = loaded.recipe.views, context.datasets["test"]
    if not modules or not {s.image for s in specs.values()} <= set(dataset.spaces):
        return {}
    rows = context.rows["test"][:RECONSTRUCTED_IMAGES]
    views = make_views(whole_batch(dataset, rows).to(context.device), specs, context.seed)
    return reconstructions(modules, views, loaded.model.encode(views))
