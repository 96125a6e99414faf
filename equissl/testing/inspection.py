"""The laws an inspection obeys, for anyone who writes one."""

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


def check_encoder_evaluation(inspection: EncoderEvaluation) -> None:
    """Raise AssertionError, naming the law, if ``inspection`` breaks one.

    It says something of labelled colour images and a module that predicts; the same question gets the same
    answer; the encoder keeps its weights and its mode, and no global generator is touched; every score has a
    name of its own, a count, and an interval that holds its value; images without labels and an
    encoder without modules are no error, and ``missing`` says when nothing comes of them.
    """
    subject = example_context()
    before, weights = torch.get_rng_state(), weights_fingerprint(subject.encoder)
    modes = [m.training for m in subject.encoder.modules()]
    scores = list(inspection.run(subject))
    assert scores, "an inspection of labelled images and a module that predicts must yield a score"
    _check_rows(scores)
    assert torch.equal(before, torch.get_rng_state()), "an inspection touched the global generator"
    assert weights_fingerprint(subject.encoder) == weights, "an inspection changed the encoder"
    assert [m.training for m in subject.encoder.modules()] == modes, "the encoder was left in another mode"
    assert all(p.grad is None for p in subject.encoder.parameters()), "gradients were left in the encoder"
    again = list(inspection.run(example_context()))
    assert again == scores, "the same question got two answers"
    bare = replace(subject, datasets=dict.fromkeys(subject.datasets, _plain(_images(30))), modules={})
    bare = replace(bare, rows=dict.fromkeys(subject.rows, torch.arange(30)))
    found = list(inspection.run(bare))
    assert bool(inspection.missing(bare)) == (not found), "`missing` and `run` do not say the same"


def example_context(count: int = 60) -> EvaluationContext:
    """A tiny untrained encoder, objects of three tints, tilted, and a module that says nothing moves."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1))
        encoder = Encoder(layers, {"inv": 3, "equi": 5}, probe=(3, 16, 16)).eval()
    images = _images(count)
    labels = torch.arange(count) % 3
    images[torch.arange(count), labels] = 255 - images[torch.arange(count), labels] // 4
    known = Params.of(_TILT, {"tilt": Stream.of(torch.arange(count), "tilt").uniform("tilt")})
    objects = torch.arange(count) // 6
    data = InMemoryDataset(images, known, labels, ("a", "b", "c"), group_ids=objects)
    names: tuple[Split, ...] = ("train", "test")
    rows = {name: torch.arange(k, count, 2) for k, name in enumerate(names)}
    module: Predictive = _Still()
    return EvaluationContext(encoder, dict.fromkeys(names, data), rows, {"still": module})


class _Still:
    """A module that reads every audit and the tilt, and predicts that nothing moves."""

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


def _images(count: int) -> Tensor:
    noise = Stream.of(torch.arange(count), "images").uniform("pixels", 3 * 256)
    return (noise.view(count, 3, 16, 16) * 255).to(torch.uint8)


def _plain(images: Tensor) -> InMemoryDataset:
    return InMemoryDataset(images, Params.of(Space(), {}, count=len(images)), torch.full((len(images),), -1))


def _check_rows(scores: list[Score]) -> None:
    for s in scores:
        assert s.count > 0, f"{s.name} counts nothing"
        assert s.low is not None and s.high is not None, f"{s.name} has no interval"
        assert s.low <= s.value <= s.high, f"the interval of {s.name} does not hold its value"
    keys = [(s.name, s.part, s.baseline) for s in scores]
    assert len(set(keys)) == len(keys), f"two scores share a name: {keys}"
