"""``equissl check DIR views=PAGE``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from equissl.api.preview import build_preview, preview_views
from equissl.augment import Augmentation, QuarterTurns
from equissl.cli.main import main
from equissl.data.image_folder import ImageFolder, write_images
from equissl.data.image_table import ImageTable
from equissl.params import Params, Real, Space
from equissl.random import Stream
from equissl.recipes import equimod, sie
from equissl.views import SameAs, ViewSpec


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "photos"
    write_images(folder, {"cats": 12}, side=24)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def test_a_page_of_views(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "views.html"
    words = [
        f"views={page}",
        "recipe=equimod.byol_cifar10",
        "count=20",
        "views.a.augment.steps.0.scale=0.9,1",
    ]
    assert main(["check", str(photos), *words]) == 0
    said = capsys.readouterr().out
    for view in ("plain", "a", "b"):
        assert f"view {view}: the replay differs by 0 at most" in said
    html = page.read_text(encoding="utf-8")
    assert "a to b</th>" in html and "scale=(0.9, 1.0)" in html
    assert html.count("<img") == 3 * 12 + 3 and html.count("source, plain</figcaption>") == 12
    assert "Every view replays exactly" in html and "Warning</h2>" not in html
    assert html.count("which differ from the source by 0 at most") == 3
    assert "Hue <small>°</small>" in html and "<h3>a</h3>" in html


def test_the_recipe_is_chosen_if_none_is_named(photos: Path, tmp_path: Path) -> None:
    assert main(["check", str(photos), f"views={tmp_path / 'v.html'}", "count=2"]) == 0
    assert "Views of photographs" in (tmp_path / "v.html").read_text(encoding="utf-8")


def test_a_partner_is_another_image_however_few_are_shown(photos: Path, tmp_path: Path) -> None:
    names = [f"{p.parent.name}/{p.name}" for p in sorted(photos.glob("*/*.png"))]
    table = photos / "measured.csv"
    rows = [f"{name},{k % 2},{30 * k}" for k, name in enumerate(names)]
    table.write_text("\n".join(["file,object,yaw_degrees", *rows]) + "\n")
    recipe = replace(sie.sie_measured(), data=ImageTable(str(table), size=32, group="object"))
    shown = preview_views(recipe, tmp_path / "views.html", count=2)
    assert len(shown.files) == 2
    assert all(a != b for a, b in zip(shown.sources["image"], shown.sources["partner"], strict=True))


def test_what_cannot_be_kept_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for k in range(64):
        Image.fromarray(torch.rand(24, 24).mul(255).byte().numpy()).save(tmp_path / f"{k}.png")
    assert main(["check", str(tmp_path), f"views={tmp_path / 'v.html'}", "count=2", "keep=hue"]) == 0
    said = capsys.readouterr().out
    assert "keep hue" in said and "warning: " in said and "not identifiable" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["recipe=equimod.byol_cifar10"], "recipe=... is for example views: add views=PAGE.html"),
        (["views=v.html", "count=0"], "count must be at least 1, got 0"),
        (["views=."], "is a folder; expected a page"),
        (["views=v.html", "recipe=equimod.byol"], "did you mean"),
        (["views=v.html", "recipe=equimod.byol_cifar10", "view.a=1"], "no such setting"),
    ],
)
def test_mistakes(
    words: list[str],
    said: str,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check", str(photos), *words]) == 2
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())


@dataclass(frozen=True)
class Forgetful(Augmentation):
    """Reads a number that it does not record."""

    @property
    def space(self) -> Space:
        return Space((Real("shift"),))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        return Params.of(self.space, {"shift": stream.uniform("shift")}, stream.chance("on", 0.5))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return images + 0.5 * params.applied["shift"][:, None, None, None]


def test_orbits_shared_draws_and_what_is_not_recorded(photos: Path) -> None:
    recipe = equimod.simclr_cifar10()
    turned = ViewSpec(recipe.views["a"].augment, orbit=QuarterTurns())
    specs = {"a": turned, "b": ViewSpec(turned.augment, draw=SameAs("a")), "c": ViewSpec(Forgetful())}
    object.__setattr__(recipe, "views", specs)
    dataset = ImageFolder(str(photos), 32, test_fraction=0.0, max_bad_fraction=1.0).open("train")
    a, b, c, *_ = build_preview(recipe, "mine", dataset, count=8, seed=0).views
    assert len(a.images) == 32 and list(a.positions[:8]) == [0, 0, 0, 0, 1, 1, 1, 1]
    turns = next(p for p in a.parameters if p.name == "quarter_turns")
    assert turns.values == [0, 1, 2, 3] * 8 and a.difference == b.difference == 0
    assert a.images[0] == b.images[0] and len(set(a.images)) == 32
    assert abs(c.difference - 0.5) < 1e-6
    assert torch.tensor(c.differences).count_nonzero() < 8
