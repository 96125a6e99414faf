"""Image sequences along one factor, for the sliders of the steering explorer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.evaluate.audit.asked import suitable_audits
from equissl.evaluate.audit.factors import AUDITS, factors_of
from equissl.params import (
    Circular,
    Factor,
    Params,
    Real,
    Rotation,
    Space,
    euler_quaternion,
    quaternion_product,
)
from equissl.random import Stream

BOX = ("crop_top", "crop_left", "crop_height", "crop_width")
TURNS = ("pitch", "roll", "yaw")  # about the world's x, y and z axis, z up
_FARTHEST = math.pi / 2  # of a turn: the poses of 3DIEBench lie within a quarter turn
_SMALLEST = 0.4  # side of a crop
_DRAWS = 1024  # from which the range of an augmentation is taken


@dataclass(frozen=True)
class FactorSweep:
    """One image at P values of one factor.

    Args:
        name: display name of the factor.
        unit: of ``values``: "degrees", "turns", "factor", "switch", "fraction", ...
        values: (P,) float64, for display; ``neutral_value`` is among them.
        neutral_value: where nothing changes.
        target: (P) the factors of the changed image.
        factor: the factor of the dataset that is changed; "" where an augmentation changes the image.
        images: (P, C, H, W) float, what an augmentation makes of it; None where ``factor`` is changed.
        direction_labels: what values below and above ``neutral_value`` do, where the unit does not tell.
    """

    name: str
    unit: str
    values: Tensor
    neutral_value: float
    target: Params
    factor: str = ""
    images: Tensor | None = None
    direction_labels: tuple[str, str] = ("", "")


def factor_sweeps(
    space: Space, image: Tensor, recorded: Params, span: Params, steps: int
) -> Iterator[FactorSweep]:
    """Sweeps of every factor that a module with this ``space`` reads.

    Factors that the data records come first, in their order, then augmentations of the audit.

    Args:
        image: (1, C, H, W) float in [0, 1].
        recorded: (1) the factors that the dataset records of it.
        span: (N) those of many images, whose middle 95 % bound what a number is moved to.
        steps: values of a sweep that is no switch, about.
    """
    for factor in recorded.space:
        if factor.name in space.names:
            yield from _recorded(factor, recorded, span.values[factor.name], steps)
    free = set(space.names) - set(recorded.space.names)
    if set(BOX) & free:
        yield from _crops(image, recorded, steps)
    for audit in suitable_audits((), tuple(image.shape[1:])):
        for name in factors_of(audit):
            if name in free and name not in BOX:
                yield _augmented(AUDITS[audit], name, image, recorded, steps)


def readable(factor: Factor, values: Tensor) -> tuple[Tensor, str]:
    """Values or differences of a factor (B, 1) as people read them, (B,) float64, and their unit."""
    degrees = factor.unit == "radians"
    return values[:, 0].double() * (180 / math.pi if degrees else 1), "degrees" if degrees else factor.unit


def from_readable(factor: Factor, shown: Tensor) -> Tensor:
    """The inverse of ``readable``: (B,) -> (B, 1) float32."""
    return (shown * (math.pi / 180 if factor.unit == "radians" else 1))[:, None].float()


def distance(factor: Factor, first: Tensor, second: Tensor) -> Tensor:
    """How far two values (B, size) lie apart, (B,) float64 in the unit of the factor's sliders."""
    if isinstance(factor, Rotation):
        turn = factor.between(first.double(), second.double())
        # Not the arc cosine, which is coarse near no turn at all.
        return 2 * torch.atan2(turn[:, 1:].norm(dim=1), turn[:, 0].abs()) * (180 / math.pi)
    return readable(factor, factor.between(first, second).abs())[0]


