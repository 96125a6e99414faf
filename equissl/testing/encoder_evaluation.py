"""Checks that every encoder evaluation must pass, for anyone who writes one."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from equissl.data.base import InMemoryDataset, Split
from equissl.encoder.encoder import Encoded, Encoder
from equissl.evaluate.audit.factors import AUDITS
from equissl.evaluate.base import Score
from equissl.evaluate.cache import weights_fingerprint
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext
from equissl.objective import Predictive
from equissl.params import Params, Real, Space
from equissl.random import Stream

_TILT = Space((Real("tilt"),))


def check_encoder_evaluation(evaluation: EncoderEvaluation) -> None:
    """Raise AssertionError, naming the law, if ``evaluation`` breaks one.

    It yields scores for labelled colour images and a module that predicts; they are the same when it runs
    again; the encoder keeps its weights and its mode, and no global generator is touched; every score has a
    name of its own, a count, and an interval that contains its value; images without labels and an
    encoder without modules are no error, and ``unavailable_reason`` is empty exactly if there are scores.
    """
    context = example_context()
    before, weights = torch.get_rng_state(), weights_fingerprint(context.encoder)
    modes = [m.training for m in context.encoder.modules()]
    scores = list(evaluation.run(context))
    assert scores, "an evaluation of labelled images and a module that predicts must yield a score"
    _check_rows(scores)
    assert torch.equal(before, torch.get_rng_state()), "an evaluation touched the global generator"
    assert weights_fingerprint(context.encoder) == weights, "an evaluation changed the encoder"
    assert [m.training for m in context.encoder.modules()] == modes, "the encoder was left in another mode"
    assert all(p.grad is None for p in context.encoder.parameters()), "gradients were left in the encoder"
    again = list(evaluation.run(example_context()))
    assert again == scores, "two runs gave different scores"
    bare = replace(context, datasets=dict.fromkeys(context.datasets, _plain(_images(30))), modules={})
    bare = replace(bare, rows=dict.fromkeys(context.rows, torch.arange(30)))
    without = list(evaluation.run(bare))
    reason = evaluation.unavailable_reason(bare)
    assert bool(reason) == (not without), (
        f"unavailable_reason is {reason!r}, but run gave {len(without)} scores"
    )


def example_context(count: int = 60) -> EvaluationContext:
    """A tiny untrained encoder, tilted objects of three tints, and a module that predicts no change."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1))
        encoder = Encoder(layers, {"inv": 3, "equi": 5}, probe=(3, 16, 16)).eval()
    images = _images(count)
    labels = torch.arange(count) % 3
    images[torch.arange(count), labels] = 255 - images[torch.arange(count), labels] // 4
    tilt = Params.of(_TILT, {"tilt": Stream.of(torch.arange(count), "tilt").uniform("tilt")})
    objects = torch.arange(count) // 6
    data = InMemoryDataset(images, tilt, labels, ("a", "b", "c"), group_ids=objects)
    names: tuple[Split, ...] = ("train", "test")
    rows = {name: torch.arange(k, count, 2) for k, name in enumerate(names)}
    module: Predictive = _Identity()
    return EvaluationContext(encoder, dict.fromkeys(names, data), rows, {"identity": module})


class _Identity:
    """A module that reads the factors of every audit and the tilt, and predicts the source itself."""

    @property
    def space(self) -> Space:
        whole = _TILT
        for augment in AUDITS.values():
            whole = whole | augment.space
        return whole

    def predict(self, source: Encoded, change: Params) -> Tensor:
        return source.vector

    def target(self, target: Encoded) -> Tensor:
        return target.vector

    def move(self, source: Tensor, change: Params) -> Tensor:
        return source


def _images(count: int) -> Tensor:
    noise = Stream.of(torch.arange(count), "images").uniform("pixels", 3 * 256)
    return (noise.view(count, 3, 16, 16) * 255).to(torch.uint8)


def _plain(images: Tensor) -> InMemoryDataset:
    return InMemoryDataset(images, Params.of(Space(), {}, count=len(images)), torch.full((len(images),), -1))


def _check_rows(scores: list[Score]) -> None:
    for s in scores:
        assert s.count > 0, f"{s.name} has count 0"
        assert s.low is not None and s.high is not None, f"{s.name} has no interval"
        assert s.low <= s.value <= s.high, f"the interval of {s.name} does not contain its value"
    keys = [(s.name, s.part, s.baseline) for s in scores]
    assert len(set(keys)) == len(keys), f"two scores share a name: {keys}"
