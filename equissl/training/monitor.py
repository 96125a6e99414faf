"""Collapse statistics and probes of the features, computed between epochs of training."""

from __future__ import annotations

import torch

from equissl.augment.geometry.resize import Resize
from equissl.data.base import Dataset
from equissl.encoder.encoder import Encoder
from equissl.encoder.modes import eval_mode
from equissl.evaluate.classification.knn import KNN
from equissl.evaluate.collapse import embedding_std, rank_me
from equissl.evaluate.factors.absolute import Factors
from equissl.evaluate.features import extract
from equissl.evaluate.probes.base import group_split
from equissl.model import Model
from equissl.objective import Equivariance
from equissl.random import shuffled
from equissl.recipe import Recipe
from equissl.views import make_views

MAX_IMAGES = 1024
MAX_VIEWED = 256  # images of which views are made


def monitor(
    encoder: Encoder, dataset: Dataset, size: int, seed: int, device: torch.device
) -> dict[str, float]:
    """Collapse statistics and probe scores of up to ``MAX_IMAGES`` training images, not augmented.

    Args:
        size: side of the images that the encoder is used with; larger ones are resized.

    Returns:
        "std": mean standard deviation of the unit vectors' columns times sqrt(D), about 1 when healthy and 0
        when collapsed; "rank_me": effective rank; "probe/knn" where there are labels; "probe/<factor>" (R2 or
        balanced accuracy by ridge or logistic regression) for the factors the dataset knows. Fit and score on
        disjoint groups.
    """
    index = shuffled(len(dataset), seed, "monitor")[:MAX_IMAGES]
    table = extract(
        encoder,
        dataset,
        index=index,
        augment=Resize(size),
        seed=seed,
        device=device,
        drop_unreadable=True,
    )
    row = {
        "std": embedding_std(table.vectors) * table.vectors.shape[1] ** 0.5,
        "rank_me": rank_me(table.vectors),
    }
    fit, held = group_split(table.groups, 0.5, seed)
    if not len(fit) or not len(held):
        return row
    train, test = table[fit], table[held]
    for score in KNN().run(train, test):
        if score.name == "knn/top1" and score.part == "all":
            row["probe/knn"] = score.value
    for score in Factors().run(train, test):
        if not score.baseline and score.part == "all" and score.name.startswith("factor/"):
            row[f"probe/{score.name.removeprefix('factor/')}"] = score.value
    return row


@torch.no_grad()
def target_scores(
    model: Model, dataset: Dataset, recipe: Recipe, epoch: int, device: torch.device
) -> dict[str, float]:
    """``Equivariance.scores`` of every module, "MODULE/NAME", on views of ``MAX_VIEWED`` training images.

    The model is in evaluation mode meanwhile.
    """
    modules = {n: m for n, m in model.modules_by_name.items() if type(m).scores is not Equivariance.scores}
    if not modules:
        return {}
    index = dataset.readable(shuffled(len(dataset), recipe.seed, "monitor")[:MAX_VIEWED])
    views = make_views(
        dataset.batch(index, epoch).to(device), recipe.views, recipe.seed, epoch, recipe.engine
    )
    with eval_mode(model):
        encoded = model.encode(views)
        return {f"{n}/{k}": v for n, m in modules.items() for k, v in m.scores(views, encoded).items()}
