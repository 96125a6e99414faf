"""A training step of every recipe on a fake CUDA device: no devices are mixed, and nothing waits for it.

What the fake mode does not reach: the gradient scaler of precision 16-mixed, which reads back in every step
whether the gradients are finite; torch.compile; pinned memory; several GPUs; and what a kernel computes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import fake_cuda
import pytest
import torch
from fake_cuda import GPU, MODE, NoWaiting, Waits
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from equissl.config import registry
from equissl.config.registry import Entry
from equissl.data.base import InMemoryDataset
from equissl.data.batch import Batch
from equissl.encoder.backbone import BackboneConfig, EncoderConfig
from equissl.model import Model
from equissl.params import Params, Real, Space
from equissl.recipe import Recipe
from equissl.recipes import equimod
from equissl.training.loop import training_step
from equissl.training.optim import parameter_groups, set_lr
from equissl.training.setup import Learner, Opaque, OpaqueForward
from equissl.views import View, make_views

pytestmark = pytest.mark.skipif(
    not torch.backends.cuda.is_built() or torch.cuda.is_available(),
    reason="needs a torch that is built for CUDA, and no GPU: there the tests marked cuda say more",
)
BATCH_SIZE = 4
MAX_QUICK_VIEWS = 4


def recipes() -> list[Any]:
    """Every recipe; slow are those with many views, and those that have base and modules of one before."""
    entries, taken, marked = registry.recipes(), set(), []
    for entry in sorted(entries, key=lambda e: len(e.value().views)):
        recipe = entry.value()
        parts = {type(recipe.base), *(type(w.module) for w in recipe.modules.values())}
        marks = [pytest.mark.slow] if parts <= taken or len(recipe.views) > MAX_QUICK_VIEWS else []
        marked.append(pytest.param(entry, id=entry.name, marks=marks))
        taken |= parts
    return marked


@pytest.mark.parametrize("entry", recipes())
def test_a_training_step(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small(entry.value())
    learner = build(recipe)
    with fake_cuda.device(monkeypatch):
        with torch.no_grad():
            learner.wrapped(Opaque(views(recipe, learner)))  # caches of constants are filled
        with NoWaiting():
            set_lr(learner.optimizer, 0.1, recipe.optimizer.lr)
            terms = training_step(learner, views(recipe, learner), 0.5, recipe.clip_gradient)
    assert {t.device for t in terms.values()} == {GPU}
    trained = [p for p in learner.model.encoder.parameters() if p.requires_grad]
    assert trained and all(p.grad is not None and p.grad.device == GPU for p in trained)


def test_what_would_wait_or_mix_devices_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_cuda.device(monkeypatch):
        there, here = torch.ones(4, 3, device=GPU), torch.ones(4, 3)
        index, mask = torch.tensor([0, 1]), torch.ones(4, dtype=torch.bool, device=GPU)
        waits: tuple[Callable[[], object], ...] = (
            lambda: there.cpu(),
            lambda: here.to(GPU),
            lambda: torch.tensor([0.5], device=GPU),
            lambda: there.copy_(here),
            lambda: there[index],
            lambda: there[mask],
            lambda: there.index_put_((mask,), torch.ones(4, 3, device=GPU)),
        )
        for wait in waits:
            with NoWaiting(), pytest.raises(Waits):
                wait()
        reads: tuple[Callable[[], object], ...] = (
            lambda: there.sum().item(),
            lambda: there.tolist(),
            lambda: bool(there.all()),
            lambda: there.nonzero(),
            lambda: torch.equal(there, there),
        )
        for read in reads:
            with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
                read()
        with pytest.raises(Exception, match="cuda:0 and cpu"):
            there + here
        with NoWaiting():
            here.to(GPU, non_blocking=True), there + 1.0, torch.zeros(4, device=GPU)


def test_gradients_are_those_of_torch() -> None:
    """The stand-in for torch's engine, on a device that has values."""
    model = recipe_model(equimod.simclr_cifar10_small())
    batch = Batch({"image": torch.rand(4, 3, 32, 32)}, {"image": Space().neutral(4)}, *[torch.arange(4)] * 2)
    made = make_views(batch, equimod.simclr_cifar10_small().views, 0)
    gradients = []
    for run in (torch.Tensor.backward, fake_cuda.backward):
        model.zero_grad()
        run(torch.stack(list(model(made).values())).sum())
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 10
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_rows_of_images_in_the_memory_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images lie on the device, row numbers and labels on the host, as the training loop has them."""
    dataset = InMemoryDataset(torch.zeros(8, 3, 4, 4, dtype=torch.uint8), Space().neutral(8), torch.arange(8))
    with fake_cuda.device(monkeypatch):
        object.__setattr__(dataset, "images", fake_cuda.like(dataset.images))
        object.__setattr__(dataset, "targets", torch.arange(8))
        with NoWaiting():
            batch = dataset.batch(torch.arange(4)).to(GPU)
    assert {batch.images["image"].device, batch.index.device, batch.labels.device} == {GPU}


def test_rows_of_images_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    space = Space((Real("x"),))
    with fake_cuda.device(monkeypatch):
        params = Params.of(space, {"x": torch.zeros(4, 1)})
        host = Batch({"image": torch.zeros(4, 3, 4, 4)}, {"image": params}, *[torch.arange(4)] * 2)
        with NoWaiting():
            batch = host.to(GPU)
    assert {batch.images["image"].device, batch.params["image"].device, batch.index.device} == {GPU}


def recipe_model(recipe: Recipe) -> Model:
    return small(recipe).build({"image": Space()})


def small(recipe: Recipe) -> Recipe:
    """The recipe with a small encoder; views and objectives are its own."""
    encoder: BackboneConfig = recipe.encoder
    if isinstance(encoder, EncoderConfig):
        parts = {n: 96 // len(encoder.parts) for n in encoder.parts}
        if encoder.width:  # a linear layer of the recipe's own width follows
            parts = dict(encoder.parts)
        name, options = "test_resnet", {}
        if encoder.mask_token or "vit" in encoder.name:
            name, options = "test_vit", {"patch_size": encoder.options.get("patch_size", 16)}
            options |= {k: v for k, v in encoder.options.items() if k == "dynamic_img_size"}
        encoder = replace(encoder, name=name, stem="timm", options=options, parts=parts)
    return replace(recipe, encoder=encoder, batch_size=BATCH_SIZE, engine="torch")


def build(recipe: Recipe) -> Learner:
    """Model and optimizer as ``training.setup.build`` makes them, the model on the fake device."""
    model = recipe.build(recipe.data.spaces)
    if recipe.channels_last:
        model.to(memory_format=torch.channels_last)
    fake_cuda.move(model)
    with MODE:
        optimizer = recipe.optimizer.build(parameter_groups(model, model.fixed_lr))
    fabric: Any = fake_cuda.Fabric()
    return Learner(fabric, model, Autocast(OpaqueForward(model), recipe.precision), optimizer)


class Autocast(nn.Module):
    """The forward pass in the recipe's precision."""

    def __init__(self, module: nn.Module, precision: str):
        super().__init__()
        self.module, self.precision = module, precision

    def forward(self, opaque: Opaque) -> dict[str, Tensor]:
        with fake_cuda.autocast(self.precision):
            terms: dict[str, Tensor] = self.module(opaque)
        return {name: value.float() for name, value in terms.items()}


def views(recipe: Recipe, learner: Learner) -> dict[str, View]:
    """The views of a batch, as the training loop makes them from images in the memory of the device."""
    side, known = recipe.data.size, recipe.data.spaces
    images = {
        n: torch.empty(BATCH_SIZE, channels(recipe), side, side, dtype=torch.uint8, device=GPU) for n in known
    }
    batch = Batch(
        images,
        {n: space.neutral(BATCH_SIZE).to(GPU) for n, space in known.items()},
        torch.zeros(BATCH_SIZE, dtype=torch.int64),
        torch.arange(BATCH_SIZE),
    )
    return make_views(batch.to(learner.fabric.device), recipe.views, recipe.seed, 0, recipe.engine)


def channels(recipe: Recipe) -> int:
    mean = getattr(recipe.encoder, "mean", (0.0,))
    return len(mean)
