"""Errors of linear maps beside those of networks with random weights, by the rule of the audit's verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from equissl.evaluate.audit.differences import Evidence, common_spread, holm, to_untrained
from equissl.evaluate.audit.readouts.interval import Resampled
from equissl.evaluate.equivariance.fitted_maps import Ratio, interval_of
from equissl.evaluate.statistics import Estimate

Ratios = Mapping[str, Ratio]  # by score name
Word = Literal["below untrained", "above untrained", "undecided"]


@dataclass(frozen=True)
class Against:
    """An error over the geometric mean of untrained networks of the nearest family, and what follows."""

    word: Word
    ratio: Estimate


def against_untrained(own: Ratios, families: Sequence[Sequence[Ratios]]) -> dict[str, Against]:
    """The errors "map/..." that the encoder and two untrained networks or more have.

    On the scale of the logarithm, by the rule of ``audit.verdict``: below or above means beyond what
    untrained networks of either family differ among each other, at a family-wise level of 5 %
    over the changes.

    Args:
        families: networks that were initialised in one way each.
    """
    evidence = {}
    for name, ratio in own.items():
        others = [[_log(network[name]) for network in family if name in network] for family in families]
        if name.startswith("map/") and sum(map(len, others)) > 1:
            evidence[name] = Evidence(_log(ratio), [f for f in others if f], _log(ratio))
    common = common_spread(list(evidence.values()))
    tested = {n: to_untrained(e, common, one_of_them=True) for n, e in evidence.items()}
    below = holm({n: max(d.p_below() for d in found) for n, found in tested.items()})
    above = holm({n: max(d.p_above() for d in found) for n, found in tested.items()})
    results = {}
    for name, of_one in evidence.items():
        near = min(to_untrained(of_one, common), key=lambda d: abs(d.value)).interval()
        word: Word = "undecided"
        if below[name] or above[name]:
            word = "below untrained" if below[name] else "above untrained"
        to_nearest = Estimate(math.exp(near.value), math.exp(near.low), math.exp(near.high))
        results[name] = Against(word, to_nearest)
    return results


def geometric_mean(ratios: Sequence[Ratio]) -> Estimate:
    """Of several networks, with the interval of images and networks together."""
    values = torch.cat([_log(r).values for r in ratios])
    images = torch.stack([r.logs() for r in ratios]).mean(0).var()
    spread = math.sqrt(float(images + (values.var() / len(values) if len(values) > 1 else 0)))
    return interval_of(math.exp(float(values.mean())), spread)


def _log(ratio: Ratio) -> Resampled:
    value = torch.tensor([ratio.value], dtype=torch.float64).clamp(min=1e-12).log()
    return Resampled(value, ratio.logs(), regress=True)
