"""How fast a training step is, against the bare network: forward, backward and optimizer on ready images.

    uv run python benchmarks/step.py [--network NAME] [--precision 32-true] [--device auto] [--seconds 10]

A rate is images per second of wall time, the median of turns of two seconds with their spread; an image of
two views counts as two, for the network and for equissl alike. equissl's step is that of training:
the batch is gathered, views are sampled, recorded and made, the objective is SimCLR's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from lightning_fabric import Fabric
from torch import Tensor

from equissl.augment import presets
from equissl.augment.engine import resolve_engine
from equissl.data.base import InMemoryDataset
from equissl.data.torchvision_sets import Cifar10
from equissl.distributed import resolve_device
from equissl.encoder.backbone import EncoderConfig
from equissl.invariance.simclr import SimCLR
from equissl.params import Space
from equissl.recipe import Precision, Recipe
from equissl.training.loop import epoch_views, training_step
from equissl.training.meters import Meters
from equissl.training.optim import SGD
from equissl.training.setup import Plan, build
from equissl.views import ViewSpec

Step = Callable[[], object]


@dataclass(frozen=True)
class Network:
    """An encoder and the images it is measured on."""

    encoder: EncoderConfig
    batch_size: int  # images of a batch; each is two views

    @property
    def size(self) -> int:
        return self.encoder.size


NETWORKS: Mapping[str, Network] = {
    "resnet10t-thin": Network(
        EncoderConfig(
            name="resnet10t",
            stem="small",
            options={"channels": (32, 64, 128, 256), "stem_width": 16},
            size=32,
        ),
        256,
    ),
    "resnet18-cifar": Network(EncoderConfig(name="resnet18", stem="small", size=32), 256),
    "resnet50-128": Network(EncoderConfig(name="resnet50", size=128), 32),
}


def bare(network: Network, device: torch.device, precision: Precision, compiled: bool = False) -> Step:
    """A step of the network alone, on views that lie on the device; the loss is the mean square."""
    fabric = Fabric(accelerator=device.type, devices=1, precision=precision)
    torch.manual_seed(0)
    backbone = network.encoder.backbone().to(memory_format=torch.channels_last)
    if compiled:
        backbone.compile()
    wrapped, optimizer = fabric.setup(backbone, torch.optim.SGD(backbone.parameters(), 1e-3, 0.9))
    images = torch.rand(2 * network.batch_size, 3, network.size, network.size, device=device)
    images = images.to(memory_format=torch.channels_last)

    def step() -> Tensor:
        loss: Tensor = wrapped(images).float().square().mean()
        optimizer.zero_grad()
        fabric.backward(loss)
        optimizer.step()
        return loss.detach()

    return step


def equissl(network: Network, device: torch.device, precision: Precision, compiled: bool = False) -> Step:
    """A step of SimCLR as training takes it, from 8-bit images that lie on the device."""
    view = ViewSpec(presets.moco_v2(network.size))
    recipe = Recipe(
        data=Cifar10(path="."),
        views={"a": view, "b": view},
        encoder=network.encoder,
        base=SimCLR.Config(projector=(128, 128)),
        optimizer=SGD(lr=1e-3),
        batch_size=network.batch_size,
        precision=precision,
        compile=compiled,
        monitor_every=0,
    )
    fabric = Fabric(accelerator=device.type, devices=1, precision=precision)
    plan = _plan(recipe, fabric)
    learner = build(plan, fabric)
    meters, views, epoch = Meters(recipe.batch_size), None, 0

    def step() -> dict[str, Tensor]:
        nonlocal views, epoch
        current = None if views is None else next(views, None)
        if current is None:
            views = epoch_views(plan, fabric, epoch, 0, meters)
            current, epoch = next(views), epoch + 1
        return training_step(learner, current, 0.5)

    return step


def _plan(recipe: Recipe, fabric: Fabric) -> Plan:
    """Random images in place of the recipe's data: four batches."""
    count, side = 4 * recipe.batch_size, recipe.encoder.size
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)
    dataset = InMemoryDataset(images, Space().neutral(count), torch.zeros(count, dtype=torch.int64))
    chosen = replace(recipe, engine=resolve_engine(recipe.engine, fabric.device))
    return Plan(chosen, dataset.to(fabric.device), 4)


def wait(device: torch.device) -> None:
    """Wait until the device has done all that was launched."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(step: Step, images: int, seconds: float, device: torch.device) -> float:
    """Images per second of wall time over at least ``seconds``; ``images``: of one step."""
    wait(device)
    began, steps = time.perf_counter(), 0
    while not steps or time.perf_counter() - began < seconds:
        for _ in range(4 if device.type == "cuda" else 1):
            step()
            steps += 1
        wait(device)
    return steps * images / (time.perf_counter() - began)


def interleaved(
    steps: Mapping[str, Step], images: int, seconds: float, device: torch.device, turn: float = 2.0
) -> dict[str, list[float]]:
    """Rates of several steps, in turns of ``turn`` seconds each; the first step of each is not counted."""
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(max(1, round(seconds / turn))):
        for name, step in steps.items():
            rates[name].append(rate(step, images, turn, device))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--network", choices=[*NETWORKS], default="resnet10t-thin")
    parser.add_argument("--precision", choices=["32-true", "bf16-mixed", "16-mixed"], default="32-true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each candidate")
    args = parser.parse_args()
    network, device = NETWORKS[args.network], torch.device(resolve_device(args.device))
    steps = {way.__name__: way(network, device, args.precision) for way in (bare, equissl)}
    rates = interleaved(steps, 2 * network.batch_size, args.seconds, device)
    print(f"{args.network}, {args.precision}, {device}")
    for name, values in rates.items():
        low, high = min(values), max(values)
        print(f"{name}: {statistics.median(values):,.0f} images/s ({low:,.0f} to {high:,.0f})")
    pairs = zip(rates["equissl"], rates["bare"], strict=True)
    print(f"equissl / bare: {statistics.median(a / b for a, b in pairs):.2f}")


if __name__ == "__main__":
    main()
