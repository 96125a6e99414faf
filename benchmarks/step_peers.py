"""A training step of SimCLR as other libraries make it, for ``step.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from lightning_fabric import Fabric
from PIL import Image
from step import Network, Step, random_images
from torch import Tensor, nn

from equissl.distributed import available_cores
from equissl.recipe import Precision
from equissl.training.precision import for_fabric


def lightly(network: Network, device: torch.device, precision: Precision, compiled: bool = False) -> Step:
    """SimCLR of lightly: its transform, projection head and loss."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform

    blur = 0.5 if network.size >= 64 else 0.0
    # moco_v2's policy: strengths 0.4, 0.4, 0.4 and 0.1.
    transform = SimCLRTransform(
        network.size, cj_strength=0.5, min_scale=0.2, gaussian_blur=blur, sigmas=(0.1, 2.0)
    )
    loss = NTXentLoss(temperature=0.5)

    def views(image: Image.Image) -> list[Tensor]:
        made: list[Tensor] = transform(image)
        return made

    def criterion(a: Tensor, b: Tensor) -> Tensor:
        value: Tensor = loss(a, b)
        return value

    width = network.encoder.build().width()
    return _peer(
        network, device, precision, compiled, views, SimCLRProjectionHead(width, 128, 128), criterion
    )


def stable_pretraining(
    network: Network, device: torch.device, precision: Precision, compiled: bool = False
) -> Step:
    """SimCLR of stable-pretraining: its recording transforms and loss, and a projector of torch's layers."""
    from stable_pretraining.data import transforms as t
    from stable_pretraining.losses import NTXEntLoss
    from torchvision.transforms import InterpolationMode

    blur = [t.PILGaussianBlur(sigma=(0.1, 2.0), p=0.5)] if network.size >= 64 else []
    policy = t.Compose(
        t.RandomResizedCrop(network.size, scale=(0.2, 1.0), interpolation=InterpolationMode.BILINEAR),
        t.RandomHorizontalFlip(p=0.5),
        t.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, p=0.8),
        t.RandomGrayscale(p=0.2),
        *blur,
        t.ToImage(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    )
    transform, loss = t.MultiViewTransform([policy, policy]), NTXEntLoss(temperature=0.5)

    def views(image: Image.Image) -> list[Tensor]:
        return [view["image"] for view in transform({"image": image})["views"]]

    def criterion(a: Tensor, b: Tensor) -> Tensor:
        value: Tensor = loss(a, b)
        return value

    width = network.encoder.build().width()
    head = nn.Sequential(nn.Linear(width, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 128))
    return _peer(network, device, precision, compiled, views, head, criterion)


class _Views(torch.utils.data.Dataset[list[Tensor]]):
    """PIL images, of each of which another library makes two views."""

    def __init__(self, images: Tensor, views: Callable[[Image.Image], list[Tensor]]):
        self.images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
        self.views = views

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> list[Tensor]:
        return self.views(self.images[index])


def _peer(
    network: Network,
    device: torch.device,
    precision: Precision,
    compiled: bool,
    views: Callable[[Image.Image], list[Tensor]],
    head: nn.Module,
    criterion: Callable[[Tensor, Tensor], Tensor],
) -> Step:
    fabric = Fabric(accelerator=device.type, devices=1, precision=for_fabric(precision))
    torch.manual_seed(0)
    backbone = network.encoder.backbone().to(memory_format=torch.channels_last)
    if compiled:
        backbone.compile()
    module = nn.Sequential(backbone, head)
    wrapped, optimizer = fabric.setup(module, torch.optim.SGD(module.parameters(), 1e-3, 0.9))
    loader = torch.utils.data.DataLoader(
        _Views(random_images(network), views),
        network.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=available_cores(),
        prefetch_factor=1,
        persistent_workers=True,
    )
    batches: Iterator[list[Tensor]] = iter(())

    def step() -> Tensor:
        nonlocal batches
        found = next(batches, None)
        if found is None:
            batches = iter(loader)
            found = next(batches)
        joint = torch.cat(found).to(device, memory_format=torch.channels_last, non_blocking=True)
        a, b = wrapped(joint).chunk(2)
        loss = criterion(a, b)
        optimizer.zero_grad()
        fabric.backward(loss)
        optimizer.step()
        return loss.detach()

    return step
