"""Equivariant pretraining with Lightning
======================================

The loss module is the whole LightningModule.
"""

import pytorch_lightning as pl
import timm
import torch
from torch.utils.data import DataLoader, TensorDataset

import equissl
from equissl import augment, equivariance, invariance


class Pretraining(pl.LightningModule):
    """Barlow Twins that also predicts how hue and crop changed (AugSelf)."""

    def __init__(self, name: str = "resnet18", size: int = 32):
        super().__init__()
        policy = augment.presets.simclr(size)
        self.loss = equissl.SelfSupervisedLoss(
            timm.create_model(name, num_classes=0),
            views={"a": policy, "b": policy},
            base=invariance.BarlowTwins.Config(projector=(128, 128)),
            modules={"augself": equivariance.AugSelf.Config()},
            weights={"augself": 0.5},
            size=size,
        )

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        terms = self.loss.terms(batch[0])
        self.log_dict(terms)
        return torch.stack(list(terms.values())).sum()

    def on_train_batch_end(self, *_: object) -> None:
        self.loss.after_step(self.global_step / max(1, self.trainer.estimated_stepping_batches))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def train(
    images: torch.Tensor, name: str = "resnet18", batch_size: int = 64, **options: object
) -> Pretraining:
    """Train on images (N, C, H, W) in [0, 1]; ``options`` are those of a Trainer."""
    model = Pretraining(name, images.shape[-1])
    trainer = pl.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, **options)
    trainer.fit(model, DataLoader(TensorDataset(images), batch_size, shuffle=True, drop_last=True))
    return model


if __name__ == "__main__":
    train(torch.rand(256, 3, 32, 32))
