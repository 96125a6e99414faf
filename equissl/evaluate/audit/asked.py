"""What an audit is asked: augmentations to apply, and factors that the dataset records of its images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from equissl.augment.base import Augmentation
from equissl.augment.factor_names import ALIASES, GROUPS, named_factors
from equissl.errors import UserError, nearest
from equissl.evaluate.audit.factors import (
    AUDITS,
    NEEDS_COLOR,
    NEEDS_SQUARE,
    ON_REQUEST,
    Audited,
    audited_once,
)
from equissl.params import Space
from equissl.random import Stream

_TAKEN = {*AUDITS, *ALIASES} | {name for audit in AUDITS.values() for name in audit.space.names}
_PREFIXES = re.compile("^(recorded_)+")


@dataclass(frozen=True)
class Asked:
    """What is read from the features.

    Args:
        audits: augmentations, one at a time.
        recorded: factors of the dataset, by the names that they have there.
    """

    audits: Sequence[Audited]
    recorded: Space

    def passes(self, draws: int) -> int:
        """How often all images pass the network: changed, and each kind of plain ones once."""
        plain = {None} if self.recorded.names else set()
        return len(self.audits) * draws + len({item.source for item in self.audits} | plain)


def asked(factors: Sequence[str | Augmentation], space: Space, shape: tuple[int, ...]) -> Asked:
    """All that suits the images, or what ``factors`` names.

    Args:
        factors: names of audits or of factors that the dataset records, and augmentations.
        space: what the dataset records.
        shape: (C, H, W) of the images.

    Raises:
        UserError: an unknown name, a colour factor of images without colour, images of another size after an
            augmentation, or two of one name, as an augmentation's parameter and what the dataset records.
    """
    check_asked(factors, space)
    readable = {recorded_name(f.name): f.name for f in space if f.encoded_size}
    if not factors:
        return Asked(
            audited_once(suitable_audits((), shape, cropped=True)), space.select(tuple(readable.values()))
        )
    columns = tuple(readable[f] for f in factors if isinstance(f, str) and f in readable)
    others = [f for f in factors if not isinstance(f, str) or f not in readable]
    suitable_audits([f for f in others if isinstance(f, str)], shape, cropped=True)
    _check_own([f for f in others if not isinstance(f, str)], shape)
    audits = audited_once(others)
    _check_apart(audits, [recorded_name(name) for name in columns])
    return Asked(audits, space.select(columns))


def recorded_name(name: str) -> str:
    """What an audit calls a factor that the dataset records: by its name, unless an augmentation has it.

    >>> recorded_name("hue"), recorded_name("recorded_hue"), recorded_name("weight")
    ('recorded_hue', 'recorded_recorded_hue', 'weight')
    """
    return f"recorded_{name}" if _PREFIXES.sub("", name) in _TAKEN else name  # so no two become one


def check_asked(factors: Sequence[str | Augmentation], space: Space = Space()) -> None:
    """Raise UserError with every name that is neither an audit nor a factor that the dataset records."""
    known = [*AUDITS, *GROUPS, *(recorded_name(f.name) for f in space if f.encoded_size)]
    if unknown := [n for n in factors if isinstance(n, str) and n not in known and n not in ALIASES]:
        raise UserError([f"factors: no audit is called {n!r}; {nearest(n, known)}" for n in unknown])


def suitable_audits(factors: Sequence[str], shape: tuple[int, ...], cropped: bool = False) -> Sequence[str]:
    """The audits ``factors``, or all usual ones that images (C, H, W) allow.

    Args:
        cropped: the images become square first, as in the audit of discrete factors.

    Raises:
        UserError: an unknown name, a colour factor of images without colour, or a quarter turn of images that
            are not square.
    """
    check_asked(factors)
    factors = named_factors(factors)
    channels, height, width = shape
    reasons = {f: f"colour images, but these have {channels} channels" for f in NEEDS_COLOR if channels != 3}
    if height != width and not cropped:
        reasons |= dict.fromkeys(NEEDS_SQUARE, f"square images, but these are {height} x {width}")
    if problems := [f"factors: {f!r} needs {reasons[f]}" for f in factors if f in reasons]:
        raise UserError(problems)
    return factors or tuple(f for f in AUDITS if f not in reasons and f not in ON_REQUEST)


def _check_apart(audits: Sequence[Audited], recorded: Sequence[str]) -> None:
    taken = {name: audit.name for audit in audits for name in (*audit.factors, audit.name)}
    if problems := [
        f"factors: {name!r} would be read from {taken[name]} and from what the dataset records; audit them "
        "one after the other"
        for name in recorded
        if name in taken
    ]:
        raise UserError(problems)


def _check_own(augmentations: Sequence[Augmentation], shape: tuple[int, ...]) -> None:
    """Refuse augmentations that cannot be applied to the images, or that make images of another size."""
    problems = []
    size = shape[1], shape[2]
    for augment in augmentations:
        name = type(augment).__name__
        try:
            params = augment.sample(Stream.of(torch.arange(1), name), size)
            made = tuple(augment.apply(torch.zeros(1, *shape), params).shape[2:])
        except ValueError as error:
            problems.append(
                f"factors: {name} cannot be applied to images of {size[0]} x {size[1]} px: {error}"
            )
            continue
        if made != size:
            problems.append(
                f"factors: {name} makes images of {made[0]} x {made[1]} px, but they are of "
                f"{size[0]} x {size[1]}; give it their size"
            )
    if problems:
        raise UserError(problems)
