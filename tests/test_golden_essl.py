"""E-SSL: rotation prediction, schedules and LARS against the outputs of the original code.

Its bases are in ``test_golden_losses``, its kNN in ``evaluate/test_evaluations``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_files import golden
from torch import Tensor, nn

from equissl.augment import QuarterTurns
from equissl.equivariance._parameter_targets import FactorClassification
from equissl.params import Params, Space
from equissl.training.optim import LARS, WarmupCosine

pytestmark = [
    pytest.mark.golden,
    pytest.mark.parametrize("path", golden("essl"), ids=lambda p: p.stem),
]
Golden = dict[str, Tensor]


def read(path: Path) -> Golden:
    with np.load(path) as file:
        return {k: torch.from_numpy(np.array(file[k])) for k in file.files}


def same(found: Tensor, wanted: Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(found.detach(), wanted, atol=atol, rtol=0)


def test_rotation_prediction(path: Path) -> None:
    """The orbit's order and labels, and the cross entropy over it."""
    g = read(path)
    images = g["rotation_input"]
    views, record = QuarterTurns().expand(images, Params.of(Space(), {}, count=len(images)))
    assert torch.equal(views, g["rotation_output"])
    factor = record.space["quarter_turns"]
    assert torch.equal(factor.element(record.values["quarter_turns"]), g["rotation_labels"])
    upright = Params.of(Space(), {}, count=len(views))
    loss = FactorClassification(("quarter_turns",)).loss(g["rotation_logits"], upright, record)
    same(loss, g["rotation_loss"])


def rates(config: WarmupCosine, peak: float, epochs: int, per_epoch: int) -> Tensor:
    steps = range(epochs * per_epoch)
    return torch.tensor([config.lr_at(s, peak, len(steps), per_epoch) for s in steps], dtype=torch.float64)


def test_schedules(path: Path) -> None:
    g = read(path)
    epochs, warmup, per_epoch, peak = (
        g[f"cifar10_schedule_{k}"].item() for k in ("epochs", "warmup_epochs", "steps_per_epoch", "base_lr")
    )
    cifar = WarmupCosine(warmup_epochs=warmup, min_lr=0.0)
    same(rates(cifar, peak, epochs, per_epoch), g["cifar10_schedule_lr"], 1e-14)
    probe = WarmupCosine(warmup_epochs=0, min_lr=0.0)
    same(rates(probe, 30.0, 10, 4), g["cifar10_linear_probe_lr"], 1e-13)
    epochs, warmup, per_epoch = (
        int(g[f"imagenet_schedule_{k}"]) for k in ("epochs", "warmup_epochs", "steps_per_epoch")
    )
    imagenet = WarmupCosine(warmup_epochs=warmup, min_lr=0.0, final_lr_ratio=1e-3)
    same(rates(imagenet, 4.8, epochs, per_epoch), g["imagenet_simclr_schedule_lr"], 1e-14)
    weights, biases = g["imagenet_barlow_schedule_lr_weights_biases"].unbind(1)
    same(rates(imagenet, 3.2, epochs, per_epoch), weights, 1e-14)
    same(rates(imagenet, 3.2, epochs, per_epoch) * (0.0768 / 3.2), biases, 1e-14)
    simsiam, predictor = g["imagenet_simsiam_schedule_lr_per_epoch"].unbind(1)
    found = rates(WarmupCosine(warmup_epochs=0, min_lr=0.0, update_every="epoch"), 0.1, len(simsiam), 3)
    same(found, simsiam.repeat_interleave(3), 1e-14)
    assert (predictor == float(g["imagenet_simsiam_init_lr"])).all(), "SimSiam.fixed_lr says the same"


def test_lars_with_the_rate_outside_the_buffer(path: Path) -> None:
    g = read(path)
    names = ("weight_a", "weight_b", "bias_a")
    parameters = {n: nn.Parameter(g[f"imagenet_lars_init_{n}"]) for n in names}
    config = LARS(
        momentum=float(g["imagenet_lars_momentum"]),
        weight_decay=float(g["imagenet_lars_weight_decay"]),
        trust_coefficient=float(g["imagenet_lars_eta"]),
        lr_in_buffer=False,
    )
    groups = [
        {"params": [p for p in parameters.values() if (p.dim() > 1) == matrix], "matrix": matrix}
        for matrix in (True, False)
    ]
    optimizer = config.build(groups)
    for step, rate in enumerate(g["imagenet_lars_lr"].tolist()):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for name, parameter in parameters.items():
            parameter.grad = g[f"imagenet_lars_grads_{name}"][step].clone()
        optimizer.step()
        for name, parameter in parameters.items():
            same(parameter, g[f"imagenet_lars_after_{name}"][step])
