"""torchvision's classification models as backbones, for those that timm does not have."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from equissl.encoder.backbone import BackboneConfig
from equissl.encoder.published import torchvision_models
from equissl.errors import UserError, nearest

_REMAPPING = (
    "googlenet",
    "inception_v3",
)  # they change the normalisation again, and have further classifiers


@dataclass(frozen=True, kw_only=True)
class TorchvisionConfig(BackboneConfig):
    """A classification model of torchvision without its last layer: (B, 3, H, W) -> (B, D).

    >>> TorchvisionConfig(name="vgg11", size=32).title
    'torchvision/vgg11'

    Args:
        name: as in ``torchvision.models.list_models(module=torchvision.models)``.
    """

    name: str = "resnet18"

    @property
    def title(self) -> str:
        return f"torchvision/{self.name}"

    def backbone(self) -> nn.Module:
        return build_torchvision(self.name, self.size)


def build_torchvision(name: str, size: int = 224) -> nn.Module:
    """A model of torchvision with random weights, ``nn.Identity`` in place of its last layer.

    Raises:
        UserError: there is no such model, or it cannot be built for this size.
    """
    from torchvision import models

    if name not in torchvision_models():
        raise UserError(
            f"torchvision has no classification model {name!r}; {nearest(name, torchvision_models())}"
        )
    options: dict[str, object] = {"image_size": size} if name.startswith("vit_") else {}
    if name in _REMAPPING:
        options |= {"aux_logits": False, "init_weights": True, "transform_input": True}
    try:
        model: nn.Module = models.get_model(name, weights=None, **options)
    except (TypeError, RuntimeError, ValueError) as error:
        raise UserError(f"encoder: torchvision cannot build {name!r} at size={size}: {error}") from error
    last = [n for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    parent, _, child = last.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Identity())
    return model


def timm_has(name: str) -> bool:
    """Whether timm's model of this name has the same tensors as torchvision's."""
    import timm

    if not timm.is_model(name) or name in _REMAPPING:
        return False
    with torch.device("meta"):  # nothing is allocated
        theirs, ours = build_torchvision(name), timm.create_model(name, num_classes=0)
    shapes = [{k: tuple(t.shape) for k, t in m.state_dict().items()} for m in (theirs, ours)]
    return shapes[0] == shapes[1]
