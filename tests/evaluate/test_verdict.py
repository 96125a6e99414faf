from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from equissl.evaluate.audit.differences import Evidence, difference
from equissl.evaluate.audit.readouts.interval import Resampled
from equissl.evaluate.audit.verdict import deciding, verdicts
from equissl.evaluate.base import Score
from equissl.evaluate.factors.verdicts import with_verdicts
from equissl.evaluate.titles import FACTORS

COMMON = torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def score(value: float, own: float = 0.01, common: float = 0.05, seed: int = 1) -> Resampled:
    """A score whose resamples share noise with all others and have some of their own."""
    noise = own * torch.randn(1000, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values = torch.tensor([value], dtype=torch.float64)
    return Resampled(values, value + common * COMMON + noise, regress=True)


def evidence(
    model: float, untrained: float, statistics: float, own: float = 0.01, spread: float = 0.005
) -> Evidence:
    three = [score(untrained + d * spread, own, seed=10 + d) for d in (-1, 0, 1)]
    return Evidence(score(model, own), [three], score(statistics, own, seed=3), [score(0.0, own, seed=4)])


@pytest.mark.parametrize(
    ("model", "untrained", "statistics", "own", "spread", "word"),
    [
        (0.80, 0.40, 0.50, 0.01, 0.005, "kept"),
        (0.40, 0.80, 0.50, 0.01, 0.005, "lost"),
        (0.50, 0.50, 0.30, 0.005, 0.005, "as untrained"),
        (0.60, 0.30, 0.62, 0.01, 0.005, "as image statistics"),
        (0.50, 0.40, 0.30, 0.01, 0.2, "undecided"),  # untrained networks differ too much from one another
        (0.01, 0.00, 0.02, 0.02, 0.005, "not readable"),
    ],
)
def test_each_verdict(
    model: float, untrained: float, statistics: float, own: float, spread: float, word: str
) -> None:
    assert verdicts({"x": evidence(model, untrained, statistics, own, spread)})["x"].word == word


def test_differences_are_paired() -> None:
    """What all scores share does not widen the interval of a difference."""
    found = difference(score(0.6), [score(0.5, seed=2)]).interval()
    assert found.value == pytest.approx(0.1) and found.high - found.low < 0.1  # unpaired: 0.28


def test_the_spread_of_few_initialisations_widens_the_interval() -> None:
    narrow, wide = (evidence(0.6, 0.4, 0.3, spread=s) for s in (0.001, 0.05))
    first, second = (difference(e.model, e.untrained[0]) for e in (narrow, wide))
    assert second.freedom < 4 and second.interval().high - second.interval().low > 0.2
    assert first.freedom > 30


def test_noise_against_noise_is_hardly_ever_kept_or_lost() -> None:
    """Of 12 factors without any difference, all of one image set: less than 5 % of sets with any verdict."""
    generator = torch.Generator().manual_seed(5)
    wrong, sets = 0, 100

    def noisy(common: Tensor) -> Resampled:
        own = 0.02 * torch.randn(401, generator=generator, dtype=torch.float64)
        value = 0.3 + own[:1]
        return Resampled(value, value + 0.05 * common + 0.02 * own[1:] / 0.02, regress=True)

    for _ in range(sets):
        factors = {}
        for k in range(12):
            common = torch.randn(400, generator=generator, dtype=torch.float64)
            factors[str(k)] = Evidence(noisy(common), [[noisy(common) for _ in range(3)]], noisy(common))
        wrong += any(v.word in ("kept", "lost") for v in verdicts(factors).values())
    assert wrong <= 0.1 * sets


@pytest.mark.parametrize(
    ("model", "word"), [(0.8, "kept"), (0.4, "as untrained"), (0.1, "lost"), (0.52, "as untrained")]
)
def test_networks_that_were_initialised_in_two_ways_have_no_common_mean(model: float, word: str) -> None:
    """Better than untrained is better than both kinds, and worse is worse than both."""
    families = [
        [score(value + d * 0.005, seed=seed + d) for d in (-1, 1)] for value, seed in ((0.3, 20), (0.5, 30))
    ]
    found = verdicts({"x": Evidence(score(model), families, score(0.2, seed=3))})["x"]
    assert found.word == word
    assert found.to_untrained.value == pytest.approx(min(model - 0.3, model - 0.5, key=abs), abs=0.01)
    single = [[score(0.3, seed=20)], [score(0.5, seed=30)]]  # one of each: together their spread is known
    assert verdicts({"x": Evidence(score(model), single, score(0.2, seed=3))})["x"].to_untrained.freedom < 3


def test_few_initialisations_are_enough_if_there_are_several_factors() -> None:
    """Two networks that happen to agree are no proof; all factors together say how much networks differ."""
    many = {str(k): evidence(0.8, 0.3, 0.2, spread=0.15) for k in range(8)}
    pairs = {n: Evidence(e.model, [e.untrained[0][:2]], e.statistics) for n, e in many.items()}
    alone = {"0": pairs["0"]}
    assert verdicts(alone)["0"].word == "undecided" and verdicts(pairs)["0"].word == "kept"
    lucky = Evidence(score(0.36), [[score(0.3, seed=k) for k in (20, 21)]], score(0.2, seed=3))
    assert verdicts({"0": lucky})["0"].word == "kept"
    assert verdicts({**pairs, "0": lucky})["0"].word != "kept"


def of_factor(name: str, value: float, half: float = 0.03, **more: Any) -> Score:
    kinds: dict[str, Any] = {"unit": "R2", "group": FACTORS, "higher_is_better": True}
    return Score(f"factor/{name}", value, value - half, value + half, **{**kinds, **more})


def test_factors_of_single_images_are_judged_alike() -> None:
    values = {
        "kept": (0.60, 0.40, 0.03),
        "lost": (0.20, 0.40, 0.03),
        "as untrained": (0.400, 0.405, 0.01),
        "undecided": (0.45, 0.40, 0.06),
        "not readable": (-0.22, -0.02, 0.05),
    }
    own = [of_factor(word, v, half) for word, (v, _, half) in values.items()]
    untrained = [of_factor(word, v, half) for word, (_, v, half) in values.items()]
    constants = [of_factor(word, 0.0, 0.0, baseline="constant") for word in values]
    others = [of_factor("x", 0.5, group="Accuracy"), of_factor("kept", 0.9, part="equi")]
    judged = with_verdicts([*own, *constants, *others], untrained)
    assert [s.extra.get("verdict") for s in judged] == [*values, *[None] * (len(values) + 2)]
    low, high = judged[0].extra["to_untrained"][1:]  # type: ignore[index]
    assert (low, high) == (pytest.approx(0.2 - 0.03 * 2**0.5), pytest.approx(0.2 + 0.03 * 2**0.5))


def test_many_factors_of_noise_are_hardly_ever_judged() -> None:
    """20 factors that an untrained network reads as well: "kept" in about one set of 20 (Holm)."""
    generator = torch.Generator().manual_seed(0)
    draws = 0.3 + 0.03 / 1.96 * torch.randn(60, 2, 20, generator=generator)
    wrong = 0
    for mine, other in draws.tolist():
        own, untrained = ([of_factor(str(k), v) for k, v in enumerate(row)] for row in (mine, other))
        wrong += "kept" in {s.extra["verdict"] for s in with_verdicts(own, untrained)}
    assert wrong <= 6


def test_what_would_decide_is_what_is_uncertain() -> None:
    """Images where the score is uncertain, nothing where the model lies among networks that differ much."""
    few_images = evidence(0.52, 0.4, 0.3, own=0.08, spread=0.0)
    assert verdicts({"x": few_images})["x"].word == "undecided"
    times = deciding({"x": few_images})["x"]
    assert times.images > 1 and times.networks == 1
    scattered = evidence(0.5, 0.4, 0.3, own=0.001, spread=0.2)
    assert verdicts({"x": scattered})["x"].word == "undecided" and deciding({"x": scattered}) == {}
    assert deciding({"x": evidence(0.8, 0.4, 0.5)}) == {}
