"""What RandAugment and AugMix draw and record."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equissl.augment import (
    AugMix,
    ColorJitter,
    Invert,
    Operation,
    Pipeline,
    RandAugment,
    Rotate,
    default_operations,
    replay,
)
from equissl.params import interpolate
from equissl.random import Stream

STREAM = Stream.of(torch.arange(6000), "mixtures")


def test_operations_are_equally_likely_and_signed_as_they_say() -> None:
    augment = RandAugment(2, (0.2, 0.6))
    draw = augment.sample(STREAM, (32, 32))
    share = 1 / (len(augment.operations) + 1)
    for k in (1, 2):
        number, magnitude = draw.values[f"rand_operation_{k}"][:, 0], draw.values[f"rand_magnitude_{k}"][:, 0]
        frequency = number.long().bincount(minlength=14) / len(STREAM)
        assert (frequency - share).abs().max() < 4 * math.sqrt(share / len(STREAM))
        assert not magnitude[number == 0].any()
        assert magnitude[number > 0].abs().min() >= 0.2 and magnitude.abs().max() <= 0.6
        for place, operation in enumerate(augment.operations, 1):
            negative = float((magnitude[number == place] < 0).float().mean())
            assert negative == (pytest.approx(0.5, abs=0.12) if operation.signed else 0), operation
    slots = torch.stack([draw.values[f"rand_operation_{k}"][:, 0] for k in (1, 2)])
    assert torch.corrcoef(slots)[0, 1].abs() < 0.06


def test_one_slot_after_the_other() -> None:
    augment = RandAugment(2, operations=(Operation(Invert(), "invert", 1, 1), *default_operations()[4:5]))
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    number = {
        "rand_operation_1": torch.tensor([[1.0], [2.0]]),
        "rand_operation_2": torch.tensor([[2.0], [1.0]]),
    }
    found = replay(
        augment, images, number | {f"rand_magnitude_{k}": torch.full((2, 1), -0.5) for k in (1, 2)}
    )
    angle = {"rotation": torch.full((1, 1), -math.radians(15))}
    wanted = [replay(Rotate(), 1 - images[:1], angle), 1 - replay(Rotate(), images[1:], angle)]
    torch.testing.assert_close(found, torch.cat(wanted), atol=1e-6, rtol=0)


def test_chains_have_the_depths_and_weights_of_the_paper() -> None:
    mix = AugMix()
    draw = mix.sample(STREAM, (32, 32))
    weights = torch.cat([draw.values[f"mix_weight_{k}"] for k in (1, 2, 3)], 1).double()
    assert weights.min() >= 0
    # With alpha 1 the share of all chains is uniform, and so is its split.
    whole = weights.sum(1)
    assert torch.quantile(whole, torch.tensor([0.25, 0.5, 0.75]).double()).tolist() == pytest.approx(
        [0.25, 0.5, 0.75], abs=0.03
    )
    split = weights[:, 0] / whole  # Beta(1, 2)
    assert float(split.mean()) == pytest.approx(1 / 3, abs=0.015)
    assert float(split.var()) == pytest.approx(1 / 18, abs=0.004)
    for k in (1, 2, 3):
        slots = torch.cat([draw.values[f"mix_operation_{k}_{s}"] for s in (1, 2, 3)], 1) > 0
        depth = slots.sum(1)
        assert (depth.bincount(minlength=4)[1:] / len(STREAM) - 1 / 3).abs().max() < 0.03
        assert torch.equal(slots, torch.arange(3) < depth[:, None]), "the first slots are the filled ones"


@pytest.mark.parametrize("alpha", [0.1, 0.5, 3.0])
def test_weights_follow_other_dirichlet_distributions(alpha: float) -> None:
    mix = AugMix(mixture_width=2, alpha=alpha)
    draw = mix.sample(STREAM, (32, 32))
    weights = torch.cat([draw.values[f"mix_weight_{k}"] for k in (1, 2)], 1).double()
    assert weights.isfinite().all()
    whole = weights.sum(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wanted = torch.distributions.Beta(alpha, alpha).sample((6000,)).double()
    levels = torch.linspace(0.05, 0.95, 10).double()
    for found in (whole, (weights[:, 0] / whole)[whole > 1e-3]):
        below, expected = ((sample[:, None] < levels).double().mean(0) for sample in (found, wanted))
        torch.testing.assert_close(below, expected, atol=0.03, rtol=0)


def test_a_blend_of_nothing_but_the_image_keeps_every_bit() -> None:
    mix = AugMix()
    draw = mix.sample(Stream.of(torch.arange(4)), (16, 16))
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    values = {n: v * (not n.startswith("mix_weight")) for n, v in draw.values.items()}
    assert torch.equal(replay(mix, images, values), images)


def test_mixtures_stand_beside_what_they_are_made_of() -> None:
    pipeline = Pipeline((Rotate(), ColorJitter(), RandAugment(), AugMix()))
    assert len(set(pipeline.space.names)) == 1 + 5 + 4 + 21
    draw = pipeline.sample(Stream.of(torch.arange(3)), (16, 16))
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert pipeline.apply(images, draw).shape == images.shape
    with pytest.raises(TypeError, match="rand_operation_1 cannot be interpolated"):
        interpolate(*(RandAugment().sample(Stream.of(torch.arange(9), k), (8, 8)) for k in (0, 1)), 0.5)


def gamma(stream: Stream, name: str, alpha: float) -> Tensor:
    d = alpha + 1 - 1 / 3
    x = stream.normal(f"{name} normal", 12).double()
    v = (1 + x / math.sqrt(9 * d)) ** 3
    level = (1 - stream.uniform(f"{name} level", 12).double()).log()
    accepted = (v > 0) & (level < 0.5 * x * x + d - d * v + d * v.clamp(min=1e-12).log())
    first = accepted.int().argmax(1, keepdim=True)
    return d * v.gather(1, first) * ((1 - stream.uniform(f"{name} power").double()).log() / alpha).exp()


def test_draws_are_those_of_one_slot_after_the_other() -> None:
    """What a seed means: each slot draws under its own name, however many are computed together."""
    mix, rows = AugMix(alpha=0.7), STREAM[torch.arange(200)]
    draw = mix.sample(rows, (32, 32))
    parts = torch.cat([gamma(rows, f"chains {k}", 0.7) for k in range(3)], 1)
    both = torch.cat([gamma(rows, f"augmented {k}", 0.7) for k in range(2)], 1)
    weights = parts / parts.sum(1, keepdim=True) * (both / both.sum(1, keepdim=True))[:, 1:]
    for c in (1, 2, 3):
        torch.testing.assert_close(draw.values[f"mix_weight_{c}"], weights[:, c - 1 : c].float())
        depth = 1 + rows.integers(f"depth {c}", 3)
        for s in (1, 2, 3):
            operation, magnitude = f"mix_operation_{c}_{s}", f"mix_magnitude_{c}_{s}"
            number = (1 + rows.integers(operation, len(mix.operations))) * (depth >= s)
            signed = torch.tensor([False, *(o.signed for o in mix.operations)])[number]
            side = 1 - 2.0 * (signed & rows.chance(f"{magnitude} sign", 0.5))
            size = rows.uniform(magnitude, 1, *mix.magnitude)[:, 0] * side * (depth >= s)
            assert torch.equal(draw.values[operation][:, 0], number.float())
            assert torch.equal(draw.values[magnitude][:, 0], size)


def test_all_slots_are_drawn_together(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, units = [], Stream.units

    def counted(stream: Stream, **columns: int) -> dict[str, Tensor]:
        calls.append(columns)
        return units(stream, **columns)

    monkeypatch.setattr(Stream, "units", counted)
    for augment in (AugMix(), AugMix(mixture_width=5), RandAugment(7)):
        calls.clear()
        augment.sample(STREAM, (32, 32))
        assert len(calls) <= 4
