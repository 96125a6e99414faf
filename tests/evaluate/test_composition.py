"""Composition of predicted changes: exact laws of modules whose predictions are known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from equissl.data.base import InMemoryDataset
from equissl.encoder.encoder import Encoded, Encoder
from equissl.equivariance import SIE, EquiMod
from equissl.evaluate.audit.factors import AUDITS
from equissl.evaluate.context import EvaluationContext
from equissl.evaluate.equivariance.composition import Composition, _triples
from equissl.evaluate.equivariance.equivariance import Equivariance
from equissl.evaluate.features import make_view
from equissl.nn.predictors import Hypernetwork, ResidualMLP
from equissl.params import Circular, Params, Real, Space
from equissl.random import Stream

ANGLE = Space((Circular("angle", period=1.0),))


class Turned:
    """Embeddings that turn with the recorded angle; predicts the turn, wrongly by ``bias`` and ``scale``."""

    space = ANGLE

    def __init__(self, bias: float = 0.0, scale: float = 1.0):
        self.bias, self.scale = bias, scale

    def target(self, target: Encoded) -> Tensor:
        return target.vector

    def predict(self, source: Encoded, change: Params) -> Tensor:
        return self.move(self.target(source), change)

    def move(self, source: Tensor, change: Params) -> Tensor:
        angle = 2 * torch.pi * (self.scale * change.values["angle"][:, 0] + self.bias)
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
        return torch.einsum("bij,bj->bi", turn, source)


def context(module: object, count: int = 60) -> EvaluationContext:
    """Images whose two pixels are the cosine and the sine of their angle, three of an object."""
    angle = Stream.of(torch.arange(count), "angle").uniform("a", 1)
    pixels = torch.cat([(2 * torch.pi * angle).cos(), (2 * torch.pi * angle).sin()], 1) / 2 + 0.5
    params = Params.of(ANGLE, {"angle": angle})
    none = torch.full((count,), -1)
    data = InMemoryDataset(pixels.view(count, 1, 1, 2), params, none, group_ids=torch.arange(count) // 3)
    encoder = Encoder(nn.Flatten(), mean=(0.5,), std=(0.5,), probe=(1, 1, 2))
    return EvaluationContext(encoder, {"test": data}, {"test": torch.arange(count)}, {"turned": module})  # type: ignore[dict-item]


def values(module: object) -> dict[tuple[str, str], float]:
    scores = Composition().run(context(module))
    return {(s.name.removesuffix("/recorded").split("/")[1], s.baseline): s.value for s in scores}


def test_a_predictor_that_turns_embeddings_exactly_composes() -> None:
    found = values(Turned())
    assert max(found[kind, ""] for kind in ("two_steps", "product", "inverse", "neutral")) < 1e-6
    assert found["two_steps", "identity"] == 1 and found["two_steps", "one_step"] < 1e-6
    assert min(found[kind, "shuffled"] for kind in ("two_steps", "product", "inverse", "neutral")) > 0.5


def test_each_law_is_broken_by_its_own_fault() -> None:
    biased, half = values(Turned(bias=0.25)), values(Turned(scale=0.5))
    # A quarter turn too far each time: two steps are a quarter turn ahead of one, half a turn of the start.
    assert all(biased[kind, ""] > 0.5 for kind in ("product", "inverse", "neutral"))
    # Half of every turn composes (but for turns beyond half of the circle) and undoes itself, but is wrong.
    assert half["neutral", ""] < 1e-6 and half["inverse", ""] < 1e-6
    assert half["two_steps", ""] > 0.05 and half["two_steps", "one_step"] > 0.05


def test_triples_are_of_one_object_and_start_everywhere() -> None:
    groups = torch.tensor([5, 1, 5, 2, 5, 1, 2, 2, 2])
    triples = _triples(groups)
    assert sorted(triples[:, 0].tolist()) == [0, 2, 3, 4, 6, 7, 8]
    assert (groups[triples] == groups[triples[:, :1]]).all()
    assert all(len(set(t)) == 3 for t in triples.tolist())


@pytest.mark.parametrize(
    "config",
    [
        EquiMod.Config(pairs=(("a", "b"),), projector=(8, 8), predictor=ResidualMLP(parameter_width=4)),
        SIE.Config(projector=(8, 8), part="all", predictor=Hypernetwork(bias=True)),
    ],
)
def test_the_modules_of_the_package_compose(config: EquiMod.Config | SIE.Config) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = Encoder(nn.Conv2d(3, 6, 3, 2), probe=(3, 8, 8))
        module = config.build(encoder, dict.fromkeys("ab", AUDITS["hue"].space)).eval()
    images = Stream.of(torch.arange(12), "images").uniform("x", 192).view(12, 3, 8, 8)
    data = InMemoryDataset(images, Params.of(Space(), {}, count=12), torch.full((12,), -1))
    found = EvaluationContext(encoder, {"test": data}, {"test": torch.arange(12)}, {"module": module})
    scores = list(Composition(("hue", "blur")).run(found))
    assert {s.name for s in scores} == {
        f"composition/{kind}/hue" for kind in ("two_steps", "product", "inverse", "neutral")
    }
    neutral = next(s for s in scores if s.name == "composition/neutral/hue" and not s.baseline)
    if isinstance(config, SIE.Config):  # starts as the identity
        assert neutral.value < 1e-6
    assert not list(Composition().run(replace(found, modules={})))
    assert "module" in Composition().unavailable_reason(replace(found, modules={}))


def test_what_a_table_calls_hue_is_no_change_of_hue() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = Encoder(nn.Conv2d(3, 6, 3, 2), probe=(3, 8, 8))
        config = EquiMod.Config(
            pairs=(("a", "b"),), projector=(8, 8), predictor=ResidualMLP(parameter_width=4)
        )
        module = config.build(encoder, dict.fromkeys("ab", AUDITS["hue"].space)).eval()
    stream = Stream.of(torch.arange(12), "images")
    images, none = stream.uniform("x", 192).view(12, 3, 8, 8), torch.full((12,), -1)
    measured = Params.of(Space((Real("hue"), Real("size"))), {n: stream.uniform(n) for n in ("hue", "size")})
    found = []
    for params in (measured, measured.select(["size"])):
        data = InMemoryDataset(images, params, none)
        made = EvaluationContext(encoder, {"test": data}, {"test": torch.arange(12)}, {"module": module})
        view = make_view(data.batch(torch.arange(12)), AUDITS["hue"])
        assert view.params.space["hue"] == AUDITS["hue"].space["hue"] and "size" in view.params.space.names
        found.append([*Composition(("hue",)).run(made), *Equivariance(("hue",)).run(made)])
    assert found[0] == found[1] and len(found[0]) > 4
