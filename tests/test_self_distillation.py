"""iBOT and DINOv2 against slow references; masks, their encoder, KoLeo and balanced assignments."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from equissl.augment import PatchMask, Pipeline, RandomResizedCrop
from equissl.encoder.encoder import Encoded
from equissl.invariance._self_distillation import SelfDistillationConfig
from equissl.invariance.dinov2 import DINOv2
from equissl.invariance.ibot import IBOT
from equissl.losses.distillation import dino_loss, patch_loss, sinkhorn
from equissl.losses.regularization import koleo
from equissl.model import Model
from equissl.params import PATCH_MASK, Space
from equissl.random import Stream
from equissl.testing.objective import masked_views, tiny_batch, tiny_encoder, tiny_transformer, tiny_views
from equissl.views import ViewSpec, make_views

DISTILLATION = SelfDistillationConfig(projector=(12, 6), num_prototypes=7, freeze_prototypes=0.0)


def build(config: Any) -> tuple[Any, Any, Any, dict[str, Encoded]]:
    """A base, its encoder, views, and what the student makes of them."""
    encoder, specs = tiny_transformer(), masked_views()
    torch.manual_seed(0)
    base = config.build(encoder, {n: s.space(Space()) for n, s in specs.items()})
    with torch.no_grad():
        encoder.mask_token.copy_(torch.randn(len(encoder.mask_token)))  # type: ignore[union-attr,arg-type]
    model = Model(encoder, base, {}, {}, list(specs)).eval()
    made = make_views(tiny_batch(5), specs, seed=0)
    return base, encoder, made, model.encode(made)


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("centering", ["center", "sinkhorn"])
def test_both_losses_equal_a_loop(separate: bool, centering: Any) -> None:
    """Image by image and patch by patch; the teacher sees whole images."""
    config = IBOT.Config(
        distillation=replace(DISTILLATION, separate_heads=separate, centering=centering, temperature=0.2),
        patch_weight=0.5,
    )
    base, _, made, encoded = build(config)
    distillation = base.distillation
    with torch.no_grad():
        distillation.center.normal_(std=0.1)
        distillation.patch_center.normal_(std=0.1)
        for p in distillation.teacher.parameters():
            p.mul_(1.1)
    found = base(made, encoded).losses
    one = distillation.head["image"]
    two = distillation.head["patch" if separate else "image"]
    slow = distillation.teacher.head["patch" if separate else "image"]
    seen = {v: distillation.teacher.encoder.eval()(made[v].images) for v in ("a", "b")}
    large = {v: distillation.teacher.head["image"](seen[v].vector) for v in seen}
    small = {v: slow(seen[v].grid.flatten(2).transpose(1, 2).flatten(0, 1)) for v in seen}
    mask = torch.cat([made[v].params.values[PATCH_MASK] for v in ("a", "b")])
    if centering == "center":
        wanted = {v: ((x - distillation.center) / 0.04).softmax(1) for v, x in large.items()}
        places = {v: ((x - distillation.patch_center) / 0.04).softmax(1) for v, x in small.items()}
        places_all = torch.cat([places[v].view(5, 16, -1) for v in ("a", "b")])
    else:
        both = slow_sinkhorn(torch.cat(list(large.values())), 0.04)
        wanted = dict(zip(large, both.split(5), strict=True))
        everything = torch.cat([small[v] for v in ("a", "b")])
        places_all = torch.zeros_like(everything)
        places_all[mask.flatten() > 0] = slow_sinkhorn(everything[mask.flatten() > 0], 0.04)
        places_all = places_all.view(10, 16, -1)
    student = {v: (one(encoded[v].vector) / 0.2).log_softmax(1) for v in ("a", "b")}
    expected = -((wanted["a"] * student["b"]).sum(1).mean() + (wanted["b"] * student["a"]).sum(1).mean()) / 2
    torch.testing.assert_close(found["assignment"], expected, atol=1e-5, rtol=1e-4)
    total = 0.0
    for row in range(10):
        tokens = encoded["ab"[row // 5]].grid[row % 5].flatten(1).T  # type: ignore[index]
        scores = (two(tokens) / 0.2).log_softmax(1)
        which = mask[row].nonzero()[:, 0].tolist()
        each = [-float((places_all[row, k] * scores[k].detach()).sum()) for k in which]
        total += sum(each) / len(each)
    assert float(found["patches"].detach()) == pytest.approx(0.5 * total / 10, rel=1e-4)


def slow_sinkhorn(output: Tensor, temperature: float) -> Tensor:
    """As SwAV states it: the columns of Q are samples; alternate until samples add up to one."""
    q = (output / temperature).exp().T
    q = q / q.sum()
    k, b = q.shape
    for _ in range(3):
        q = q / q.sum(1, keepdim=True) / k
        q = q / q.sum(0, keepdim=True) / b
    return (q * b).T


def test_sinkhorn_balances() -> None:
    output = torch.randn(40, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(output, 0.5), slow_sinkhorn(output, 0.5))
    shares = sinkhorn(output, 0.5, num_iterations=200)
    torch.testing.assert_close(shares.sum(0), torch.full((5,), 8.0, dtype=torch.float64))
    weight = (torch.arange(40) % 3 > 0).double()
    some = sinkhorn(output, 0.5, weight)
    torch.testing.assert_close(some[weight > 0], slow_sinkhorn(output[weight > 0], 0.5))
    assert not some[weight == 0].any()
    assert sinkhorn(1e4 * output, 0.04).isfinite().all()  # exp would overflow


def test_koleo_equals_a_loop() -> None:
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unit = x / x.norm(dim=1, keepdim=True)
    total = 0.0
    for i in range(6):
        total -= math.log(min(float((unit[i] - unit[j]).norm()) for j in range(6) if j != i))
    assert float(koleo(x)) == pytest.approx(total / 6, abs=1e-6)
    twice = torch.cat([x, x]).requires_grad_()  # nearest at distance zero
    koleo(twice).backward()  # type: ignore[no-untyped-call]
    assert twice.grad is not None and twice.grad.isfinite().all()


def test_images_without_masked_patches_count_as_zero() -> None:
    student, wanted = torch.randn(2, 3, 4), torch.rand(2, 3, 4).softmax(2)
    mask = torch.tensor([[1.0, 0, 1], [0, 0, 0]])
    scores = (student / 0.1).log_softmax(2)
    expected = -sum(float((wanted[0, k] * scores[0, k]).sum()) for k in (0, 2)) / 2 / 2
    assert float(patch_loss(student, wanted, mask, 0.1)) == pytest.approx(expected, rel=1e-5)


def test_dinov2_adds_koleo() -> None:
    base, _, made, encoded = build(DINOv2.Config(distillation=DISTILLATION, koleo_weight=0.3))
    found = base(made, encoded).losses
    expected = 0.3 * (koleo(encoded["a"].vector) + koleo(encoded["b"].vector))
    torch.testing.assert_close(found["koleo"], expected)
    assert set(found) == {"assignment", "patches", "koleo"}
    base.config = replace(base.config, koleo_weight=0.0)
    assert set(base(made, encoded).losses) == {"assignment", "patches"}


def test_the_student_does_not_see_masked_patches() -> None:
    """Their pixels change nothing for the student, and something for the teacher."""
    base, encoder, made, encoded = build(IBOT.Config(distillation=DISTILLATION))
    mask = made["a"].params.values[PATCH_MASK]
    where = mask.view(5, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    other = torch.where(where > 0, torch.rand_like(made["a"].images), made["a"].images)
    torch.testing.assert_close(encoder(other, mask).grid, encoded["a"].grid, atol=1e-5, rtol=1e-4)
    (whole,) = base.distillation.teacher.encode([made["a"].images])
    torch.testing.assert_close(whole.grid, encoder(made["a"].images).grid)
    assert not torch.allclose(whole.grid, encoded["a"].grid, atol=1e-2)
    with pytest.raises(ValueError, match="for 9 patches, but an image has 16"):
        encoder(other, torch.zeros(5, 9))


def test_local_crops_are_whole_and_centers_move() -> None:
    local = ViewSpec(RandomResizedCrop(16, scale=(0.1, 0.4)))
    specs = {**masked_views(), "local": local}
    del specs["plain"]
    config = IBOT.Config(local=("local",), distillation=replace(DISTILLATION, temperature_warmup=0.5))
    encoder = tiny_transformer()
    base: Any = config.build(encoder, {n: s.space(Space()) for n, s in specs.items()})
    model = Model(encoder, base, {}, {}, list(specs))
    made = make_views(tiny_batch(4), specs, seed=0)
    encoded = model.encode(made)
    torch.testing.assert_close(encoded["local"].vector, encoder(made["local"].images).vector)
    outcome = base(made, encoded)
    assert set(outcome.embeddings) == {"a", "b", "local"}
    head, teacher = base.distillation.head["image"], base.distillation.teacher
    student = [head(encoded[v].vector) for v in ("a", "b", "local")]
    seen = [teacher.head["image"](e.vector) for e in teacher.encode([made[v].images for v in ("a", "b")])]
    expected = dino_loss(student, seen, base.distillation.center, 0.1, 0.04)
    torch.testing.assert_close(outcome.losses["assignment"], expected)
    model.after_step(0.25)
    torch.testing.assert_close(base.distillation.center, 0.1 * torch.cat(seen).mean(0))
    assert base.distillation.patch_center.any()


def test_masks_have_the_stated_ratio() -> None:
    mask = PatchMask(grid_size=14, mask_ratio=(0.1, 0.5), p=0.5)
    drawn = mask.sample(Stream.of(torch.arange(400), "masks"), (224, 224))
    value, on = drawn.values[PATCH_MASK], drawn.applied[PATCH_MASK]
    assert set(value.unique().tolist()) == {0.0, 1.0} and not value[~on].any()
    assert 0.4 < float(on.float().mean()) < 0.6
    share = value[on].mean(1)
    assert float(share.min()) >= 0.095 and float(share.max()) <= 0.505
    assert float(share.std()) > 0.08  # uniform in [0.1, 0.5]: 0.115
    # In blocks: a masked patch's right neighbour is masked far more often than by chance.
    grid = value[on].view(-1, 14, 14)
    joint_batch_norm = float((grid[:, :, 1:] * grid[:, :, :-1]).sum() / grid[:, :, :-1].sum())
    assert joint_batch_norm > float(share.mean()) + 0.25
    exact = PatchMask(grid_size=4, mask_ratio=(0.25, 0.25), p=1.0)
    assert (exact.sample(Stream.of(torch.arange(50), "m"), (16, 16)).values[PATCH_MASK].sum(1) == 4).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IBOT.Config(views=("a",)), "at least two different crops"),
        (lambda: DINOv2.Config(koleo_weight=-1.0), "koleo_weight must be at least 0"),
        (lambda: SelfDistillationConfig(momentum=2.0), "momentum must be in"),
        (lambda: SelfDistillationConfig(num_prototypes=1), "num_prototypes must be in"),
        (lambda: SelfDistillationConfig(patch_temperature=(0.0, 0.1)), "patch_temperature must be above 0"),
        (lambda: PatchMask(mask_ratio=(0.0, 0.5)), "PatchMask.mask_ratio"),
        (lambda: PatchMask(grid_size=0), "PatchMask.grid_size must be between 1 and 512"),
        (lambda: IBOT.Config().build(tiny_encoder(), {}), "mask_token=true"),
        (
            lambda: IBOT.Config().build(
                tiny_transformer(), {n: s.space(Space()) for n, s in tiny_views().items()}
            ),
            "masks no patches",
        ),
        (
            lambda: IBOT.Config().build(
                tiny_transformer(), {v: Pipeline((PatchMask(grid_size=14),)).space for v in ("a", "b")}
            ),
            r"masks 196 patches, but the encoder has 4 x 4",
        ),
    ],
)
def test_bad_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