def _recorded(factor: Factor, recorded: Params, span: Tensor, steps: int) -> Iterator[FactorSweep]:
    name, start = factor.name, recorded.values[factor.name]
    match factor:
        case Rotation():
            angles = grid(-_FARTHEST, _FARTHEST, 0.0, steps)
            for axis in (2, 0, 1):  # yaw first: it is the one that is easiest to see
                about = torch.zeros(len(angles), 3, dtype=torch.float64)
                about[:, axis] = angles
                pose = quaternion_product(euler_quaternion(about), start.double().expand(len(angles), -1))
                shown = (angles * (180 / math.pi)).round(decimals=6)
                yield FactorSweep(
                    TURNS[axis], "degrees", shown, 0.0, _with(recorded, name, pose.float()), name
                )
        case Circular():
            moves = grid(-factor.period / 2, factor.period / 2, 0.0, steps)
            shown, unit = readable(factor, moves[:, None])
            value = (start + moves[:, None].float()).remainder(factor.period)
            yield FactorSweep(name, unit, shown, 0.0, _with(recorded, name, value), name)
        case Real():
            # Of what images show: beyond it neither the data nor the encoder has seen anything.
            low, high = span[:, 0].double().quantile(torch.tensor([0.025, 0.975]).double()).tolist()
            if not high > low:
                return
            moves = grid(low - float(start), high - float(start), 0.0, steps)
            shown, unit = readable(factor, moves[:, None])
            yield FactorSweep(
                name, unit, shown, 0.0, _with(recorded, name, start + moves[:, None].float()), name
            )


def _crops(image: Tensor, recorded: Params, steps: int) -> Iterator[FactorSweep]:
    """Smaller and smaller boxes, in the middle and ever nearer to an edge."""
    crop, far = RandomResizedCrop(min(image.shape[-2:])), 1 - _SMALLEST
    cut, both = grid(0.0, far, 0.0, steps), grid(-far, far, 0.0, steps)
    middle, edge = both.abs() / 2, both.clamp(min=0)
    boxes = {
        "centred crop": (cut, cut / 2, cut / 2, ("", "cut away")),
        "crop to a side": (both, middle, edge, ("cut, kept left", "cut, kept right")),
        "crop up or down": (both, edge, middle, ("cut, kept top", "cut, kept bottom")),
    }
    for name, (shown, top, left, labels) in boxes.items():
        side = 1 - shown.abs()
        values = dict(zip(BOX, (v[:, None].float() for v in (top, left, side, side)), strict=True))
        drawn = Params.of(crop.space, values)
        yield replace(
            _made(name, "fraction", shown, 0.0, crop, drawn, image, recorded), direction_labels=labels
        )


def _augmented(augment: Augmentation, name: str, image: Tensor, recorded: Params, steps: int) -> FactorSweep:
    factor = augment.space[name]
    if factor.discrete:
        shown, rest, unit = factor.elements()[:, 0].double(), 0.0, "switch"
    else:
        size = (image.shape[-2], image.shape[-1])
        drawn = augment.sample(Stream.of(torch.arange(_DRAWS), "steering"), size).values[name][:, 0]
        seen, unit = readable(factor, torch.stack(drawn.aminmax())[:, None])
        low, high = (round(v, 0 if unit == "degrees" else 2) for v in seen.tolist())
        rest = float(readable(factor, factor.neutral(1))[0])
        shown = grid(low, high, rest, steps)
    record = augment.space.neutral(len(shown))
    values = {**record.values, name: from_readable(factor, shown)}
    made = Params.of(augment.space, values)
    return _made(name.removesuffix("_sigma"), unit, shown, rest, augment, made, image, recorded)


def _made(
    name: str,
    unit: str,
    shown: Tensor,
    rest: float,
    augment: Augmentation,
    drawn: Params,
    image: Tensor,
    recorded: Params,
) -> FactorSweep:
    count = len(shown)
    images = augment.apply(image.expand(count, -1, -1, -1), drawn).clamp(0, 1)
    same = recorded[torch.zeros(count, dtype=torch.int64)]
    return FactorSweep(name, unit, shown, rest, same | drawn, images=images)


def grid(low: float, high: float, rest: float, steps: int) -> Tensor:
    """About ``steps`` equal steps, (P,) float64 ascending; ``rest`` replaces the nearest value or joins."""
    values = torch.linspace(low, high, steps, dtype=torch.float64)
    near = int((values - rest).abs().argmin())
    if float((values[near] - rest).abs()) <= (high - low) / (steps - 1) / 2 + 1e-9:
        values[near] = rest
        return values
    return torch.cat([values, torch.tensor([rest], dtype=torch.float64)]).sort().values


def _with(recorded: Params, name: str, values: Tensor) -> Params:
    same = recorded[torch.zeros(len(values), dtype=torch.int64)]
    return Params.of(recorded.space, {**same.values, name: values})
