"""The audit: which augmentation factors can be read from frozen features, without labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import torch

from equissl.data.base import Dataset
from equissl.encoder.encoder import Encoder
from equissl.errors import UserError, nearest
from equissl.evaluate.audit.factors import AUDITS, NEEDS_COLOR, audited_augmentation, factors_of
from equissl.evaluate.base import FeatureTable, Score
from equissl.evaluate.factors.pairs import pair_table
from equissl.evaluate.factors.scoring import constant_prediction, factor_score, factor_targets, varies
from equissl.evaluate.features import extract
from equissl.evaluate.probes.base import group_split
from equissl.evaluate.probes.kernel_ridge import relative_probe
from equissl.progress import Progress, no_progress
from equissl.random import shuffled

__all__ = ["AUDITS", "audit", "change_scores"]

MIN_IMAGES = 40  # or groups of them, of which 12 are scored


def audit(
    encoder: Encoder,
    dataset: Dataset,
    *,
    random: Encoder | None = None,
    count: int = 1000,
    factors: Sequence[str] | None = None,
    seed: int = 0,
    image: str = "image",
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    progress: Progress = no_progress,
    model: str = "",
) -> list[Score]:
    """How well the parameters of each augmentation, applied alone, can be read from both images' features.

    Every image is augmented once; a probe (``relative_probe``) is fitted on 70 % of the images and scored
    on the others: R2 for numbers, with angles and hues as cosine and sine, balanced accuracy for yes or no.

    Args:
        random: an encoder of the same architecture, randomly initialised, for the baseline "random".
        count: images used, at most. The time of the probe grows with its cube: 1 s per factor at 1000.
        factors: names in ``AUDITS``; all if absent.
        seed: of the choice of images, the augmentations and the split.
        device: where the encoders are.
        model: what messages call the encoder.

    Raises:
        UserError: an unknown name, a colour factor of images without colour, or fewer than 40 images.
    """
    index = dataset.readable(shuffled(len(dataset), seed, "audit")[:count].sort().values)
    groups = len(torch.unique(dataset.groups[index]))
    if groups < MIN_IMAGES:
        raise UserError(f"audit: it needs at least {MIN_IMAGES} different images, but there are {groups}")
    names = suitable_audits(factors, dataset.batch(index[:1]).images[image].shape[1])
    encoders = {"": encoder} if random is None else {"": encoder, "random": random}
    features = partial(
        extract,
        dataset=dataset,
        index=index,
        image=image,
        dataset_params=False,
        seed=seed,
        batch_size=batch_size,
        device=device,
        progress=_overall_progress(progress, len(encoders) * (len(names) + 1) * len(index)),
    )
    scores: list[Score] = []
    for baseline, network in encoders.items():
        called = "the untrained baseline" if baseline else model
        plain = features(network, model=called)
        for name in names:
            view = features(network, augment=audited_augmentation(name), model=called)
            pairs = pair_table(plain, view)
            scores += change_scores(pairs, factors_of(name), baseline, seed)
    return scores


def change_scores(
    pairs: FeatureTable, factors: Iterable[str], baseline: str = "", seed: int = 0
) -> Iterator[Score]:
    """One score per factor that varies; for the model itself also the baseline "constant"."""
    fit, held_out = group_split(pairs.groups, 0.3, seed)
    for factor in pairs.params.space.select(tuple(factors)):
        targets = factor_targets(factor, pairs.params)
        if not (varies(targets[fit]) and varies(targets[held_out])):
            continue
        result = relative_probe(pairs, targets, fit, held_out, seed)
        test = targets[held_out], pairs.groups[held_out]
        name, extra = f"audit/{factor.name}", {"penalty": result.penalty, "unit": factor.unit}
        yield factor_score(name, result.predictions, *test, baseline=baseline, seed=seed, extra=extra)
        if not baseline:
            constant = constant_prediction(targets[fit], len(held_out))
            yield factor_score(name, constant, *test, baseline="constant", seed=seed)


def check_names(names: Sequence[str]) -> None:
    """Raise UserError with every name that is no audit."""
    unknown = [n for n in names if n not in AUDITS]
    if unknown:
        raise UserError([f"factors: no audit is called {n!r}; {nearest(n, AUDITS)}" for n in unknown])


def suitable_audits(factors: Sequence[str] | None, channels: int) -> Sequence[str]:
    """The audits ``factors``, or all that images with so many channels allow.

    Raises:
        UserError: an unknown name, or a colour factor of images without colour.
    """
    check_names(factors or ())
    if channels == 3:
        return factors or tuple(AUDITS)
    grey = [f for f in factors or () if f in NEEDS_COLOR]
    if grey:
        raise UserError(
            [f"factors: {f!r} needs colour images, but these have {channels} channels" for f in grey]
        )
    return factors or tuple(f for f in AUDITS if f not in NEEDS_COLOR)


def _overall_progress(progress: Progress, total: int) -> Progress:
    """Progress over several passes, each of which counts from 0."""
    before = 0

    def report(what: str, done: int, of: int) -> None:
        nonlocal before
        progress("audit", before + done, total)
        before += of if done == of else 0

    return report
