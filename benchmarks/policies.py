"""What the augmentation benchmarks measure: two policies in numbers that every library understands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from equissl.augment import (
    CIFAR10,
    Augmentation,
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Pipeline,
    RandomResizedCrop,
    Solarize,
)
from equissl.augment.engine import Engine, render
from equissl.random import Stream

Run = Callable[[], Any]
MEAN, STD = CIFAR10.mean, CIFAR10.std


@dataclass(frozen=True)
class Policy:
    """A policy in numbers that every library understands."""

    name: str
    source: int
    size: int
    count: int  # images of one measurement by batched engines
    few: int  # ... and by slow peers
    jitter: tuple[float, float, float, float]
    blur: float = 0.0
    solarize: float = 0.0

    @property
    def ours(self) -> Pipeline:
        steps: tuple[Augmentation, ...] = (
            RandomResizedCrop(self.size),
            HorizontalFlip(),
            ColorJitter(*self.jitter, p=0.8),
            Grayscale(0.2),
        )
        if self.blur:
            steps = (*steps, GaussianBlur(23, p=self.blur), Solarize(p=self.solarize))
        return Pipeline((*steps, CIFAR10))


CIFAR = Policy("CIFAR policy, 32 px", 32, 32, 2048, 256, (0.4, 0.4, 0.4, 0.1))
IMAGENET = Policy("ImageNet policy, 256 -> 224 px", 256, 224, 64, 12, (0.8, 0.8, 0.8, 0.2), 0.5, 0.2)


def make_images(policy: Policy) -> Tensor:
    """Smooth and sharp content, 8 bit: (count, 3, source, source)."""
    generator = torch.Generator().manual_seed(0)
    shape = (policy.count, 3, policy.source, policy.source)
    coarse = torch.rand(policy.count, 3, policy.source // 8, policy.source // 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, shape[2:], mode="bicubic")
    mosaic = torch.nn.functional.interpolate(coarse, shape[2:], mode="nearest")
    return ((smooth + mosaic) / 2 * 255).clamp(0, 255).round().to(torch.uint8)


def engine(policy: Policy, images: Tensor, way: Engine, **how: Any) -> Run:
    """Draw, record and render, a fresh epoch every time."""
    index, augmentation, epoch = torch.arange(len(images), device=images.device), policy.ours, [0]

    def run() -> Tensor:
        epoch[0] += 1
        stream = Stream.of(index, 0, epoch[0], "a")
        draw = augmentation.sample(stream, (policy.source, policy.source))
        return render(augmentation, images, draw, way, **how)

    return run


def kornia(policy: Policy, images: Tensor) -> Run:
    """Batched, its own crop (no antialiasing), one order of the colour operations per batch."""
    import kornia.augmentation as K

    steps: list[Any] = [
        K.RandomResizedCrop((policy.size, policy.size), cropping_mode="resample"),
        K.RandomHorizontalFlip(),
        K.ColorJitter(*policy.jitter, p=0.8),
        K.RandomGrayscale(p=0.2),
    ]
    if policy.blur:
        steps += [K.RandomGaussianBlur((23, 23), (0.1, 2.0), p=policy.blur)]
        steps += [K.RandomSolarize(thresholds=0.01, additions=0.0, p=policy.solarize)]
    transform = torch.nn.Sequential(*steps, K.Normalize(torch.tensor(MEAN), torch.tensor(STD))).to(
        images.device
    )
    chunk = (512 if policy.size < 64 else 32) if images.device.type == "cpu" else len(images)
    return lambda: torch.cat([transform(part.float() / 255) for part in images.split(chunk)])


def torchvision_steps(policy: Policy) -> list[Any]:
    """torchvision's v2 transforms of a policy, but for the normalisation."""
    from torchvision.transforms import v2

    steps: list[Any] = [
        v2.RandomResizedCrop(policy.size),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.ColorJitter(*policy.jitter)], p=0.8),
        v2.RandomGrayscale(0.2),
    ]
    if policy.blur:
        steps += [v2.RandomApply([v2.GaussianBlur(23, (0.1, 2.0))], p=policy.blur)]
        steps += [v2.RandomSolarize(128, p=policy.solarize)]
    return steps
