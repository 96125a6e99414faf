"""Your own dataset with factors of your own
=========================================

Pretrain on a torch ``Dataset``, and audit what the features say of its factors.
"""

import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import equissl
from equissl import recipes


class Hands(torch.utils.data.Dataset[tuple[Tensor, int, dict[str, float]]]):
    """Clock faces: an image, its class (thin or thick hand), and the hand's angle and brightness."""

    def __init__(self, count: int = 200, size: int = 32):
        self.count, self.size = count, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> tuple[Tensor, int, dict[str, float]]:
        generator = torch.Generator().manual_seed(number)
        turn, light = torch.rand(2, generator=generator).tolist()
        y, x = torch.meshgrid(*[torch.linspace(-1, 1, self.size)] * 2, indexing="ij")
        along = x * math.cos(2 * math.pi * turn) + y * math.sin(2 * math.pi * turn)
        across = x * math.sin(2 * math.pi * turn) - y * math.cos(2 * math.pi * turn)
        hand = (along > 0) & (across.abs() < (0.15, 0.3)[number % 2])
        image = hand.float() * (0.4 + 0.6 * light)
        # A name that ends in _degrees is an angle; any other number is a real factor.
        return image.expand(3, -1, -1), number % 2, {"angle_degrees": 360 * turn, "light": light}


def main(out: Path, count: int = 200, epochs: int = 2, network: str = "resnet10t") -> equissl.Scores:
    """Pretrain on the dataset, and audit what the features say of its factors."""
    dataset = Hands(count)
    recipe = recipes.equimod.simclr_cifar10_small()
    recipe = replace(recipe, epochs=epochs, batch_size=32, monitor_every=0)
    run = equissl.pretrain(recipe, out, data=dataset)
    return equissl.audit(str(run.path), dataset, factors=("angle_degrees", "light", "hue"), count=count)


if __name__ == "__main__":
    print(main(Path("runs/hands")))
