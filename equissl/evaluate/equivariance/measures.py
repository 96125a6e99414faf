"""EquiMod's measures of equivariance: how much nearer a prediction is to the embedding of the view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.augment.base import Augmentation
from equissl.data.base import Dataset
from equissl.encoder.encoder import Encoder
from equissl.encoder.modes import eval_mode
from equissl.evaluate.base import Score
from equissl.evaluate.features import applied_rows, make_view, sample_params, whole_batch
from equissl.evaluate.finite import check_finite
from equissl.evaluate.statistics import estimate, mean_estimate
from equissl.evaluate.titles import EQUIVARIANCE, title
from equissl.objective import Predictive
from equissl.params import Params, between
from equissl.progress import Progress, no_progress
from equissl.views import View


def absolute_equivariance(view: Tensor, predicted: Tensor, plain: Tensor) -> Tensor:
    """cos(view, predicted) - cos(view, plain): (N, d) each -> (N,) in [-2, 2], float64.

    Above 0 the prediction is nearer to the view than the plain embedding is; 0 is the identity baseline.
    Source: EquiMod's released code (arXiv:2211.01244).
    """
    return cosine_distance(view, plain) - cosine_distance(view, predicted)


def relative_equivariance(view: Tensor, predicted: Tensor, plain: Tensor) -> Tensor:
    """(1 - cos(view, plain)) / (1 - cos(view, predicted)): (N, d) each -> (N,), at least 0, float64.

    How many times smaller the distance to the view is; 1 is the identity baseline, also where there is no
    distance at all. Source: EquiMod's released code (arXiv:2211.01244).
    """
    return _ratio(cosine_distance(view, plain), cosine_distance(view, predicted))


def ratio_of_means(before: Tensor, after: Tensor) -> float:
    """As the mean of ``relative_equivariance``, but one ratio of two mean distances, robust to tiny ones."""
    return float(_ratio(before.mean(), after.mean()))


def _ratio(before: Tensor, after: Tensor) -> Tensor:
    return torch.where(before == after, 1.0, before / after)


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """1 - cos(a, b) without cancellation: (N, d), (N, d) -> (N,), float64."""
    difference = F.normalize(a.double(), dim=1) - F.normalize(b.double(), dim=1)
    return difference.square().sum(1) / 2


class EquivarianceEmbeddings(NamedTuple):
    """Embeddings (N, d) of the images that an augmentation was applied to.

    Args:
        plain, view: of the plain image and of the augmented one.
        predicted: from the plain one and the parameters.
        shuffled: from the plain one and another image's parameters.
        groups: (N,) int64.
    """

    plain: Tensor
    view: Tensor
    predicted: Tensor
    shuffled: Tensor
    groups: Tensor

    def select(self, rows: Tensor) -> EquivarianceEmbeddings:
        return EquivarianceEmbeddings(*(t[rows] for t in self))


def equivariance_scores(
    module: Predictive,
    encoder: Encoder,
    dataset: Dataset,
    augmentations: Mapping[str, Augmentation],
    *,
    index: Tensor | None = None,
    image: str = "image",
    num_views: int = 1,
    seed: int = 0,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    progress: Progress = no_progress,
) -> Iterator[Score]:
    """Both measures for one augmentation at a time, all other factors neutral.

    Baselines: "identity", the plain embedding as prediction (absolute 0, relative 1), and "shuffled", the
    module's prediction from another image's parameters, which a module that ignores them equals. Images that
    an augmentation was not applied to do not count; one that was applied to none yields nothing.

    Args:
        augmentations: name -> augmentation; the name ends the score's.
        index: (N,) which samples; all if absent.
        num_views: augmented views of every image; they are resampled together.
        device: where the module and the encoder are.
    """
    index = torch.arange(len(dataset)) if index is None else index
    modules = [m for m in (module, encoder) if isinstance(m, nn.Module)]
    for done, (name, augment) in enumerate(augmentations.items()):
        parts: list[EquivarianceEmbeddings] = []
        with eval_mode(*modules), torch.inference_mode():
            pairs = zip(*(torch.split(i, batch_size) for i in (index, index.roll(1))), strict=True)
            for rows, others in pairs:
                batch = whole_batch(dataset, rows, augment).to(device)
                plain = make_view(batch, image=image)
                for view_index in range(num_views):
                    view = make_view(batch, augment, image, view_index, seed)
                    wrong = plain.params | sample_params(batch, augment, image, view_index, seed, others)
                    embeddings = _embed(module, encoder, plain, view, wrong, dataset.groups[rows])
                    parts.append(embeddings.select(applied_rows(augment, view.params).cpu()))
        embeddings = EquivarianceEmbeddings(*(torch.cat(column) for column in zip(*parts, strict=True)))
        for kind, values in zip(embeddings._fields, embeddings, strict=True):
            check_finite(values, f"the {kind} embeddings")
        if len(embeddings.groups):
            yield from _scores(name, embeddings, seed)
        progress("equivariance", done + 1, len(augmentations))


def _embed(
    module: Predictive, encoder: Encoder, plain: View, view: View, wrong: Params, groups: Tensor
) -> EquivarianceEmbeddings:
    source = encoder(plain.images)
    change = between(plain.params, view.params, module.space)
    wrong_change = between(plain.params, wrong, module.space)
    return EquivarianceEmbeddings(
        plain=module.target(source).double().cpu(),
        view=module.target(encoder(view.images)).double().cpu(),
        predicted=module.predict(source, change).double().cpu(),
        shuffled=module.predict(source, wrong_change).double().cpu(),
        groups=groups,
    )


def _scores(name: str, embeddings: EquivarianceEmbeddings, seed: int) -> Iterator[Score]:
    plain, view, groups = embeddings.plain, embeddings.view, embeddings.groups
    before = cosine_distance(view, plain)
    predictions = {"": embeddings.predicted, "identity": plain, "shuffled": embeddings.shuffled}
    for baseline, predicted in predictions.items():
        after = cosine_distance(view, predicted)
        estimates = {
            "absolute": mean_estimate(absolute_equivariance(view, predicted, plain), groups, seed),
            "relative": mean_estimate(relative_equivariance(view, predicted, plain), groups, seed),
            "relative_of_means": estimate(
                lambda rows, a=after: ratio_of_means(before[rows], a[rows]),  # type: ignore[misc]
                groups,
                seed=seed,
            ),
        }
        for kind, result in estimates.items():
            yield Score.of(
                f"equivariance/{kind}/{name}",
                result,
                unit="cosine" if kind == "absolute" else "ratio",
                count=len(groups),
                baseline=baseline,
                seed=seed,
                title=title(f"{kind}, {name}"),
                group=EQUIVARIANCE,
                higher_is_better=True,
            )
