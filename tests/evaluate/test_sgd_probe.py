"""The SGD probe against torch's own optimiser, and its schedule against the original's."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_files import golden

from equissl.evaluate.classification.sgd_probe import SGDProbe
from equissl.evaluate.probes.sgd import cosine_decay, fit_linear_layers
from equissl.random import Stream, shuffled
from equissl.testing.evaluation import example_table


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_every_layer_equals_one_trained_alone_by_torch(decay: float) -> None:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(70, 6, generator=g), torch.randint(4, (70,), generator=g)
    y[:4] = torch.arange(4)
    lrs, epochs, batch = [0.5, 3.0, 30.0], 5, 16
    fitted = fit_linear_layers(x, y, lrs, epochs, batch, 0.9, decay, seed=3)
    weight, bias = fitted.weight, fitted.bias
    for s, lr in enumerate(lrs):
        bound = 1 / math.sqrt(6)
        start = Stream.of(torch.arange(7), 3, "layer", s).uniform("weight", 4, -bound, bound)
        layer = torch.nn.Linear(6, 4)
        with torch.no_grad():
            layer.weight.copy_(start[:-1].T)
            layer.bias.copy_(start[-1])
        optimizer = torch.optim.SGD(layer.parameters(), lr, momentum=0.9, weight_decay=decay)
        total = epochs * (70 // batch)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
        for epoch in range(epochs):
            order = shuffled(70, 3, "sgd", epoch)
            for k in range(70 // batch):
                rows = order[k * batch : (k + 1) * batch]
                optimizer.zero_grad()
                F.cross_entropy(layer(x[rows]), y[rows]).backward()
                optimizer.step()
                schedule.step()
        torch.testing.assert_close(weight[s].T, layer.weight.detach(), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(bias[s], layer.bias.detach(), rtol=1e-3, atol=1e-3)


@pytest.mark.golden
@pytest.mark.parametrize("path", golden("essl"), ids=lambda p: p.stem)
def test_golden_schedule(path: Path) -> None:
    with np.load(path) as file:
        expected = file["cifar10_linear_probe_lr"]
    result = [30 * cosine_decay(step, len(expected)) for step in range(len(expected))]
    assert result == pytest.approx(expected.tolist(), rel=1e-12)


def test_the_best_rate_is_chosen_and_several_layers_are_averaged() -> None:
    train, test = example_table(120, "train"), example_table(60, "test")
    scores = list(SGDProbe(lrs=(1e-7, 1.0), inits=4, epochs=20).run(train, test))
    for score in scores:
        assert score.extra["lr"] == 1.0 and score.extra["repeats"] == 4 and score.value > 0.95
    untrained = next(SGDProbe(lrs=(1e-9,), inits=4, epochs=1).run(train, test))
    assert float(str(untrained.extra["std"])) > 0.01, "the layers start from different weights"


def test_standardising_undoes_the_units_of_the_features() -> None:
    train, test = example_table(120, "train"), example_table(60, "test")
    probe = SGDProbe(lrs=(0.3,), inits=1, epochs=20, standardize=True)
    small = [replace(t, vectors=t.vectors * 1e-3 + 2) for t in (train, test)]
    assert next(probe.run(*small)).value > 0.95
    assert next(replace(probe, standardize=False).run(*small)).value < 0.7


@pytest.mark.parametrize("wrong", [{"lrs": ()}, {"lrs": (0.1, -1.0)}, {"inits": 0}, {"epochs": 0}])
def test_impossible_settings(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SGDProbe(**wrong)  # type: ignore[arg-type]
