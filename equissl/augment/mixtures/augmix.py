"""AugMix: an image mixed with several chains of operations on itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.batched import apply_where, per_image
from equissl.augment.mixtures.operations import Operation, default_operations
from equissl.augment.mixtures.slots import Slots
from equissl.augment.moments import Moments, applied_moments
from equissl.augment.validation import check_at_least, check_between, check_range
from equissl.params import Factor, Params, Real, Space
from equissl.random import Stream, to_normal

_NUM_CANDIDATES = 12  # each accepted with a probability of about 0.95
_MIN_ALPHA = 0.1
_GAMMA_UNITS = {"normal": 2 * _NUM_CANDIDATES, "level": _NUM_CANDIDATES, "power": 1}


@dataclass(frozen=True)
class AugMix(Augmentation):
    """Mix an image with chains of random operations on it (arXiv:1912.02781, algorithm 1).

    Chain c, slot s records ``mix_operation_c_s`` (0 for none, else the operation's index from 1) and
    ``mix_magnitude_c_s``; a chain's depth is how many of its operations are not 0. ``mix_weight_c`` is the
    weight of the chain, Dirichlet times Beta; the image itself has the remaining weight.

    Args:
        mixture_width: number of chains, the paper's k.
        chain_depth: least and largest number of operations in a chain.
        magnitude: range within [0, 1]; the released code's severity of 10 is (0.01, severity / 10).
        alpha: of the Dirichlet and Beta distributions, at least 0.1.
        operations: the list, the paper's by default: no color, no sharpness.

    Raises:
        ValueError: a field is out of its range.
    """

    paper: ClassVar[str] = "arXiv:1912.02781"
    bibtex: ClassVar[str] = r"""
    @inproceedings{augmix2020,
      title = {{AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty}},
      author = {Hendrycks, Dan and Mu, Norman and Cubuk, Ekin D. and Zoph, Barret and Gilmer, Justin and
        Lakshminarayanan, Balaji},
      booktitle = {International Conference on Learning Representations},
      year = {2020},
      eprint = {1912.02781},
      archivePrefix = {arXiv},
    }
    """
    stream_name: ClassVar[str] = "AugMix"

    mixture_width: int = 3
    chain_depth: tuple[int, int] = (1, 3)
    magnitude: tuple[float, float] = (0.01, 0.3)
    alpha: float = 1.0
    operations: tuple[Operation, ...] = default_operations(translate=1 / 3, bits=(4, 0), color=False)
    p: float = 1.0

    def __post_init__(self) -> None:
        check_at_least("AugMix.mixture_width", self.mixture_width, 1, 64)
        check_range("AugMix.chain_depth", self.chain_depth, 1, 64)
        check_at_least("AugMix.alpha", self.alpha, _MIN_ALPHA)
        check_between("AugMix.p", self.p)
        _ = self._slots

    @property
    def space(self) -> Space:
        factors: list[Factor] = []
        scale = math.sqrt(self.p * self._weight[1]) or 1.0
        for chain in range(1, self.mixture_width + 1):
            for slot, names in enumerate(self._names(chain), 1):
                factors.extend(self._slots.factors(names, self.p * self._filled(slot)))
            factors.append(Real(f"mix_weight_{chain}", unit="fraction", scale=scale))
        return Space(tuple(factors))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        low, high = self.chain_depth
        chains = range(1, self.mixture_width + 1)
        units = stream.units(**{f"depth {chain}": 1 for chain in chains})
        steps = (torch.cat(list(units.values()), 1).T * (high - low + 1)).long().clamp(max=high - low)
        filled = torch.cat([low + steps >= slot for slot in range(1, high + 1)])  # slot by slot
        names = [self._names(chain)[slot] for slot in range(high) for chain in chains]
        values = self._slots.sample(names, stream, filled)
        weights = self._sample_weights(stream)
        values |= {f"mix_weight_{chain}": weights[:, chain - 1 : chain].float() for chain in chains}
        return Params.of(self.space, values, stream.chance("applied", self.p))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        names = self.space.names
        values = [params.values[name] for name in names]
        weights = [params.values[f"mix_weight_{k}"] for k in range(1, self.mixture_width + 1)]
        mixed = (torch.cat(weights, 1) > 0).any(1)

        def run(batch: Tensor, *rows: Tensor) -> Tensor:
            return self._mix(batch, dict(zip(names, rows, strict=True)))

        return apply_where(images, mixed, run, *values)

    def moments(self) -> Moments:
        moments: Moments = {}
        p = self.p
        for chain in range(1, self.mixture_width + 1):
            for slot, names in enumerate(self._names(chain), 1):
                moments |= self._slots.moments(names, p * self._filled(slot))
            first, second = (torch.tensor([p * m], dtype=torch.float64) for m in self._weight)
            moments |= {f"mix_weight_{chain}": (first, second)}
        for name in self.space.names:
            moments |= applied_moments(name, p)
        return moments

    def _sample_weights(self, stream: Stream) -> Tensor:
        """Weights of the chains, float64 (B, chains): a Dirichlet distribution times a Beta distribution."""
        chains = [f"chains {k}" for k in range(self.mixture_width)]
        parts = _gamma(stream, (*chains, "augmented 0", "augmented 1"), self.alpha)
        return _normalized(parts[:, : len(chains)]) * _normalized(parts[:, len(chains) :])[:, 1:]

    @property
    def _slots(self) -> Slots:
        return Slots("AugMix", self.operations, self.magnitude)

    @property
    def _weight(self) -> tuple[float, float]:
        """First and second moment of a chain's weight: of the two distributions, which are independent."""
        k, a = self.mixture_width, self.alpha
        return 1 / (2 * k), (a + 1) / (2 * (2 * a + 1)) * (a + 1) / (k * (k * a + 1))

    def _names(self, chain: int) -> list[tuple[str, str]]:
        slots = range(1, self.chain_depth[1] + 1)
        return [(f"mix_operation_{chain}_{s}", f"mix_magnitude_{chain}_{s}") for s in slots]

    def _filled(self, slot: int) -> float:
        """The probability that a chain reaches a slot, counted from 1."""
        low, high = self.chain_depth
        return min(1.0, (high - slot + 1) / (high - low + 1))

    def _mix(self, images: Tensor, values: dict[str, Tensor]) -> Tensor:
        weights = [values[f"mix_weight_{k}"].to(images.dtype) for k in range(1, self.mixture_width + 1)]
        remainder = torch.ones_like(weights[0])
        for weight in weights:
            remainder = remainder - weight
        result = images * per_image(remainder)
        for chain, weight in enumerate(weights, 1):
            view = images
            for operation, magnitude in self._names(chain):
                view = self._slots.apply(view, values[operation], values[magnitude])
            result = result + view * per_image(weight)
        return result


def _normalized(parts: Tensor) -> Tensor:
    """Parts that add up to 1: of Gamma distributed ones, a draw of the Dirichlet distribution."""
    whole = parts[:, :1]
    for k in range(1, parts.shape[1]):
        whole = whole + parts[:, k : k + 1]
    return parts / whole


def _gamma(stream: Stream, names: Sequence[str], alpha: float) -> Tensor:
    """Gamma distributed numbers, one per name, float64 (B, names): Marsaglia & Tsang, ACM TOMS 26 (2000)."""
    units = stream.units(**{f"{k} {use}": c for k in names for use, c in _GAMMA_UNITS.items()})
    normal, level, power = (torch.stack([units[f"{k} {use}"] for k in names]) for use in _GAMMA_UNITS)
    d = alpha + 1 - 1 / 3  # for alpha + 1, which is then taken back: sound for alpha below 1 too
    x = to_normal(normal).double()
    v = 1 + x / math.sqrt(9 * d)
    v = v * v * v
    positive = v.clamp(min=1e-12)
    accepted = (v > 0) & ((1 - level.double()).log() < 0.5 * x * x + d - d * positive + d * positive.log())
    first = accepted.to(torch.uint8).argmax(2, keepdim=True)  # the first maximum
    back = ((1 - power.double()).log() / alpha).exp()
    return (d * positive.gather(2, first) * back)[:, :, 0].T.contiguous()
