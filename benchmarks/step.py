"""How fast a training step is, against the bare network and against other libraries, in one interleaved run.

    uv run python benchmarks/step.py [--network NAME] [--precision 32-true] [--device auto] [--seconds 20]
    uv run --group peers python benchmarks/step.py --ways bare,equissl,lightly,stable_pretraining

A rate is images per second of wall time, the median of turns of five seconds with their spread; an image of
two views counts as two. "bare": forward, backward and optimizer of the network on ready images. equissl's
step is that of training: the batch is gathered, views are sampled, recorded and made, the objective is
SimCLR's. The libraries' steps are their own transforms of the same policy in a DataLoader with a worker for
each core, their projector and loss, and a plain loop, without a trainer around it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from arguments import in_words, seconds
from lightning_fabric import Fabric
from torch import Tensor

from equissl.augment import presets
from equissl.augment.engine import resolve_engine
from equissl.data.base import InMemoryDataset
from equissl.data.torchvision_sets import Cifar10
from equissl.distributed import limit_threads, resolve_device
from equissl.encoder.backbone import EncoderConfig
from equissl.errors import UserError, nearest
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
    "resnet18-cifar": Network(EncoderConfig(name="resnet18", stem="small", size=32), 64),
    "resnet18-64": Network(EncoderConfig(name="resnet18", size=64), 64),
    "vit_tiny-224": Network(EncoderConfig(name="vit_tiny_patch16_224", size=224), 16),
    "resnet50-128": Network(EncoderConfig(name="resnet50", size=128), 16),
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
    plan = _plan(network, recipe, fabric)
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


def random_images(network: Network) -> Tensor:
    """Random images of four batches, uint8."""
    generator, side = torch.Generator().manual_seed(0), network.size
    shape = 4 * network.batch_size, 3, side, side
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def _plan(network: Network, recipe: Recipe, fabric: Fabric) -> Plan:
    """Random images in place of the recipe's data: four batches."""
    images = random_images(network)
    count = len(images)
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
    steps: Mapping[str, Step],
    images: int,
    seconds: float,
    device: torch.device,
    turn: float = 2.0,
    warm: int = 0,
) -> dict[str, list[float]]:
    """Rates of several steps, in turns of ``turn`` seconds each.

    The first steps of every turn are not counted: what workers prepared in others' turns is used up then.
    """
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(max(1, round(seconds / turn))):
        for name, step in steps.items():
            for _ in range(warm):
                step()
            rates[name].append(rate(step, images, turn, device))
    return rates


def ways() -> dict[str, Callable[..., Step]]:
    import step_peers

    return {w.__name__: w for w in (bare, equissl, step_peers.lightly, step_peers.stable_pretraining)}


def peak_memory(step: Step, device: torch.device) -> float:
    """Gigabytes: of the device's tensors on a GPU, of this process and its workers on a CPU."""
    for _ in range(3):
        step()
    wait(device)
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    used = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
    for child in multiprocessing.active_children():
        pages = Path(f"/proc/{child.pid}/statm")
        used.append(int(pages.read_text().split()[1]) * 4 if pages.exists() else 0)
    return sum(used) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--network", choices=[*NETWORKS], default="resnet10t-thin")
    parser.add_argument("--precision", choices=["32-true", "bf16-mixed", "16-mixed"], default="32-true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=seconds, default=20.0, help="of each way (default 20)")
    parser.add_argument("--ways", default="bare,equissl", help="bare, equissl, lightly, stable_pretraining")
    parser.add_argument("--memory-of", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    limit_threads()
    network, device = NETWORKS[args.network], torch.device(resolve_device(args.device))
    known, chosen = ways(), args.ways.split(",")
    if args.precision == "16-mixed" and device.type == "cpu":
        raise UserError("precision=16-mixed needs a GPU: torch computes it in bfloat16 on a CPU")
    if unknown := [w for w in chosen if w not in known]:
        raise UserError(f"ways={args.ways}: no {unknown[0]!r}; {nearest(unknown[0], known)}")
    if args.memory_of:
        print(peak_memory(known[args.memory_of](network, device, args.precision), device))
        return
    steps = {name: known[name](network, device, args.precision) for name in chosen}
    rates = interleaved(steps, 2 * network.batch_size, args.seconds, device, turn=5.0, warm=3)
    threads = torch.get_num_threads()
    print(f"{args.network}, {args.precision}, {device}, {threads} threads, batches of {network.batch_size}")
    for name, values in rates.items():
        again = [sys.executable, __file__, *sys.argv[1:], "--memory-of", name]
        memory = float(subprocess.run(again, capture_output=True, check=True).stdout.split()[-1])
        low, high = min(values), max(values)
        rate_text = f"{statistics.median(values):8,.0f} images/s ({low:,.0f} to {high:,.0f})"
        pairs = zip(rates["equissl"], values, strict=True) if "equissl" in rates else ()
        ratios = [a / b for a, b in pairs]
        times = f", equissl / {name}: {statistics.median(ratios):.2f}" if ratios else ""
        print(f"{name:20} {rate_text}, {memory:.2f} GB{times}", flush=True)


if __name__ == "__main__":
    in_words(main)
