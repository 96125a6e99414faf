"""A backbone of Hugging Face's transformers
=========================================

Trained further with an equivariance module, then audited.
"""

import torch
from torch import Tensor, nn
from transformers import AutoModel, PretrainedConfig, PreTrainedModel, ViTConfig

import equissl
from equissl import augment, equivariance, invariance


class Backbone(nn.Module):
    """The class token of a vision transformer: (B, 3, H, W) in [0, 1] -> (B, D)."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(pixel_values=(images - 0.5) / 0.5).last_hidden_state[:, 0]


def tiny() -> PretrainedConfig:
    """A transformer with random weights; AutoModel.from_pretrained(NAME) loads trained ones."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return ViTConfig(image_size=32, patch_size=8, **sizes)


def train(images: Tensor, steps: int = 4) -> tuple[Backbone, list[float]]:
    """Train on images (N, 3, 32, 32) in [0, 1]; returns the backbone and the loss of each step."""
    backbone = Backbone(AutoModel.from_config(tiny()))
    policy = augment.presets.simclr(32)
    loss = equissl.SelfSupervisedLoss(
        backbone,
        views={"a": policy, "b": policy},
        base=invariance.VICReg.Config(projector=(64, 64)),
        modules={"augself": equivariance.AugSelf.Config()},
        size=32,
    )
    optimizer = torch.optim.AdamW(loss.parameters(), lr=1e-3)
    losses = []
    for _ in range(steps):
        value = loss(images)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return backbone, losses


if __name__ == "__main__":
    photos = torch.rand(64, 3, 32, 32)
    print(equissl.audit(train(photos)[0], photos, factors=("hue", "brightness"), progress=True))
