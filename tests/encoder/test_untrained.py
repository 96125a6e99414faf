"""Untrained copies: nothing of the training is left, and features are alive."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from equissl.encoder.encoder import Encoder
from equissl.encoder.layers import with_layers
from equissl.encoder.untrained import kept_names, untrained_copy
from equissl.errors import UserError

IMAGES = torch.rand(24, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def encoder(module: nn.Module) -> Encoder:
    return Encoder(module, probe=(3, 32, 32))


class Bare(nn.Module):
    """Parameters that no layer owns, and one number."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.projection = nn.Parameter(0.1 * torch.randn(3 * 16, 20, generator=generator))
        self.offset, self.scale = nn.Parameter(torch.linspace(0, 1, 20)), nn.Parameter(torch.tensor(2.0))

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * (
            nn.functional.adaptive_avg_pool2d(images, 4).flatten(1) @ self.projection + self.offset
        )


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext", "test_efficientnet"])
def test_every_parameter_is_drawn_anew(name: str) -> None:
    options = {"img_size": 32} if name == "test_vit" else {}
    trained = encoder(timm.create_model(name, num_classes=0, **options))
    with torch.no_grad():
        for parameter in trained.parameters():  # as training leaves them
            parameter.add_(0.5 * torch.rand(parameter.shape, generator=torch.Generator().manual_seed(2)))
    before = {n: p.clone() for n, p in trained.named_parameters()}
    found = untrained_copy(trained, IMAGES)
    assert not kept_names(trained)
    for parameter_name, parameter in found.named_parameters():
        assert not torch.equal(parameter, before[parameter_name]), parameter_name
        assert torch.equal(trained.get_parameter(parameter_name), before[parameter_name])
    features = found(IMAGES).vector.detach()
    assert features.isfinite().all() and float(features.std(0).mean()) > 1e-3 * float(features.abs().mean())


def test_a_module_of_bare_parameters_does_not_equal_its_baseline() -> None:
    module = encoder(Bare())
    found = untrained_copy(module, IMAGES)
    assert kept_names(module) == ("backbone.scale",)
    assert not torch.allclose(found(IMAGES).vector.detach(), module(IMAGES).vector.detach(), atol=0.1)
    bare, trained = found.backbone, module.backbone
    assert isinstance(bare, Bare) and isinstance(trained, Bare)
    assert float(bare.offset.mean()) == pytest.approx(float(trained.offset.mean()), abs=0.3)


def test_the_weights_depend_on_the_seed_and_not_on_where_the_module_came_from() -> None:
    module = encoder(timm.create_model("test_resnet", num_classes=0))
    again = encoder(timm.create_model("test_resnet", num_classes=0))
    first, second, third = (untrained_copy(m, IMAGES, s) for m, s in ((module, 0), (again, 0), (module, 1)))
    for (name, a), b, c in zip(
        first.named_parameters(), second.parameters(), third.parameters(), strict=True
    ):
        assert torch.equal(a, b)
        assert a.dim() < 2 or not torch.equal(a, c), name


def test_statistics_of_batch_normalisation_are_those_of_the_images() -> None:
    found = untrained_copy(encoder(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))), IMAGES)
    maps = found(IMAGES).grid
    assert maps is not None
    torch.testing.assert_close(maps.mean((0, 2, 3)), torch.zeros(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(maps.std((0, 2, 3)), torch.ones(8), atol=1e-2, rtol=0)


def test_a_deep_network_without_normalisation_stays_alive() -> None:
    layers = [layer for _ in range(20) for layer in (nn.Linear(64, 64), nn.ReLU())]
    module = encoder(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 64), nn.ReLU(), *layers))
    features = untrained_copy(module, IMAGES)(IMAGES).vector
    assert float(features.std(0).mean()) > 1e-3 * float(features.abs().mean()) > 0


def test_a_dead_baseline_is_refused() -> None:
    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 4)

        def forward(self, images: Tensor) -> Tensor:
            out: Tensor = self.layer(0 * images.mean((2, 3)))
            return out

    with pytest.raises(UserError, match="its features hardly differ between images"):
        untrained_copy(encoder(Dead()), IMAGES)


def test_weights_are_the_same_with_layers_beside_the_output() -> None:
    found = encoder(nn.Sequential(nn.Flatten(), nn.Linear(3072, 5), nn.ReLU(), nn.Linear(5, 3)))
    beside = untrained_copy(with_layers(found, ("1",), (3, 32, 32)), IMAGES)
    alone = untrained_copy(found, IMAGES)
    torch.testing.assert_close(alone(IMAGES).vector, beside(IMAGES).part("all"))


def test_what_is_kept_has_the_same_name_with_layers_beside_the_output() -> None:
    module = nn.Sequential(Bare(), nn.Linear(20, 3))
    module.register_buffer("table", torch.ones(2))
    module.register_buffer("made", torch.ones(2), persistent=False)
    found = encoder(module)
    for one in (found, with_layers(found, ("1",), (3, 32, 32))):
        assert kept_names(one) == ("backbone.0.scale", "backbone.table")
