"""keep= and ignore=: the recipe they give, conflicts and mistakes, and the feasibility checks on images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from equissl.augment.base import Augmentation, Identity, Pipeline
from equissl.augment.color.grayscale import Grayscale
from equissl.auto import identifiability, recipe_for
from equissl.auto.default import simclr_augself
from equissl.auto.feasibility import feasibility_warnings
from equissl.auto.requirements import FACTORS, build_recipe, resolve
from equissl.cli.main import main
from equissl.config.serialize import from_dict, to_dict
from equissl.data.batch import Batch
from equissl.data.image_folder import ImageFolder
from equissl.encoder.backbone import EncoderConfig
from equissl.equivariance.augself import AugSelf
from equissl.errors import UserError
from equissl.params import Params, Space
from equissl.random import Stream
from equissl.recipe import Recipe
from equissl.views import make_views


def upright(count: int = 60, side: int = 16) -> Tensor:
    """Blue sky above, green below, a red patch somewhere on the left: every orientation shows."""
    generator = torch.Generator().manual_seed(0)
    images = 0.1 * torch.rand(count, 3, side, side, generator=generator)
    images[:, 2, : side // 2] += 0.7
    images[:, 1, side // 2 :] += 0.5
    for k, row in enumerate(torch.randint(0, side - 4, (count,), generator=generator).tolist()):
        images[k, 0, row : row + 4, 1:5] = 0.9
    return images


def save(images: Tensor, folder: Path) -> Path:
    folder.mkdir()
    for k, image in enumerate((images * 255).byte()):
        Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy())).save(folder / f"{k}.png")
    return folder


def start(folder: Path) -> Recipe:
    recipe = simclr_augself(16, EncoderConfig(name="test_resnet", size=16), 1, 16)
    return replace(recipe, data=ImageFolder(str(folder), 16))


def varying(recipe: Recipe, view: str) -> set[str]:
    images = upright()
    return set(identifiability.varying_factors(images, recipe.views[view].augment).names)


def test_kept_factors_are_sampled_in_the_third_view_only(tmp_path: Path) -> None:
    recipe = build_recipe(start(tmp_path), resolve(("hue", "rotation", "brightness"), ("crop", "contrast")))
    crop = {"crop_top", "crop_left", "crop_height", "crop_width"}
    ignored = {*crop, "contrast", "color_order"}
    assert varying(recipe, "a") == varying(recipe, "b") == ignored
    assert varying(recipe, "moved") == ignored | {"hue", "rotation", "brightness"}
    config = recipe.modules["kept"].module
    assert isinstance(config, AugSelf.Config)
    assert config.reads() == ("a", "moved") and set(config.targets) == {"hue", "rotation", "brightness"}
    assert from_dict(to_dict(recipe), Recipe) == recipe


@pytest.mark.parametrize("name", FACTORS)
def test_every_factor_can_be_kept_and_trained_on(name: str, tmp_path: Path) -> None:
    requirements = resolve((name,))
    recipe = build_recipe(start(tmp_path), requirements)
    assert name not in requirements.ignore and any(
        line.startswith(f"keep {name} ") for line in requirements.reasons
    )
    images = upright(8)
    batch = Batch({"image": images}, {"image": Space().neutral(8)}, torch.zeros(8).long(), torch.arange(8))
    views = make_views(batch, recipe.views, 0)
    losses = recipe.build({"image": Space()})(views)
    assert f"kept/{name}" in losses and all(v.isfinite() for v in losses.values())


def test_every_factor_can_be_ignored(tmp_path: Path) -> None:
    for name in FACTORS:
        recipe = build_recipe(start(tmp_path), resolve((), (name,)))
        assert not recipe.modules and set(recipe.views) == {"a", "b"} and varying(recipe, "a")


def test_groups_and_single_numbers_are_names_too() -> None:
    requirements = resolve(("colour",), ("flip", "crop_left", "blur_sigma"))
    assert requirements.keep == ("brightness", "contrast", "saturation", "hue")
    assert requirements.ignore == ("horizontal_flip", "crop", "blur")


def test_what_destroys_a_kept_factor_is_removed_with_a_warning() -> None:
    requirements = resolve(("hue",), ("crop", "grayscale"))
    assert requirements.ignore == ("crop",) and "no hue" in requirements.warnings[0]
    default = resolve(("hue",))  # ignore= did not name grayscale, so it is no warning
    assert "grayscale" not in default.ignore and not default.warnings
    assert any("ignore=grayscale: removed" in line for line in default.reasons)
    assert "shortcuts" in resolve(("crop",)).warnings[0]


@pytest.mark.parametrize(
    ("keep", "ignore", "expected"),
    [
        (("hue",), ("hue", "crop"), "keep=hue and ignore=hue exclude each other"),
        (("huee",), (), "keep=huee: no such factor; did you mean 'hue'"),
        ((), ("crp",), "ignore=crp: no such factor; did you mean 'crop'"),
        (("pose",), (), "keep=pose: no such factor"),
        (("hue",), ("grayscale",), "no factor is left in which two views differ"),
        (("color",), ("hue",), "keep=hue and ignore=hue exclude each other"),
    ],
)
def test_impossible_requirements(keep: tuple[str, ...], ignore: tuple[str, ...], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        resolve(keep, ignore)


def test_all_mistakes_at_once() -> None:
    with pytest.raises(UserError) as caught:
        resolve(("huee", "crop"), ("crop", "blurr"))
    assert len(caught.value.problems) == 3


def test_upright_images_give_no_warning(tmp_path: Path) -> None:
    folder = save(upright(), tmp_path / "photos")
    keep = ("hue", "rotation", "horizontal_flip", "quarter_turns")
    assert feasibility_warnings(build_recipe(start(folder), resolve(keep[:3], ("crop",)))) == []
    assert feasibility_warnings(build_recipe(start(folder), resolve(keep[3:], ("crop",)))) == []


def test_a_folder_that_holds_images_and_their_rotations(tmp_path: Path) -> None:
    images = upright(80)
    turned = torch.cat([images[k::4].rot90(k, (2, 3)) for k in range(4)])
    folder = save(turned, tmp_path / "photos")
    for name in ("rotation", "quarter_turns", "vertical_flip"):
        lines = feasibility_warnings(build_recipe(start(folder), resolve((name,), ("crop",))))
        assert len(lines) == 1 and "between two views" in lines[0], lines


def test_grey_images_have_no_hue(tmp_path: Path) -> None:
    images = upright()
    folder = save(images.mean(1, keepdim=True).expand_as(images), tmp_path / "photos")
    lines = feasibility_warnings(build_recipe(start(folder), resolve(("hue",), ("crop",))))
    assert len(lines) == 1 and "A hue shift changes them by 0.0 %" in lines[0]


def test_symmetric_images(tmp_path: Path) -> None:
    images = upright()
    half = torch.cat([images[:, :, :8], images[:, :, :8].flip((2, 3))], 2)
    folder = save(half, tmp_path / "half")
    lines = feasibility_warnings(build_recipe(start(folder), resolve(("rotation",), ("crop",))))
    assert "only up to turns of 180 degrees" in lines[0]
    mirrored = torch.cat([images[..., :8], images[..., :8].flip(3)], 3)
    folder = save(mirrored, tmp_path / "mirrored")
    lines = feasibility_warnings(build_recipe(start(folder), resolve(("flip",), ("crop",))))
    assert "keep=horizontal_flip: not identifiable" in lines[0]


@dataclass(frozen=True)
class DropRed(Augmentation):
    """Somebody's own augmentation that loses a channel."""

    @property
    def space(self) -> Space:
        return Space()

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        return Space().neutral(len(stream))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return torch.cat([torch.zeros_like(images[:, :1]), images[:, 1:]], 1)


