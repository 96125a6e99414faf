"""Does a prediction follow the image? EquiMod's absolute and relative equivariance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.augment.base import Augmentation
from equissl.data.base import Dataset
from equissl.encoder.encoder import Encoder
from equissl.evaluate.base import Score, estimate
from equissl.evaluate.features import applied, drawn, evaluating, make_view
from equissl.evaluate.titles import EQUIVARIANCE, title
from equissl.objective import Predictive
from equissl.params import Params, between
from equissl.progress import Progress, no_progress
from equissl.views import View


def absolute(view: Tensor, predicted: Tensor, plain: Tensor) -> Tensor:
    """cos(view, predicted) - cos(view, plain): (N, d) each -> (N,) in [-2, 2], float64.

    Above 0 the prediction moved towards the view; 0 is no better than standing still.
    Source: EquiMod's released code (arXiv:2211.01244).
    """
    return residual(view, plain) - residual(view, predicted)


def relative(view: Tensor, predicted: Tensor, plain: Tensor) -> Tensor:
    """(1 - cos(view, plain)) / (1 - cos(view, predicted)): (N, d) each -> (N,), at least 0, float64.

    How many times smaller the distance to the view became; 1 is no better than standing still, also
    where there was no distance at all. Source: EquiMod's released code (arXiv:2211.01244).
    """
    return _ratio(residual(view, plain), residual(view, predicted))


def ratio_of_means(before: Tensor, after: Tensor) -> float:
    """As the mean of ``relative``, but one ratio of two mean residuals, which no tiny distance blows up."""
    return float(_ratio(before.mean(), after.mean()))


def _ratio(before: Tensor, after: Tensor) -> Tensor:
    return torch.where(before == after, 1.0, before / after)


def residual(a: Tensor, b: Tensor) -> Tensor:
    """1 - cos(a, b) without cancellation: (N, d), (N, d) -> (N,), float64."""
    difference = F.normalize(a.double(), dim=1) - F.normalize(b.double(), dim=1)
    return difference.square().sum(1) / 2


class Predictions(NamedTuple):
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

    def of(self, rows: Tensor) -> Predictions:
        return Predictions(*(t[rows] for t in self))


def measure(
    module: Predictive,
    encoder: Encoder,
    dataset: Dataset,
    augmentations: Mapping[str, Augmentation],
    *,
    index: Tensor | None = None,
    image: str = "image",
    draws: int = 1,
    seed: int = 0,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    progress: Progress = no_progress,
) -> Iterator[Score]:
    """Both measures for every augmentation alone, all other factors neutral.

    Beside the module stand two baselines: "identity", the plain embedding as prediction (absolute 0,
    relative 1), and "shuffled", the module with the parameters drawn for another image, which a module
    that does not read them equals. Images an augmentation was not applied to do not count; one that was
    applied to none yields nothing.

    Args:
        augmentations: name -> augmentation; the name ends the score's.
        index: (N,) which samples; all if absent.
        draws: of each augmentation for every image; they are resampled together.
        device: where the module and the encoder are.
    """
    index = torch.arange(len(dataset)) if index is None else index
    modules = [m for m in (module, encoder) if isinstance(m, nn.Module)]
    for done, (name, augment) in enumerate(augmentations.items()):
        found: list[Predictions] = []
        with evaluating(*modules), torch.inference_mode():
            pairs = zip(*(torch.split(i, batch_size) for i in (index, index.roll(1))), strict=True)
            for rows, others in pairs:
                batch = dataset.batch(rows).to(device)
                plain = make_view(batch, image=image)
                for draw in range(draws):
                    view = make_view(batch, augment, image, draw, seed)
                    wrong = plain.params | drawn(batch, augment, image, draw, seed, others)
                    predictions = _predict(module, encoder, plain, view, wrong, dataset.groups[rows])
                    found.append(predictions.of(applied(augment, view.params).cpu()))
        joint_batch_norm = _joined(found)
        if len(joint_batch_norm.groups):
            yield from _scores(name, joint_batch_norm, seed)
        progress("equivariance", done + 1, len(augmentations))


def _predict(
    module: Predictive, encoder: Encoder, plain: View, view: View, wrong: Params, groups: Tensor
) -> Predictions:
    source = encoder(plain.images)
    told = between(plain.params, view.params, module.space)
    misled = between(plain.params, wrong, module.space)
    return Predictions(
        plain=module.target(source).double().cpu(),
        view=module.target(encoder(view.images)).double().cpu(),
        predicted=module.predict(source, told).double().cpu(),
        shuffled=module.predict(source, misled).double().cpu(),
        groups=groups,
    )


def _joined(parts: Sequence[Predictions]) -> Predictions:
    columns = zip(*parts, strict=True)
    return Predictions(*(torch.cat(column) for column in columns))


def _scores(name: str, found: Predictions, seed: int) -> Iterator[Score]:
    guesses = {"": found.predicted, "identity": found.plain, "shuffled": found.shuffled}
    for baseline, guess in guesses.items():
        gain = absolute(found.view, guess, found.plain)
        ratios = relative(found.view, guess, found.plain)
        before, after = residual(found.view, found.plain), residual(found.view, guess)
        statistics = {
            "absolute": _mean(gain),
            "relative": _mean(ratios),
            "relative_of_means": _ratio_of_means(before, after),
        }
        for kind, statistic in statistics.items():
            yield Score(
                f"equivariance/{kind}/{name}",
                **asdict(estimate(statistic, found.groups, seed=seed)),
                unit="cosine" if kind == "absolute" else "ratio",
                count=len(found.groups),
                baseline=baseline,
                seed=seed,
                title=title(f"{kind}, {name}"),
                group=EQUIVARIANCE,
                higher_is_better=True,
            )


def _mean(x: Tensor) -> Callable[[Tensor], float]:
    return lambda rows: float(x[rows].mean())


def _ratio_of_means(before: Tensor, after: Tensor) -> Callable[[Tensor], float]:
    return lambda rows: ratio_of_means(before[rows], after[rows])
