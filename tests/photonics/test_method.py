"""E-SSL on crystals: exact symmetries, the network, fine-tuning, recipes and the study."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from equissl.augment.base import Pipeline
from equissl.augment.geometry.quarter_turn import QuarterTurn
from equissl.augment.orbits import FullOrbit
from equissl.augment.periodic import EitherFlip, HalfRoll, Roll
from equissl.cli.main import main
from equissl.config.overrides import override
from equissl.config.serialize import to_dict
from equissl.data.base import Data
from equissl.data.batch import Batch
from equissl.data.solids import Solids
from equissl.encoder.backbone import EncoderConfig
from equissl.errors import UserError
from equissl.params import Params, Space
from equissl.photonics import recipes
from equissl.photonics.data import SPACE, CrystalDataset, Crystals
from equissl.photonics.dos import Spectrum, empty_lattice, relative_errors
from equissl.photonics.encoder import CrystalNet
from equissl.photonics.fine_tuning import FineTuneSpectra
from equissl.photonics.generate import CrystalPlan
from equissl.photonics.study import photonics
from equissl.random import Stream
from equissl.views import make_views

IMAGES = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
STREAM = Stream.of(torch.arange(40), "periodic")


def test_rolls_are_rolls() -> None:
    draw = Roll().sample(STREAM, (8, 8))
    found = Roll().apply(IMAGES, draw)
    for k, image in enumerate(IMAGES):
        down, right = (round(float(draw.values[n][k]) * 8) for n in ("roll_down", "roll_right"))
        assert torch.equal(found[k], image.roll((down, right), (1, 2)))
    steps = {round(float(v) * 8) for v in draw.values["roll_down"]}
    assert steps == set(range(8))


def test_the_orbit_of_half_rolls_is_in_the_papers_order() -> None:
    """Class = 2 row + column."""
    orbit = FullOrbit(HalfRoll())
    found, params = orbit.expand(IMAGES, Space().neutral(40))
    assert orbit.order == 4
    for k, (down, right) in enumerate(((0, 0), (0, 4), (4, 0), (4, 4))):
        rows = slice(40 * k, 40 * (k + 1))
        assert torch.equal(found[rows], IMAGES.roll((down, right), (2, 3)))
        assert torch.equal(params.values["half_roll_down"][rows] * 4, torch.full((40, 1), float(down)))


def test_either_flip_draws_thirds_and_never_both() -> None:
    stream = Stream.of(torch.arange(3000), "thirds")
    draw = EitherFlip().sample(stream, (8, 8))
    across, down = (draw.values[n][:, 0] for n in ("horizontal_flip", "vertical_flip"))
    assert float((across * down).sum()) == 0
    assert float(across.mean()) == pytest.approx(1 / 3, abs=0.03)
    assert float(down.mean()) == pytest.approx(1 / 3, abs=0.03)
    found = EitherFlip().apply(IMAGES, draw[torch.arange(40)])
    for k, image in enumerate(IMAGES):
        wanted = image.flip(2) if across[k] else image.flip(1) if down[k] else image
        assert torch.equal(found[k], wanted)


def test_odd_cells_have_no_half() -> None:
    with pytest.raises(ValueError, match="even sides, got 7x8"):
        HalfRoll().sample(STREAM, (7, 8))


def test_the_papers_network() -> None:
    net = CrystalNet.Config().backbone()
    assert sum(p.numel() for p in net.parameters()) == 5_331_712
    assert net(torch.rand(2, 1, 32, 32)).shape == (2, 1024)
    assert CrystalNet.Config(channels=(4, 4), pools=(2, 4)).build().width() == 1024


@pytest.mark.parametrize("padding", ["periodic", "zeros"])
def test_periodic_padding_knows_no_border(padding) -> None:
    torch.manual_seed(0)
    net = (
        CrystalNet.Config(channels=(4, 6), pools=(2, 2), hidden=(8,), kernel=3, padding=padding)
        .backbone()
        .eval()
    )
    moved = net.blocks(IMAGES.roll((4, -4), (2, 3)))
    same = torch.allclose(moved, net.blocks(IMAGES).roll((1, -1), (2, 3)), atol=1e-6)
    assert same == (padding == "periodic")


@pytest.mark.parametrize(
    ("wrong", "size", "message"),
    [
        ({"pools": (2, 2)}, 8, "one pool per block"),
        ({"kernel": 4}, 8, "kernel must be odd"),
        ({"padding": "mirror"}, 8, "padding='mirror' does not exist"),
        ({}, 16, "sides must be multiples of 32"),
        ({"pools": (8, 4, 1), "kernel": 7}, 32, "more than once around a grid of side 1"),
    ],
)
def test_mistakes_with_the_network(wrong, size, message) -> None:
    with pytest.raises(ValueError, match=message):
        CrystalNet.Config(**{"channels": (4, 4, 4), **wrong}).backbone()(torch.rand(1, 1, size, size))


@pytest.mark.parametrize("name", ["blob", "gpm"])
def test_views_of_the_recipes(name: str) -> None:
    """The two views are symmetries of the cell; the third holds the cell as it is first."""
    recipe = getattr(recipes, f"{name}_essl")()
    batch = Batch(
        {"image": IMAGES},
        {"image": Params.of(Space(), {}, count=40)},
        torch.full((40,), -1),
        torch.arange(40),
    )
    views = make_views(batch, recipe.views, seed=0)
    for view in ("a", "b"):
        assert torch.equal(views[view].images.flatten(1).sort(1).values, IMAGES.flatten(1).sort(1).values)
        assert not torch.equal(views[view].images, IMAGES)
    assert torch.equal(views["turned"].images[:40], IMAGES) and len(views["turned"].images) == 160
    known = {"blob": {"half_roll_down", "half_roll_right"}, "gpm": {"quarter_turns"}}[name]
    assert not known & set(views["a"].params.space.names)
    extra = getattr(recipes, f"{name}_invariant")().views["a"].augment.space.names
    assert known <= set(extra)


def made(count: int = 60, kept: int = 24) -> CrystalDataset:
    """Cells whose spectrum is a simple function of the image."""
    spectrum = Spectrum(order=1, grid=3, bands=4, kept=kept)
    images = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    images = images * torch.rand(count, 1, 1, 1, generator=torch.Generator().manual_seed(2))
    shape = torch.linspace(0, 3, kept).sin()
    spectra = empty_lattice(spectrum).float() + images.mean((1, 2, 3))[:, None] * shape
    plan = CrystalPlan(kind="pm", count=count, size=8, spectrum=spectrum)
    return CrystalDataset(images, spectra, SPACE.neutral(count), plan)


class Made(Crystals):
    def open(self, split, progress=None) -> CrystalDataset:  # type: ignore[no-untyped-def]
        whole = made()
        rows = slice(0, 45) if split == "train" else slice(45, 60)
        return replace(
            whole, images=whole.images[rows], spectra=whole.spectra[rows], params=SPACE.neutral(45)
        )


def encoder():
    torch.manual_seed(0)
    return CrystalNet.Config(channels=(8,), pools=(8,), hidden=(16,), kernel=3, size=8).build()


FAST = FineTuneSpectra(
    labels=(8, 30), validation=12, lrs=(1e-6, 1e-2), steps=60, check_every=20, batch_size=16, hidden=(16,)
)
SYMMETRIES = Pipeline((Roll(), EitherFlip(), QuarterTurn()))


def test_fine_tuning() -> None:
    start = encoder()
    before = {k: v.clone() for k, v in start.state_dict().items()}
    scores = list(FAST.run(start, Made(test_size=15), SYMMETRIES, seed=3))
    assert all(torch.equal(v, before[k]) for k, v in start.state_dict().items())
    value = {(s.name, s.baseline): s.value for s in scores}
    assert set(value) == {(f"dos/error_{n}", b) for n in (8, 30) for b in ("", "constant")}
    assert value["dos/error_30", ""] < 0.5 * value["dos/error_30", "constant"]
    for score in scores:
        assert score.count == 15 and score.low <= score.value <= score.high
        if not score.baseline:
            assert score.extra["lr"] == 1e-2  # the other learns nothing
    again = list(FAST.run(encoder(), Made(test_size=15), SYMMETRIES, seed=3))
    assert [s.value for s in again] == [s.value for s in scores]
    other = list(FAST.run(encoder(), Made(test_size=15), SYMMETRIES, seed=4))
    assert [s.value for s in other] != [s.value for s in scores]


def test_the_rate_can_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    class Watched(torch.optim.Adam):
        def step(self, closure: Any = None) -> Any:
            seen.append(self.param_groups[0]["lr"])
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "Adam", Watched)
    for ratio, last in ((1.0, 0.1), (0.0, 0.1 * (1 + math.cos(math.pi * 0.75)) / 2)):
        seen.clear()
        short = replace(FAST, labels=(8,), lrs=(0.1,), steps=4, final_lr_ratio=ratio)
        short.tune(encoder(), Made(test_size=15).open("train"), 8, SYMMETRIES)
        assert len(seen) == 4 and seen[0] == 0.1 and seen[-1] == pytest.approx(last)


def test_the_error_is_the_papers() -> None:
    generator = torch.Generator().manual_seed(0)
    found, wanted = (torch.rand(3, 400, generator=generator) for _ in range(2))
    slow = [
        sum(abs(float(f[i] - w[i])) for i in range(100, 400)) / sum(abs(float(w[i])) for i in range(100, 400))
        for f, w in zip(found, wanted, strict=True)
    ]
    torch.testing.assert_close(relative_errors(found, wanted), torch.tensor(slow))


def test_mistakes_in_fine_tuning() -> None:
    with pytest.raises(UserError, match="34 labels and 12 validation cells"):
        FAST.tune(encoder(), Made().open("train"), 34, SYMMETRIES)
    data: Data = Solids(size=8, objects=12)
    with pytest.raises(UserError, match="needs data of type Crystals, got Solids"):
        next(FAST.run(encoder(), data, SYMMETRIES))
    for wrong, message in (
        ({"labels": ()}, "labels must be above 0"),
        ({"labels": (1,)}, "labels must be at least 2"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"lrs": (0.0,)}, "lrs must be above 0"),
        ({"final_lr_ratio": 1.5}, "final_lr_ratio must be in"),
    ):
        with pytest.raises(ValueError, match=message):
            FineTuneSpectra(**wrong)


def test_the_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["study", "photonics", "setting=gpm", f"out={tmp_path / 'out'}", f"file={tmp_path / 'cells'}"]
    words += ["unlabelled=8", "budgets=2,3", "validation=2", "test=4", "steps=2", "lrs=1e-3"]
    words += ["epochs=1", "batch_size=6", "seeds=1", "device=cpu"]
    assert main(words) == 0
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    assert [c["labels"]["method"] for c in table["cells"]] == [
        "no pretraining",
        "SimCLR",
        "SimCLR + quarter turns",
        "E-SimCLR",
    ]
    for cell in table["cells"]:
        assert cell["seeds"] == 1 and cell["values"]["dos/error_2"]["mean"] > 0
    assert table["baselines"]["constant"]["dos/error_3"]["mean"] > 0
    assert (tmp_path / "out" / "figure.png").is_file()
    assert main(words) == 0  # nothing is left to do
    assert main([*words[:-4], "epochs=2", "batch_size=6", "seeds=1"]) == 2
    assert "started with other settings" in capsys.readouterr().err


def test_study_settings() -> None:
    study = photonics(setting="blob", paper=True, epochs=200, budgets=(3000,))
    epochs = [c.recipe.epochs for c in study.cells]
    assert epochs == [0, 200, 200, 200]
    assert study.cells[3].recipe.encoder == recipes.blob_essl().encoder
    assert len({str(c.recipe.data) for c in study.cells}) == 1


def test_data_must_be_what_the_plan_says(tmp_path: Path) -> None:
    spectrum = Spectrum(order=1, grid=3, bands=4, kept=20)
    plan = CrystalPlan(kind="blob", count=6, labelled=2, size=8, spectrum=spectrum)
    data = Crystals(path=str(tmp_path / "x"), size=8, test_size=2, plan=plan)
    first: Tensor = data.open("train").images
    assert torch.equal(replace(data, plan=None).open("train").images, first)
    with pytest.raises(UserError, match=r"does not match data\.plan"):
        replace(data, plan=replace(plan, seed=1)).open("train")


def test_a_saved_recipe_names_the_network_by_its_public_address() -> None:
    stored = to_dict(recipes.blob_essl())
    assert stored["encoder"]["is"] == "equissl.photonics:CrystalNet.Config"
    changed = override(recipes.blob_essl(), {"encoder.padding": "zeros", "encoder.channels": "4,4,4"})
    assert changed.encoder == CrystalNet.Config(padding="zeros", channels=(4, 4, 4))
    with pytest.raises(UserError, match="no setting 'name' in CrystalNet"):
        override(recipes.blob_essl(), {"encoder.name": "resnet18"})
    timm = override(recipes.blob_essl(), {"encoder": "equissl.encoder:EncoderConfig"})
    assert timm.encoder == EncoderConfig()
