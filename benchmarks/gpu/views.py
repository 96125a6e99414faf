"""Views per second of 8-bit images that lie on a device: equissl's engines, torchvision v2 and kornia."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from policies import CIFAR, IMAGENET, MEAN, STD, Policy, Run, engine, kornia, make_images, torchvision_steps
from step import rate
from torch import Tensor


def torchvision(policy: Policy, images: Tensor) -> Run:
    """torchvision v2 on the whole batch: one draw for all its images."""
    from torchvision.transforms import v2

    transform = v2.Compose(
        [*torchvision_steps(policy), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    )
    return lambda: transform(images)


def candidates(cuda: bool) -> dict[str, tuple[Callable[[Policy, Tensor], Run], str]]:
    """Name -> what makes views of a batch, and what is to be known about it."""
    ways: dict[str, tuple[Callable[[Policy, Tensor], Run], str]] = {
        "torchvision v2": (torchvision, "one draw for the whole batch, nothing recorded"),
        "kornia": (kornia, "one order of colour operations per batch"),
        "equissl torch": (lambda p, x: engine(p, x, "torch"), "a draw per image, recorded"),
    }
    if cuda:
        ways["equissl compile"] = (lambda p, x: engine(p, x, "compile"), "a draw per image, recorded")
    return ways


def measure(seconds: float, cuda: bool) -> Iterator[tuple[str, str, float | None, str]]:
    """Policy, candidate, images per second (None: not measured, see the note), and a note."""
    device = torch.device("cuda" if cuda else "cpu")
    policies = [replace(CIFAR, count=4096), replace(IMAGENET, count=256)] if cuda else []
    policies = policies or [replace(CIFAR, count=8), replace(IMAGENET, source=32, size=16, count=2)]
    ways = candidates(cuda)
    for policy in policies:
        images = make_images(policy).to(device)
        for name, (make, note) in ways.items():
            try:
                run = make(policy, images)
                run()
                turn = seconds / len(policies) / len(ways) / 2 if cuda else 0.0
                yield policy.name, name, rate(run, policy.count, turn, device), note
            except ImportError as error:
                yield policy.name, name, None, f"not measured: {error}"
            except RuntimeError as error:
                yield policy.name, name, None, f"failed: {(str(error).splitlines() or [''])[0][:200]}"
