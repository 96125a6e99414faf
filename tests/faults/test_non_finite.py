"""Infinities and NaN end in words, never in a saved checkpoint, a score or a file of features."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from objective_cases import BASES, surroundings
from test_train import QUIET, tiny
from torch import Tensor, nn

import equissl
from equissl.api.embed import embed
from equissl.api.evaluate import EvaluationOptions, evaluate_run
from equissl.cli.main import main
from equissl.data.image_folder import write_images
from equissl.errors import NonFiniteError
from equissl.evaluate.base import Evaluation, FeatureTable
from equissl.evaluate.features import extract
from equissl.evaluate.finite import check_finite
from equissl.evaluate.protocol import available
from equissl.runs.folder import Run
from equissl.testing.evaluation import example_table
from equissl.training import checkpoint
from equissl.training.loop import train
from equissl.training.monitor import monitor
from equissl.training.optim import SGD, WarmupCosine


def not_finite(state: Any, name: str = "") -> Iterator[str]:
    """Names of the floating tensors in nested containers that hold an infinity or NaN."""
    if isinstance(state, Tensor):
        if state.is_floating_point() and not state.isfinite().all():
            yield name
    elif isinstance(state, dict | list | tuple):
        for key, value in state.items() if isinstance(state, dict) else enumerate(state):
            yield from not_finite(value, f"{name}.{key}")


@pytest.mark.parametrize("name", BASES)
def test_every_base_at_a_huge_lr_ends_in_words(tmp_path: Path, name: str) -> None:
    make, views = surroundings(name)
    recipe = tiny(
        base=BASES[name],
        modules={},
        views={n: s for n, s in views.items() if n != "plain"},
        optimizer=SGD(lr=1e6),
        schedule=WarmupCosine(warmup_epochs=0),
        epochs=4,
    )
    message = r"not finite.*step \d+.*; the last good checkpoint.*of step \d+: .*lower optimizer\.lr"
    with pytest.raises(NonFiniteError, match=message) as caught:
        train(recipe, tmp_path / "run", replace(QUIET, save_every=1), encoder=make())
    saved = checkpoint.load(tmp_path / "run" / "checkpoints")
    assert not list(not_finite(saved))
    assert f"of step {saved['step']}: " in str(caught.value)


@pytest.mark.parametrize("where", ["parameter", "buffer", "optimizer"])
def test_no_tensor_of_a_checkpoint_may_be_infinite(tmp_path: Path, where: str) -> None:
    class Spoil(nn.BatchNorm2d):
        """BatchNorm that spoils a tensor in its second step, while its outputs stay finite."""

        def forward(self, images: Tensor) -> Tensor:
            out = super().forward(images)
            if self.training and int(self.num_batches_tracked) == 2:
                if where == "buffer":
                    self.statistic.fill_(torch.inf)
                if where == "parameter":
                    self.unused.data.fill_(torch.nan)
            return out

    layers = nn.Sequential(Spoil(3), nn.Conv2d(3, 8, 3, 2), nn.ReLU())
    layers[0].unused = nn.Parameter(torch.zeros(()))
    layers[0].register_buffer("statistic", torch.zeros(()))
    if where == "optimizer":  # a gradient whose square overflows: Adam's second moment is infinite
        layers[0].unused.register_hook(lambda g: g * 0 + 1e30)
        layers.register_forward_hook(lambda m, i, out: out + 0 * layers[0].unused)
    recipe = tiny(epochs=2, monitor_every=0)
    with pytest.raises(NonFiniteError, match="not finite after step"):
        equissl.pretrain(recipe, tmp_path / "run", replace(QUIET, save_every=1), backbone=layers)
    assert not list(not_finite(checkpoint.load(tmp_path / "run" / "checkpoints")))


def test_a_buffer_made_with_infinities_is_left_alone(tmp_path: Path) -> None:
    layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU())
    layers.register_buffer("causal_mask", torch.full((2, 2), -torch.inf).triu(1))
    equissl.pretrain(tiny(epochs=1, monitor_every=0), tmp_path / "run", QUIET, backbone=layers)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose checkpoint holds a NaN, as an earlier version could save it."""
    run = train(tiny(epochs=1, monitor_every=0), tmp_path_factory.mktemp("damaged") / "run", QUIET)
    state = checkpoint.load(run.checkpoints)
    next(v for n, v in state["model"].items() if n.endswith("conv1.0.weight")).fill_(torch.nan)
    checkpoint.save(run.checkpoints, state)
    return run


def test_embed_refuses_with_model_count_and_first_name(damaged: Run, tmp_path: Path) -> None:
    write_images(tmp_path / "photos", {"x": 3})
    words = r"features of run are not finite.* 3 of 3 images \(the first is 'x/0\.png'\)"
    with pytest.raises(NonFiniteError, match=words):
        embed(damaged.path, tmp_path / "photos", tmp_path / "out.npz")
    assert main(["embed", str(damaged.path), str(tmp_path / "photos"), f"out={tmp_path / 'out.csv'}"]) == 2
    assert not list(tmp_path.glob("out*"))


def test_evaluate_and_audit_refuse(damaged: Run) -> None:
    with pytest.raises(NonFiniteError, match="features of run are not finite"):
        evaluate_run(damaged.path, options=EvaluationOptions(count=20, evaluations=("collapse",)))
    with pytest.raises(NonFiniteError, match="features of run are not finite"):
        equissl.audit(str(damaged.path), torch.rand(60, 3, 16, 16), factors=("brightness",))


def test_extract_and_monitor_refuse(damaged: Run) -> None:
    encoder = equissl.load_backbone(damaged.path)
    dataset = tiny().data.open("train")
    with pytest.raises(NonFiniteError, match=r"48 of 48 images \(the first is number 0\)"):
        extract(encoder, dataset)
    with pytest.raises(NonFiniteError):
        monitor(encoder, dataset, 16, 0, torch.device("cpu"))


FEATURE_EVALUATIONS = [n for n, e in available().items() if isinstance(e, Evaluation)]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e30])
def test_no_evaluation_receives_non_finite_features(value: float) -> None:
    """Every evaluation takes ``FeatureTable``s, and none can be made of such features."""
    assert len(FEATURE_EVALUATIONS) > 5
    good = example_table(40, "good")
    vectors = good.vectors.clone()
    vectors[7, 3] = value
    with pytest.raises(NonFiniteError, match=re.escape(f"1 of {len(good)} images (the first is number 7)")):
        FeatureTable(vectors, good.labels, good.params, good.groups, good.parts)


def test_large_features_are_accepted() -> None:
    check_finite(torch.full((2, 3), 1e12))
    check_finite(torch.empty(0, 3))