@pytest.mark.parametrize("step", [Grayscale(0.3), DropRed()], ids=["grayscale", "dropped channel"])
def test_a_policy_changed_afterwards_is_checked(step: Augmentation, tmp_path: Path) -> None:
    folder = save(upright(), tmp_path / "photos")
    recipe = build_recipe(start(folder), resolve(("hue",), ("crop",)))
    spec = recipe.views["a"]
    spoiled = replace(spec, augment=Pipeline((spec.augment, step)))
    lines = feasibility_warnings(replace(recipe, views={**recipe.views, "a": spoiled}))
    assert len(lines) == 1 and "keep=hue: view a removes the colour" in lines[0]


def test_a_kept_factor_that_no_view_samples_any_more(tmp_path: Path) -> None:
    folder = save(upright(), tmp_path / "photos")
    recipe = build_recipe(start(folder), resolve(("hue",), ("crop",)))
    with pytest.raises(UserError, match="no view samples it"):
        feasibility_warnings(replace(recipe, views={**recipe.views, "moved": recipe.views["a"]}))


def test_fraction_color_lost_is_the_fraction_of_grey_views() -> None:
    images = upright(400)
    assert identifiability.fraction_color_lost(images, Identity()) == 0
    assert identifiability.fraction_color_lost(images, Grayscale(0.25)) == pytest.approx(0.25, abs=0.07)


def test_recipe_for(tmp_path: Path) -> None:
    recipe, requirements = recipe_for(save(upright(), tmp_path / "photos"), keep=["hue"], ignore=["crop"])
    assert recipe.data.path == str((tmp_path / "photos").resolve())  # type: ignore[attr-defined]
    assert requirements.keep == ("hue",) and set(recipe.views) == {"a", "b", "moved"}


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = upright()
    folder = save(images.mean(1, keepdim=True).expand_as(images), tmp_path / "photos")
    small = ["encoder.name=test_resnet", "encoder.options={}", "encoder.stem=timm", "base.projector=16,8"]
    fast = ["epochs=1", "batch_size=16", "loggers=[]", "device=cpu", "monitor_every=0"]
    words = [
        "pretrain",
        f"data={folder}",
        f"out={tmp_path / 'run'}",
        "keep=hue,rotation",
        "ignore=crop,grayscale",
    ]
    assert main([*words, *small, *fast]) == 0
    out = capsys.readouterr().out
    for part in ("keep hue (", "keep rotation (", "ignore crop (", "warning: ignore=grayscale: removed"):
        assert part in out
    assert out.index("warning: keep=hue: not identifiable") < out.index("run folder")
    words = ["pretrain", f"data={folder}", f"out={tmp_path / 'two'}", "keep=hue"]
    assert main([*words, "recipe=augself.simclr_stl10"]) == 2
    assert "exclude each other" in capsys.readouterr().err
    assert main([*words, "ignore=hue"]) == 2
    assert "keep=hue and ignore=hue exclude each other" in capsys.readouterr().err
    assert not (tmp_path / "two").exists()
