"""Features of layers: which are chosen, their right values, and names that do not exist."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from equissl.encoder.encoder import Encoder
from equissl.encoder.layers import depths, with_layers
from equissl.errors import UserError

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Small(nn.Module):
    """A convolution whose output is changed in place, tokens, and a layer that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 4, stride=4), nn.LayerNorm(4)
        self.unused, self.lists = nn.Linear(2, 2), nn.Module()

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images).relu_()
        return self.norm(maps.flatten(2).movedim(1, 2)).mean(1)


def encoder(backbone: nn.Module, size: int = 32) -> Encoder:
    return Encoder(backbone, None, (0.5,) * 3, (0.5,) * 3, (3, size, size)).eval()


@pytest.mark.parametrize(
    ("make", "size", "expected"),
    [
        (lambda: timm.create_model("resnet18"), 32, ["layer1", "layer2", "layer3", "layer4"]),
        (
            lambda: timm.create_model("test_vit", img_size=32, depth=12),
            32,
            [f"blocks.{k}" for k in (2, 5, 8, 11)],
        ),
        (lambda: timm.create_model("test_convnext"), 32, [f"stages.{k}" for k in range(4)]),
        (lambda: models.swin_t(), 32, [f"features.{k}" for k in (1, 3, 5, 7)]),
        (lambda: models.alexnet(), 64, [*(f"features.{k}" for k in (0, 3, 6, 8, 10)), "classifier"]),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 4), nn.ReLU(), nn.Linear(4, 2)), 32, ["1", "3"]),
    ],
)
def test_all_are_the_stages_of_a_network(make: object, size: int, expected: list[str]) -> None:
    assert callable(make)
    assert depths(make().eval(), torch.zeros(2, 3, size, size)) == expected


def test_the_output_stays_and_layers_follow() -> None:
    plain = encoder(Small())
    tapped = with_layers(plain, ["norm", "conv", "tokens"][:2]).eval()
    found, own = tapped(IMAGES), plain(IMAGES)
    maps = plain.backbone.conv((IMAGES - 0.5) / 0.5)  # type: ignore[operator]
    assert list(found.parts) == ["all", "norm", "conv"]
    torch.testing.assert_close(found.part("all"), own.vector)
    torch.testing.assert_close(found.part("norm"), own.vector)
    torch.testing.assert_close(found.part("conv"), maps.mean((2, 3)))  # as it was before the ReLU


def test_channels_that_come_last_are_not_averaged() -> None:
    swin = encoder(models.swin_t())
    widths = {n: with_layers(swin, [n]).width(n) for n in ("features.1", "features.7")}
    assert widths == {"features.1": 96, "features.7": 768}


def test_tokens_are_the_map_at_a_few_places() -> None:
    vit = encoder(timm.create_model("test_vit", img_size=32, num_classes=0))
    grid = vit(IMAGES).grid
    assert grid is not None
    tokens = with_layers(vit, ["tokens"]).eval()(IMAGES).part("tokens")
    torch.testing.assert_close(tokens, grid.flatten(1))  # 2 x 2 places: all of them
    with pytest.raises(UserError, match="layer=tokens: this encoder gives vectors only"):
        with_layers(encoder(Small()), ["tokens"])


def test_named_parts_stay() -> None:
    parts = Encoder(Small(), {"inv": 3, "equi": 1}, probe=(3, 32, 32)).eval()
    found = with_layers(parts, ["conv"]).eval()(IMAGES)
    assert list(found.parts) == ["inv", "equi", "all", "conv"]
    torch.testing.assert_close(found.part("equi"), parts(IMAGES).part("equi"))


def test_mistakes_name_the_nearest() -> None:
    with pytest.raises(UserError, match="layer=layer5: no such layer; did you mean 'layer4'"):
        with_layers(encoder(timm.create_model("resnet18")), ["layer5"])
    with pytest.raises(UserError, match="layer=unused is not used"):
        with_layers(encoder(Small()), ["unused"])
    with pytest.raises(UserError, match="without layers that torch can see"):
        with_layers(encoder(nn.Flatten()), ["all"])
