"""lightly's SimCLR with EquiMod added
===================================

lightly keeps its backbone, head and loss.
"""

import torch
import torchvision
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from torch import nn

import equissl
from equissl import augment, equivariance


class SimCLR(nn.Module):
    """As in lightly's documentation."""

    def __init__(self) -> None:
        super().__init__()
        network = torchvision.models.resnet18()
        self.backbone = nn.Sequential(*list(network.children())[:-1])
        self.projection_head = SimCLRProjectionHead(512, 512, 128)


def train(images: torch.Tensor, batch_size: int = 64, epochs: int = 1) -> list[float]:
    """Train on images (N, 3, H, W) in [0, 1]; returns the loss of each step."""
    model, criterion = SimCLR(), NTXentLoss()
    policy = augment.presets.simclr(images.shape[-1])
    equimod = equissl.SelfSupervisedLoss(
        512,  # the width of the backbone's features
        views={"plain": augment.Identity(), "a": policy, "b": policy},
        modules={"equimod": equivariance.EquiMod.Config(projector=(256, 128))},
    )
    optimizer = torch.optim.SGD([*model.parameters(), *equimod.parameters()], lr=0.06)
    losses = []
    for _ in range(epochs):
        for batch in torch.utils.data.DataLoader(images, batch_size, shuffle=True, drop_last=True):
            views = equimod.make_views(batch)  # in place of lightly's transform: with recorded parameters
            features = {name: model.backbone(view.images).flatten(1) for name, view in views.items()}
            a, b = (model.projection_head(features[name]) for name in ("a", "b"))
            loss = criterion(a, b) + equimod.from_features(views, features)  # the added term
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


if __name__ == "__main__":
    print(train(torch.rand(256, 3, 32, 32)))
