"""Slots for one operation each, shared by RandAugment and AugMix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.batched import Turn, apply_in_turn
from equissl.augment.mixtures.operations import Operation
from equissl.augment.moments import Moments, rms_scale, uniform_moments
from equissl.augment.validation import check_range
from equissl.params import Cyclic, Factor, Params, Real, Space
from equissl.random import Stream


@dataclass(frozen=True)
class Slots:
    """Slots for one operation each, which make up the records of RandAugment and AugMix.

    A slot holds the index of an operation, counted from 1 (0 is none), and a magnitude, negative on the other
    side of a signed operation's start.

    Args:
        owner: the mixture, for messages.
        magnitude: range of magnitudes, within [0, 1].

    Raises:
        ValueError: there is no operation, or the magnitude is no range within [0, 1].
    """

    owner: str
    operations: tuple[Operation, ...]
    magnitude: tuple[float, float]

    def __post_init__(self) -> None:
        check_range(f"{self.owner}.magnitude", self.magnitude, 0, 1)
        whole = isinstance(self.operations, tuple) and len(self.operations) > 0
        if not whole or not all(isinstance(o, Operation) for o in self.operations):
            raise ValueError(
                f"{self.owner}.operations must be a tuple of operations, got {self.operations!r}"
            )

    def factors(self, names: tuple[str, str], p: float) -> tuple[Factor, Factor]:
        """The two factors of a slot that holds an operation with probability ``p``."""
        scale = rms_scale(self.magnitude, p)
        return Cyclic(names[0], order=len(self.operations) + 1), Real(names[1], unit="fraction", scale=scale)

    def sample(self, names: Sequence[tuple[str, str]], stream: Stream, filled: Tensor) -> dict[str, Tensor]:
        """A uniform operation and magnitude in each of S slots where ``filled`` (S, B), nothing elsewhere."""
        operations, magnitudes = zip(*names, strict=True)
        signs = tuple(f"{name} sign" for name in magnitudes)
        units = stream.units(**dict.fromkeys((*operations, *magnitudes, *signs), 1))
        number, size, side = (
            torch.cat([units[n] for n in group], 1).T.contiguous()
            for group in (operations, magnitudes, signs)
        )
        index = filled * (1 + (number * len(self.operations)).long().clamp(max=len(self.operations) - 1))
        signed = torch.zeros_like(filled)
        for k, candidate in enumerate(self.operations, 1):
            if candidate.signed:
                signed = signed | (index == k)
        sign = 1 - 2.0 * (signed & (side < 0.5))
        low, high = self.magnitude
        signed_magnitude = (low + (high - low) * size) * (sign * filled)
        values = zip(index.float()[:, :, None], signed_magnitude[:, :, None], strict=True)
        return {n: v for pair, row in zip(names, values, strict=True) for n, v in zip(pair, row, strict=True)}

    def moments(self, names: tuple[str, str], p: float) -> Moments:
        """Moments of a slot that holds an operation with probability ``p``."""
        n = len(self.operations)
        size = uniform_moments("size", self.magnitude, p)["size"]
        fraction_unsigned = sum(not o.signed for o in self.operations) / n
        number = torch.arange(n + 1, dtype=torch.float64)
        first, second = (p * (number[1:] ** k).mean() for k in (1, 2))
        return {names[0]: (first[None], second[None]), names[1]: (fraction_unsigned * size[0], size[1])}

    def apply(self, images: Tensor, operation: Tensor, magnitude: Tensor) -> Tensor:
        """Apply the operation of each image: (B, C, H, W), (B, 1), (B, 1) -> (B, C, H, W)."""
        number = operation.round()
        turns: list[Turn] = []
        for augmentation in dict.fromkeys(o.augmentation for o in self.operations):
            in_group = {k: o for k, o in enumerate(self.operations, 1) if o.augmentation == augmentation}
            chosen = torch.stack([number[:, 0] == k for k in in_group]).any(0)

            def run(
                batch: Tensor,
                number: Tensor,
                magnitude: Tensor,
                augmentation: Augmentation = augmentation,
                in_group: dict[int, Operation] = in_group,
            ) -> Tensor:
                values = _neutral(augmentation.space, magnitude)
                for k, o in in_group.items():
                    value = o.start + magnitude * (o.end - o.start)
                    values[o.factor] = torch.where(number == k, value, values[o.factor])
                return augmentation.apply(batch, Params.of(augmentation.space, values))

            turns.append((chosen, run, number, magnitude))
        return apply_in_turn(images, turns)


def _neutral(space: Space, like: Tensor) -> dict[str, Tensor]:
    """Neutral values on the device of ``like`` (B, 1), made there, since a copy would block."""
    neutral = {f.name: f.neutral(1)[0].tolist() for f in space}
    columns = {name: [like.new_full(like.shape, number) for number in row] for name, row in neutral.items()}
    return {name: torch.cat(numbers, 1) for name, numbers in columns.items()}
