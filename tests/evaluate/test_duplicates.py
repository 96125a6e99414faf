from __future__ import annotations

import torch

from equissl.data.base import InMemoryDataset
from equissl.evaluate.audit.duplicates import distinct_images
from equissl.params import Params, Space


def dataset(pixels: torch.Tensor) -> InMemoryDataset:
    none = torch.full((len(pixels),), -1)
    return InMemoryDataset(pixels, Params.of(Space(), {}, count=len(pixels)), none)


def test_of_sixty_images_in_ten_copies_sixty_are_left() -> None:
    generator = torch.Generator().manual_seed(0)
    originals = torch.randint(0, 256, (60, 3, 16, 16), dtype=torch.uint8, generator=generator)
    noise = torch.randint(-2, 3, (10, 60, 3, 16, 16), generator=generator)  # as of another compression
    copies = (originals + noise).clamp(0, 255).to(torch.uint8).flatten(0, 1)
    kept = distinct_images(dataset(copies), torch.arange(600), batch_size=64)
    assert len(kept) == 60 and sorted((kept % 60).tolist()) == list(range(60))


def test_images_that_differ_little_from_each_other_are_no_copies() -> None:
    ramp = torch.arange(16).expand(3, 16, 16)
    strength = torch.linspace(0.2, 0.5, 50)[torch.randperm(50, generator=torch.Generator().manual_seed(1))]
    noise = torch.randint(0, 20, (50, 3, 16, 16), generator=torch.Generator().manual_seed(2))
    pixels = (strength.view(-1, 1, 1, 1) * 8 * ramp + noise).to(torch.uint8)
    assert len(distinct_images(dataset(pixels), torch.arange(50))) > 40
