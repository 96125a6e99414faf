"""Equivariant pretraining in a plain PyTorch loop
===============================================

Your network, your optimizer, your data.
"""

import torch
import torchvision
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader, TensorDataset

import equissl
from equissl import augment, equivariance, invariance


def patches(count: int, size: int = 32) -> torch.Tensor:
    """Random patches of two photographs that come with scikit-learn: (N, 3, size, size) uint8."""
    photos = torch.stack([torch.from_numpy(p.copy()).permute(2, 0, 1) for p in load_sample_images().images])
    crop = torchvision.transforms.RandomResizedCrop(size, scale=(0.05, 0.2), antialias=True)
    return torch.stack([crop(photos[k % 2]) for k in range(count)])


def train(count: int = 256, batch_size: int = 64, epochs: int = 5, size: int = 32) -> list[float]:
    """SimCLR with EquiMod; returns the loss of each step."""
    network = torchvision.models.resnet18()
    network.fc = torch.nn.Identity()
    policy = augment.presets.simclr(size)
    loss = equissl.SelfSupervisedLoss(
        network,
        views={"plain": augment.Identity(), "a": policy, "b": policy},
        base=invariance.SimCLR.Config(projector=(256, 128)),
        modules={"equimod": equivariance.EquiMod.Config(projector=(256, 128))},
        size=size,
    )
    optimizer = torch.optim.AdamW(loss.parameters(), lr=1e-3)  # of the network and of all heads
    losses = []
    for _ in range(epochs):
        for (images,) in DataLoader(TensorDataset(patches(count, size)), batch_size, shuffle=True):
            value = loss(images)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            losses.append(value.item())
    return losses  # the trained network is ``network``; equissl.audit(network, images) says what it kept


if __name__ == "__main__":
    print(train())
