"""E-SSL's module: what it is asked, on which rows, and that it can be learned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.augment import (
    ColorJitter,
    FullOrbit,
    HorizontalFlip,
    Invert,
    Jigsaw,
    Pipeline,
    QuarterTurn,
    RandomElement,
    RandomResizedCrop,
    VerticalFlip,
)
from equissl.encoder.encoder import Encoded, Encoder
from equissl.equivariance._parameter_targets import FactorClassification, FactorRegression
from equissl.equivariance.essl import ESSL
from equissl.invariance.simclr import SimCLR
from equissl.model import Model
from equissl.nn.heads import LayerNormMLP
from equissl.params import Space
from equissl.testing.objective import tiny_batch, tiny_encoder, tiny_views
from equissl.views import SameAs, View, ViewSpec, make_views

CROP = Pipeline((RandomResizedCrop(16, scale=(0.5, 1.0)), ColorJitter()))


def build(views: Mapping[str, ViewSpec], **fields: Any) -> tuple[ESSL, Encoder]:
    torch.manual_seed(0)
    encoder = tiny_encoder()
    spaces = {n: s.space(Space()) for n, s in views.items()}
    return ESSL.Config(**{"hidden": (16,), **fields}).build(encoder, spaces), encoder


def features(views: Mapping[str, View]) -> dict[str, Encoded]:
    generator = torch.Generator().manual_seed(1)
    vectors = {n: torch.randn(len(v.images), 16, generator=generator) for n, v in views.items()}
    return {n: Encoded(v, None, {"all": slice(0, 16)}) for n, v in vectors.items()}


@pytest.mark.parametrize(("augmentation", "order"), [(QuarterTurn(), 4), (Jigsaw(), 24), (Invert(), 2)])
def test_a_full_orbit_is_classified(augmentation: Any, order: int) -> None:
    """Against labels counted by hand: all images under the first element, then under the second, ..."""
    views = {"small": ViewSpec(CROP, orbit=FullOrbit(augmentation))}
    module, _ = build(views, targets={"it": FactorClassification(factors=augmentation.space.names)})
    made = make_views(tiny_batch(5), views, seed=0)
    encoded = features(made)
    logits = module.head(encoded["small"].vector)
    assert logits.shape == (5 * order, order)
    wanted = F.cross_entropy(logits, torch.arange(order).repeat_interleave(5))
    torch.testing.assert_close(module(made, encoded, {})["it"], wanted)


def test_a_random_element_is_classified() -> None:
    views = {"small": ViewSpec(Pipeline((*CROP.steps, RandomElement(QuarterTurn()))))}
    module, _ = build(views)
    made = make_views(tiny_batch(9), views, seed=0)
    encoded = features(made)
    turns = made["small"].params.values["quarter_turns"].squeeze(1).long()
    assert len(turns.unique()) > 1
    wanted = F.cross_entropy(module.head(encoded["small"].vector), turns)
    torch.testing.assert_close(module(made, encoded, {})["rotation"], wanted)


def test_the_relative_element_is_read_off_both_features() -> None:
    """Both views are turned, as data may be; only the difference of their turns is asked for."""
    turned = ViewSpec(Pipeline((RandomResizedCrop(16), RandomElement(QuarterTurn()))))
    views = {"upright": turned, "small": turned}
    module, _ = build(views, source="upright")
    made = make_views(tiny_batch(11), views, seed=0)
    encoded = features(made)
    first, second = (made[n].params.values["quarter_turns"].squeeze(1).long() for n in ("upright", "small"))
    assert (first != 0).any() and (first != second).any()
    logits = module.head(torch.cat([encoded["upright"].vector, encoded["small"].vector], 1))
    wanted = F.cross_entropy(logits, (second - first) % 4)
    torch.testing.assert_close(module(made, encoded, {})["rotation"], wanted)


def test_an_orbit_relative_to_its_own_crops() -> None:
    views = {
        "upright": ViewSpec(CROP),
        "small": ViewSpec(CROP, draw=SameAs("upright"), orbit=FullOrbit(QuarterTurn())),
    }
    module, _ = build(views, source="upright")
    made = make_views(tiny_batch(3), views, seed=0)
    assert torch.equal(made["small"].images[:3], made["upright"].images)
    encoded = features(made)
    rows = [
        torch.cat([encoded["upright"].vector[i], encoded["small"].vector[3 * k + i]])
        for k in range(4)
        for i in range(3)
    ]
    wanted = F.cross_entropy(module.head(torch.stack(rows)), torch.arange(4).repeat_interleave(3))
    torch.testing.assert_close(module(made, encoded, {})["rotation"], wanted)


@pytest.mark.parametrize(("error", "power"), [("l1", 1), ("mse", 2)])
def test_continuous_parameters_are_regressed(error: str, power: int) -> None:
    views = {"small": ViewSpec(CROP)}
    module, _ = build(views, targets={"it": FactorRegression(factors=("hue", "brightness"), error=error)})
    made = make_views(tiny_batch(7), views, seed=0)
    encoded = features(made)
    values, space = made["small"].params.values, made["small"].params.space
    angle = 2 * math.pi * values["hue"]
    brightness = (values["brightness"] - 1) / space["brightness"].scale  # type: ignore[attr-defined]
    target = torch.cat([brightness, angle.cos(), angle.sin()], 1)
    wanted = (module.head(encoded["small"].vector) - target).abs().pow(power).mean()
    torch.testing.assert_close(module(made, encoded, {})["it"], wanted)


def test_what_cannot_be_asked_is_refused() -> None:
    views = {"small": ViewSpec(CROP)}
    with pytest.raises(ValueError, match="hue is continuous"):
        build(views, targets={"it": FactorClassification(factors=("hue",))})
    with pytest.raises(KeyError, match="no factor named 'quarter_turns'"):
        build(views)
    with pytest.raises(ValueError, match="targets must hold at least one name"):
        ESSL.Config(targets={})
    with pytest.raises(ValueError, match="error='huber' does not exist"):
        FactorRegression(factors=("hue",), error="huber")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sizes", "last_relu", "parameters", "kinds"),
    [
        ((512, 2048, 2048, 4), True, 5_263_364, "LNR LNR L"),
        ((512, 2048, 2048, 4), False, 5_263_364, "LNR LN L"),
        ((2048, 2048, 2048, 128, 4), False, 8_663_940, "LNR LNR LN L"),
        ((2048, 2048, 2048, 256, 4), False, 8_926_980, "LNR LNR LN L"),
    ],
)
def test_heads_are_the_papers(sizes: tuple[int, ...], last_relu: bool, parameters: int, kinds: str) -> None:
    """Layers of specs 1.1 (CIFAR-10: SimCLR, SimSiam) and 2.1 (ImageNet: SimCLR, the others)."""
    letters = {nn.Linear: "L", nn.LayerNorm: "N", nn.ReLU: "R"}
    with torch.device("meta"):
        head = LayerNormMLP(sizes, last_relu)
    assert "".join(letters[type(m)] for m in head.layers) == kinds.replace(" ", "")
    assert sum(p.numel() for p in head.parameters()) == parameters


def test_the_base_does_not_notice_the_module() -> None:
    """With or without the small view the base sees the same images, in a forward pass of its own."""
    two = {n: s for n, s in tiny_views().items() if n != "plain"}
    three = {**two, "small": ViewSpec(CROP, orbit=FullOrbit(QuarterTurn()))}
    terms = []
    for views in (two, three):
        module, encoder = build(three)
        torch.manual_seed(1)
        base = SimCLR.Config(projector=(8, 4), batch_norm="per_view").build(encoder, {})
        modules = {"essl": module} if len(views) == 3 else {}
        model = Model(encoder, base, modules, {"essl": 0.4}, list(views), "per_view")
        terms.append(model(make_views(tiny_batch(6), views, seed=0)))
    assert torch.equal(terms[0]["base/contrast"], terms[1]["base/contrast"])
    assert set(terms[1]) == {"base/contrast", "essl/rotation"}


def test_orientation_can_be_learned() -> None:
    """Images brighter towards the top: cross entropy falls far below that of guessing."""
    views = {"small": ViewSpec(HorizontalFlip(), orbit=FullOrbit(VerticalFlip()))}
    module, encoder = build(views, targets={"it": FactorClassification(factors=("vertical_flip",))})
    parameters = [*encoder.parameters(), *module.parameters()]
    optimizer = torch.optim.Adam(parameters, 1e-2)
    slope: Tensor = torch.linspace(1, -1, 16).view(1, 1, 16, 1)
    for step in range(30):
        batch = tiny_batch(16, seed=step)
        images = {"image": (0.5 * batch.images["image"] + 0.25 + 0.2 * slope).clamp(0, 1)}
        made = make_views(type(batch)(images, batch.params, batch.labels, batch.index), views, step)
        loss = module(made, {"small": encoder(made["small"].images)}, {})["it"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1 < math.log(2)
