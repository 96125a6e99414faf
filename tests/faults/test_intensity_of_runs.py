"""A run, its features and its export read images with more than 8 bits as the run was trained on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from equissl.api.embed import embed
from equissl.api.export import export
from equissl.api.pretrain import pretrain
from equissl.augment import presets
from equissl.data.files.depth import IntensityRange
from equissl.data.image_folder import ImageFolder
from equissl.encoder.backbone import EncoderConfig
from equissl.invariance.simclr import SimCLR
from equissl.recipe import Recipe
from equissl.runs.folder import Run
from equissl.runs.load import load_encoder
from equissl.training.optim import AdamW
from equissl.training.options import Options
from equissl.views import ViewSpec


def photos(folder: Path, white: int, count: int = 12) -> Path:
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for k in range(count):
        values = generator.random((32, 32)) * white
        Image.fromarray(values.astype(np.uint16)).save(folder / f"{k}.png")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs")
    recipe = Recipe(
        data=ImageFolder(str(photos(folder / "photos", 4000)), size=32, test_fraction=0.0),
        views={"a": ViewSpec(presets.simclr(32)), "b": ViewSpec(presets.simclr(32))},
        encoder=EncoderConfig(name="test_resnet", size=32),
        base=SimCLR.Config(projector=(16, 8)),
        optimizer=AdamW(),
        epochs=1,
        batch_size=6,
        monitor_every=0,
    )
    return pretrain(recipe, folder / "run", Options(accelerator="cpu", loggers=(), silent=True))


def test_a_run_stores_the_range_that_its_folder_decided(run: Run) -> None:
    data = run.recipe.data
    assert isinstance(data, ImageFolder) and data.integer_range == (0, 4095)
    assert load_encoder(str(run.path)).intensity == IntensityRange((0, 4095))


def test_features_of_darker_images_are_those_of_darker_images(run: Run, tmp_path: Path) -> None:
    """Read by a range of their own they would look as bright as those that the run was trained on."""
    dark = photos(tmp_path / "dark", 900)
    found = embed(run.path, dark)
    eight = tmp_path / "eight"
    eight.mkdir()
    for path in dark.iterdir():
        values = np.asarray(Image.open(path)).astype(np.float64) * (255 / 4095)
        Image.fromarray(values.round().astype(np.uint8)).save(eight / path.name)
    assert torch.equal(found.features, embed(run.path, eight).features)


def test_an_export_keeps_the_range(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "export"
    export(run.path, out)
    assert load_encoder(str(out)).intensity == IntensityRange((0, 4095))
    dark = photos(tmp_path / "dark", 900)
    assert torch.allclose(embed(out, dark).features, embed(run.path, dark).features, atol=1e-5)
