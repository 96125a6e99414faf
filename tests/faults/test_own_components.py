"""Datasets and backbones of the user's own that are not what is needed: refused before there is a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from test_train import QUIET, tiny
from torch import Tensor, nn

from equissl.api.pretrain import pretrain
from equissl.data.base import Data, Dataset, InMemoryDataset
from equissl.data.batch import Batch
from equissl.errors import UserError
from equissl.params import Params, Space

IMAGES = torch.randint(0, 256, (24, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
POLICY = {n: v for n, v in tiny().views.items() if n != "plain"}
RECIPE = tiny(modules={}, views=POLICY, epochs=1, batch_size=8, monitor_every=0)


class Rows(Dataset):
    """Images by a function of their indices."""

    spaces: ClassVar[Any] = {"image": Space()}
    classes = ()

    def __init__(self, read: Callable[[Tensor], Any], count: int = 24):
        self.read, self.count = read, count

    @property
    def labels(self) -> Tensor:
        return torch.zeros(24, dtype=torch.long)

    @property
    def groups(self) -> Tensor:
        return torch.arange(24)

    def __len__(self) -> int:
        return self.count

    def batch(self, index: Tensor, epoch: int = 0) -> Batch:
        images = self.read(index)
        return Batch(
            {"image": images},
            {"image": Params.of(Space(), {}, count=len(images))},
            self.labels[index],
            index,
        )


@dataclass(frozen=True)
class Own(Data):
    size: int = 16
    kind: str = ""

    def open(self, split: Any, progress: Any = None) -> Any:
        return DATASETS[self.kind][0]()

    @classmethod
    def example(cls, folder: Path) -> Own:
        return cls()


def _fails(index: Tensor) -> Tensor:
    return IMAGES[index] if 20 not in index.tolist() else {}["row"]  # type: ignore[no-any-return]


STREAM = iter(IMAGES.repeat(2, 1, 1, 1))
DATASETS: dict[str, tuple[Callable[[], Any], str]] = {
    "of 0 to 255": (lambda: Rows(lambda i: IMAGES[i].float()), r"must lie in \[0, 1\]"),
    "normalised": (lambda: Rows(lambda i: IMAGES[i] / 127.5 - 1), r"must lie in \[0, 1\]"),
    "not a number": (lambda: Rows(lambda i: IMAGES[i] / 255 * float("nan")), "hold NaN or infinity"),
    "int64": (lambda: Rows(lambda i: IMAGES[i].long()), "uint8 or float"),
    "one dimension missing": (lambda: Rows(lambda i: IMAGES[i, 0]), r"\(B, C, H, W\)"),
    "an array": (lambda: Rows(lambda i: IMAGES[i].numpy()), "ndarray"),
    "with a gradient": (lambda: Rows(lambda i: (IMAGES[i] / 255).requires_grad_()), "detach"),
    "a row less": (lambda: Rows(lambda i: IMAGES[i][1:]), "4 samples has 3 rows of images"),
    "each time anew": (lambda: Rows(lambda i: torch.stack([next(STREAM) for _ in i])), "read again"),
    "a wrong length": (lambda: Rows(lambda i: IMAGES[i], 40), "40 samples, but 24 rows of labels"),
    "failing late": (lambda: Rows(_fails), "Rows.batch fails: KeyError: 'row'"),
    "no dataset": (lambda: None, "Own.open returned a NoneType"),
    "in memory": (
        lambda: InMemoryDataset(IMAGES, Params.of(Space(), {}, count=24), torch.zeros(20, dtype=torch.long)),
        "20 targets",
    ),
}


@pytest.mark.parametrize("kind", DATASETS)
def test_a_dataset_is_looked_at_before_there_is_a_run(kind: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=DATASETS[kind][1]):
        pretrain(replace(RECIPE, data=Own(kind=kind)), tmp_path / "run", QUIET)
    assert not (tmp_path / "run").exists()


def test_images_of_any_float_give_the_same_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runs = []
    for kind in (torch.float32, torch.float64):
        name = str(kind).partition(".")[2]
        monkeypatch.setitem(DATASETS, name, (lambda kind=kind: Rows(lambda i: IMAGES[i].to(kind) / 255), ""))
        runs.append(pretrain(replace(RECIPE, data=Own(kind=name)), tmp_path / name, QUIET))
    one, other = (run.log[0]["loss"] for run in runs)
    assert one == pytest.approx(other, rel=1e-5)


class Backbone(nn.Module):
    def __init__(self, change: Callable[[Tensor], Any]):
        super().__init__()
        self.conv, self.change = nn.Conv2d(3, 16, 3, 2), change

    def forward(self, images: Tensor) -> Any:
        return self.change(self.conv(images))


BACKBONES: dict[str, tuple[Any, str]] = {
    "no columns": (Backbone(lambda y: y[:, :0]), r"\(2, 0\)"),
    "one row": (Backbone(lambda y: y.mean(0, keepdim=True)), r"features \(1, 16\)"),
    "complex": (Backbone(lambda y: torch.complex(y, y)), "floating-point"),
    "detached": (Backbone(lambda y: y.detach()), "carry no gradient"),
    "other columns": (Backbone(lambda y: y if len(y) < 3 else y[:, :12]), "16 columns"),
    "failing": (Backbone(lambda y: {}["colour"]), "'colour'"),
    "failing late": (Backbone(lambda y: y if len(y) < 3 else {}["colour"]), "KeyError: 'colour'"),
    "on no device": (nn.Sequential(nn.Conv2d(3, 8, 3, device="meta")), "meta"),
    "a class": (Backbone, "must be called"),
}


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_backbone_is_tried_before_there_is_a_run(kind: str, tmp_path: Path) -> None:
    backbone, said = BACKBONES[kind]
    with pytest.raises(UserError, match=said):
        pretrain(RECIPE, tmp_path / "run", QUIET, backbone=backbone)
    assert not (tmp_path / "run").exists()


def test_a_backbone_that_is_frozen_on_purpose_or_has_no_parameters(tmp_path: Path) -> None:
    frozen = Backbone(lambda y: y).requires_grad_(False)
    for k, backbone in enumerate((frozen, nn.Flatten())):
        assert pretrain(RECIPE, tmp_path / str(k), QUIET, backbone=backbone).log
