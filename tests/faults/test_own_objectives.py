"""Augmentations and objectives of the user's own that are not what is needed: refused in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from test_train import QUIET, tiny
from torch import Tensor, nn

from equissl.api.pretrain import pretrain
from equissl.augment.base import Augmentation, Pipeline
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.augment.replay_check import check_replay
from equissl.cli.main import main
from equissl.data.image_folder import write_images
from equissl.encoder.encoder import Encoder
from equissl.errors import UserError
from equissl.objective import Encodings, Equivariance, PairConfig, Spaces, Views
from equissl.params import Params, Real, Space
from equissl.random import Stream
from equissl.recipe import Weighted
from equissl.views import ViewSpec

VIEWS = {n: v for n, v in tiny().views.items() if n != "plain"}
RECIPE = tiny(modules={}, views=VIEWS, epochs=1, batch_size=8, monitor_every=0)


@dataclass(frozen=True)
class Own(Augmentation):
    """An augmentation by the functions that stand in ``AUGMENTATIONS``."""

    stream_name: ClassVar[str] = "Own"
    kind: str = ""

    @property
    def space(self) -> Space:
        return Space((Real("amount"),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        sampled = Params.of(self.space, {"amount": stream.uniform("amount")})
        return sampled[:-1] if self.kind == "a row of parameters less" else sampled

    def apply(self, images: Tensor, params: Params) -> Tensor:
        made: Tensor = AUGMENTATIONS[self.kind][0](images)
        return made


AUGMENTATIONS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "a row of parameters less": (lambda x: x, "one row per image"),
    "a row less": (lambda x: x[:-1], "3 views of"),
    "another size": (lambda x: x[:, :, :9, :9], "output_size says"),
    "another type": (lambda x: x.half(), "float16"),
    "bytes": (lambda x: (x * 255).to(torch.uint8), "uint8"),
    "no channels": (lambda x: x[:, 0], r"\(B, C, h, w\)"),
    "an array": (lambda x: x.numpy(), "ndarray"),
    "in place": (lambda x: x.mul_(0.5), "changes the images"),
    "mean of the batch": (lambda x: x - x.mean(), "by itself"),
    "the first for all": (lambda x: x[:1].expand_as(x), "by itself"),
}


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_an_augmentation_is_tried_before_there_is_a_run(kind: str, tmp_path: Path) -> None:
    view = ViewSpec(Pipeline((RandomResizedCrop(16), Own(kind))))
    with pytest.raises(UserError, match=AUGMENTATIONS[kind][1]):
        pretrain(replace(RECIPE, views={"a": view, "b": view}), tmp_path / "run", QUIET)
    assert not (tmp_path / "run").exists()


def test_images_in_double_precision_are_tried_too() -> None:
    check_replay(RandomResizedCrop(16), torch.rand(4, 3, 20, 20, dtype=torch.float64))


class Module(Equivariance):
    """A module that returns what ``TERMS`` says."""

    @dataclass(frozen=True)
    class Config(PairConfig):
        kind: str = ""

        def build(self, encoder: Encoder, spaces: Spaces) -> Any:
            return None if self.kind == "no module" else Module(encoder.width(), self.kind)

    def __init__(self, width: int, kind: str):
        super().__init__()
        self.layer, self.kind = nn.Linear(width, 1), kind

    def forward(self, views: Views, encoded: Encodings, embeddings: Mapping[str, Tensor]) -> Any:
        return TERMS[self.kind][0](self.layer(encoded["a"].vector))


TERMS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "nothing": (lambda x: None, "modules.own: expected loss terms by name"),
    "a tensor": (lambda x: x.mean(), "got a Tensor"),
    "one per image": (lambda x: {"t": x[:, 0]}, r"'t' must be a floating tensor \(\), got \(8,\)"),
    "a number": (lambda x: {"t": 0.5}, "got 0.5"),
    "an integer": (lambda x: {"t": torch.tensor(3)}, "int64"),
    "complex": (lambda x: {"t": torch.complex(x.mean(), x.mean())}, "complex64"),
    "no term": (lambda x: {}, "depends on no parameter"),
    "detached": (lambda x: {"t": x.mean().detach()}, "depends on no parameter"),
    "no module": (lambda x: {}, "own: build returned a NoneType"),
}


@pytest.mark.parametrize("kind", TERMS)
def test_loss_terms_that_are_none(kind: str, tmp_path: Path) -> None:
    modules = {"own": Weighted(module=Module.Config(kind=kind))}
    with pytest.raises(UserError, match=TERMS[kind][1]):
        pretrain(replace(RECIPE, base=None, modules=modules), tmp_path / "run", QUIET)


@pytest.mark.parametrize("name", ["base", "", "a.b", "keys", "forward"])
def test_names_of_modules(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a module"):
        replace(RECIPE, modules={name: Weighted(module=Module.Config())})


def test_an_error_in_own_code_names_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    code = (
        "from torch import nn\n"
        "class Late(nn.Module):\n"
        "    def __init__(self, **options):\n"
        "        super().__init__()\n"
        "        self.layer = nn.Conv2d(3, 8, 3)\n"
        "    def forward(self, images):\n"
        "        if self.training:\n"
        "            raise KeyError('colour')\n"
        "        return self.layer(images)\n"
    )
    (tmp_path / "own_late.py").write_text(code, encoding="utf-8")
    write_images(tmp_path / "photos", {"a": 12, "b": 12})
    words = ["pretrain", "data=photos", "out=run", "encoder.name=own_late:Late", "data.size=16"]
    words += ["encoder.size=16", "batch_size=8", "epochs=1", "recipe=baselines.byol_cifar10_small"]
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert "own_late.py:8, in forward: KeyError: 'colour'" in shown and "fault" not in shown
