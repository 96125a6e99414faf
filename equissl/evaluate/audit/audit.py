"""Which augmentations can be read from frozen features? No label is needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch

from equissl.data.base import Dataset
from equissl.encoder.encoder import Encoder
from equissl.errors import UserError, nearest
from equissl.evaluate.audit.factors import AUDITS, COLORFUL, alone, factors_of
from equissl.evaluate.base import Score, Table
from equissl.evaluate.factors.known import constant, score, target, varies
from equissl.evaluate.factors.pair import pair_table, relative_probe
from equissl.evaluate.features import extract
from equissl.evaluate.probes.linear import split
from equissl.progress import Progress, no_progress
from equissl.random import shuffled

__all__ = ["AUDITS", "audit", "read_factors"]

FEWEST = 40  # images (or groups of them), of which 12 are scored


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
) -> list[Score]:
    """How well each augmentation, applied alone, can be told from the features before and after it.

    Every image is augmented once; a probe (``relative_probe``) is fitted on 70 % of the images and scored
    on the others: R2 for numbers, with angles and hues as cosine and sine, balanced accuracy for yes or no.

    Args:
        random: an encoder of the same architecture with untrained weights, for the baseline "random".
        count: images used, at most. Time of the probe grows with its cube, 1 s per factor at 1000.
        factors: names in ``AUDITS``; all if absent.
        seed: of the choice of images, the draws and the split.
        device: where the encoders are.

    Raises:
        UserError: an unknown name, a colour of images without colour, or fewer than 40 images.
    """
    index = shuffled(len(dataset), seed, "audit")[:count].sort().values
    groups = len(torch.unique(dataset.groups[index]))
    if groups < FEWEST:
        raise UserError(f"an audit needs at least {FEWEST} different images, but there are {groups}")
    names = fitting(factors, dataset.batch(index[:1]).images[image].shape[1])
    encoders = {"": encoder} if random is None else {"": encoder, "random": random}
    features = partial(
        extract,
        dataset=dataset,
        index=index,
        image=image,
        known=False,
        seed=seed,
        batch_size=batch_size,
        device=device,
        progress=_overall(progress, len(encoders) * (len(names) + 1) * len(index)),
    )
    scores: list[Score] = []
    for baseline, network in encoders.items():
        plain = features(network)
        for name in names:
            pairs = pair_table(plain, features(network, augment=alone(name)))
            scores += read_factors(pairs, factors_of(name), baseline, seed)
    return scores


def read_factors(pairs: Table, factors: Iterable[str], baseline: str = "", seed: int = 0) -> Iterator[Score]:
    """One score per factor that varies; for the model itself also the baseline "constant"."""
    fit, held = split(pairs.groups, 0.3, seed)
    for factor in pairs.params.space.select(tuple(factors)):
        truth = target(factor, pairs.params)
        if not (varies(truth[fit]) and varies(truth[held])):
            continue
        reading = relative_probe(pairs, truth, fit, held, seed)
        found = truth[held], pairs.groups[held]
        name, extra = f"audit/{factor.name}", {"weight": reading.weight, "unit": factor.unit}
        yield replace(score(name, reading.predicted, *found, seed=seed, extra=extra), baseline=baseline)
        if not baseline:
            guess = constant(truth[fit], len(held))
            yield score(name, guess, *found, baseline="constant", seed=seed)


def check_names(names: Sequence[str]) -> None:
    """Raises UserError, with every name that no audit has."""
    unknown = [n for n in names if n not in AUDITS]
    if unknown:
        raise UserError([f"factors: no audit is called {n!r}; {nearest(n, AUDITS)}" for n in unknown])


def fitting(factors: Sequence[str] | None, channels: int) -> Sequence[str]:
    """The audits asked for, or all that suit images of so many channels.

    Raises:
        UserError: an unknown name, or a colour of images without colour.
    """
    check_names(factors or ())
    if channels == 3:
        return factors or tuple(AUDITS)
    grey = [f for f in factors or () if f in COLORFUL]
    if grey:
        raise UserError([f"{f!r} needs colour images, but these have {channels} channels" for f in grey])
    return factors or tuple(f for f in AUDITS if f not in COLORFUL)


def _overall(progress: Progress, total: int) -> Progress:
    """One count over several passes, each of which counts from 0."""
    before = 0

    def told(what: str, done: int, of: int) -> None:
        nonlocal before
        progress("audit", before + done, total)
        before += of if done == of else 0

    return told
