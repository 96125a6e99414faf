"""Modules of one's own: their outputs, number types, baselines, exports and image sizes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import equissl
from equissl.data import Solids
from equissl.data.image_folder import write_images
from equissl.encoder.encoder import Encoder
from equissl.encoder.features import read_output
from equissl.encoder.untrained import untrained_copy
from equissl.errors import UserError
from equissl.recipes import quickstart
from equissl.runs import export
from equissl.runs.folder import open_run
from equissl.runs.load import load_run
from equissl.training.options import Options


class Returns(nn.Module):
    """A convolution, and whatever is made of its feature map (B, 4, 2, 2)."""

    def __init__(self, make: Callable[[Tensor], Any] = lambda maps: maps):
        super().__init__()
        self.conv, self.make = nn.Conv2d(3, 4, 4, stride=4), make

    def forward(self, images: Tensor) -> Any:
        return self.make(self.conv(images))


def tokens(maps: Tensor) -> Tensor:
    return maps.flatten(2).movedim(1, 2)


def with_class(maps: Tensor) -> Tensor:
    return torch.cat([tokens(maps).mean(1, keepdim=True), tokens(maps)], 1)


ACCEPTED: dict[str, tuple[Callable[[Tensor], Any], bool]] = {
    "vector": (lambda m: m.mean((2, 3)), False),
    "map": (lambda m: m, True),
    "tuple of one": (lambda m: (m,), True),
    "vector and map": (lambda m: [m.mean((2, 3)), m], True),
    "dictionary of one": (lambda m: {"features": m.mean((2, 3))}, False),
    "pooled tokens": (lambda m: {"last_hidden_state": tokens(m), "pooler_output": m.mean((2, 3))}, True),
    "class token": (lambda m: OrderedDict(last_hidden_state=with_class(m), pooler_output=None), True),
    "tokens alone": (tokens, True),
    "a class token and tokens": (with_class, True),
    "registers beside a pooled vector": (
        lambda m: {"last_hidden_state": tokens(m)[:, :3], "pooler_output": m.mean((2, 3))},
        False,
    ),
    "patch tokens": (lambda m: SimpleNamespace(last_hidden_state=tokens(m)), True),
    "a convolutional network of Hugging Face": (
        lambda m: {"last_hidden_state": m, "pooler_output": m.mean((2, 3), keepdim=True)},
        True,
    ),
    "DINOv2": (lambda m: {"x_norm_clstoken": m.mean((2, 3)), "x_norm_patchtokens": tokens(m)}, True),
}
REFUSED: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "two vectors": (
        lambda m: (m.mean((2, 3)), m.amax((2, 3))),
        r"a tuple of tensors \(0: \(2, 4\), 1: \(2, 4\)\)",
    ),
    "a pyramid": (lambda m: [m, m[:, :, :1]], "which has several readings"),
    "no tensor": (lambda m: None, "a NoneType without tensors"),
    "registers": (lambda m: {"last_hidden_state": tokens(m)[:, :3]}, "returns 3 tokens"),
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_outputs_with_one_reading(kind: str) -> None:
    make, has_grid = ACCEPTED[kind]
    encoder = Encoder(Returns(make), probe=(3, 8, 8))
    encoded = encoder(torch.rand(2, 3, 8, 8))
    assert encoded.vector.shape == (2, 4) and (encoded.grid is not None) == has_grid
    if encoded.grid is not None:
        assert encoded.grid.shape == (2, 4, 2, 2)
        torch.testing.assert_close(encoded.vector, encoded.grid.mean((2, 3)))


@pytest.mark.parametrize("kind", REFUSED)
def test_other_outputs_are_refused_by_what_came(kind: str) -> None:
    make, said = REFUSED[kind]
    with pytest.raises(ValueError, match=said):
        Encoder(Returns(make), probe=(3, 8, 8))


def test_maps_of_tokens_keep_their_places() -> None:
    maps = torch.arange(2 * 4 * 9.0).reshape(2, 4, 3, 3)
    vector, grid = read_output({"last_hidden_state": tokens(maps)})
    assert grid is not None and torch.equal(grid, maps) and torch.equal(vector, maps.mean((2, 3)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_modules_of_other_number_types(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    plain = Returns()
    images = torch.rand(2, 3, 8, 8)
    wanted = Encoder(plain, probe=(3, 8, 8))(images).vector
    encoded = Encoder(plain.to(dtype), probe=(3, 8, 8))(images)
    assert encoded.vector.dtype == torch.float32 and encoded.grid is not None
    assert encoded.grid.dtype == torch.float32
    torch.testing.assert_close(encoded.vector, wanted, rtol=2e-2, atol=2e-2)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(3, 12, 4, stride=4), nn.ReLU())


@pytest.fixture(scope="module")
def run(module: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = Solids(size=32, objects=12, views=2, paired=True)
    recipe = replace(quickstart.invariant(), data=data, epochs=1, batch_size=8, monitor_every=0)
    out = tmp_path_factory.mktemp("runs") / "own"
    equissl.pretrain(recipe, out, Options(loggers=(), silent=True), backbone=module)
    return out


def test_the_baseline_of_a_run_is_the_same_module_untrained(run: Path, module: nn.Module) -> None:
    loaded = load_run(open_run(run), backbone=module)
    baseline = untrained_copy(loaded.encoder, torch.rand(8, 3, 32, 32))
    trained = loaded.encoder.backbone.state_dict()
    untrained = baseline.backbone.state_dict()
    assert {k: t.shape for k, t in trained.items()} == {k: t.shape for k, t in untrained.items()}
    assert baseline.width() == loaded.encoder.width() == 12
    assert not torch.equal(trained["0.weight"], untrained["0.weight"])


def test_export_writes_no_name_of_timm_over_other_tensors(
    run: Path, module: nn.Module, tmp_path: Path
) -> None:
    loaded = load_run(open_run(run), backbone=module)
    with pytest.raises(
        UserError, match="only timm backbones can be exported for timm, got a module of your own"
    ):
        export.export_timm(loaded, tmp_path / "e")
    with pytest.raises(UserError, match="tensors are not those of 'resnet"):
        export.export_timm(replace(loaded, backbone=None), tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_a_folder_is_read_at_the_module_s_size(tmp_path: Path) -> None:
    import timm

    write_images(tmp_path, {"a": 40}, side=40)
    seen: list[tuple[int, ...]] = []

    class Seen(nn.Sequential):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(tuple(images.shape[2:]))
            out: Tensor = super().forward(images)
            return out

    network = Seen(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 8))
    equissl.audit(network, tmp_path, factors=["brightness"], size=20)
    assert set(seen) == {(20, 20)}
    seen.clear()
    equissl.audit(Encoder(network, probe=(3, 24, 24)), tmp_path, factors=["brightness"])
    assert set(seen) == {(24, 24)}
    from equissl.encoder.stated import stated_inputs

    assert stated_inputs(timm.create_model("test_vit", img_size=48)).size == 48
    assert stated_inputs(network).size == 0
