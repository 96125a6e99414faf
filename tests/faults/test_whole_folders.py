"""What looks at every image of a folder takes all of them, and makes them squares as in training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from equissl.api.audit import audit, audit_run
from equissl.api.embed import embed
from equissl.api.evaluate import EvaluationOptions, evaluate_run
from equissl.api.export import export
from equissl.api.pretrain import pretrain
from equissl.augment import presets
from equissl.config import registry
from equissl.data.base import Data
from equissl.data.folder import open_data
from equissl.data.image_folder import ImageFolder, write_images
from equissl.data.tensors import as_images
from equissl.encoder.backbone import EncoderConfig
from equissl.errors import UserError
from equissl.evaluate.audit.options import AuditOptions
from equissl.invariance.simclr import SimCLR
from equissl.recipe import Recipe
from equissl.runs.folder import Run
from equissl.runs.load import LoadedRun, load_encoder
from equissl.training.optim import AdamW
from equissl.training.options import Options
from equissl.views import ViewSpec


def oblong(folder: Path, count: int = 8) -> Path:
    """Images whose ends differ from their middle."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for k in range(count):
        noise = generator.integers(0, 256, (16, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{k}.png")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs")
    recipe = Recipe(
        data=ImageFolder(str(oblong(folder / "photos")), size=16, fit="squash", test_fraction=0.25),
        views={"a": ViewSpec(presets.simclr(16)), "b": ViewSpec(presets.simclr(16))},
        encoder=EncoderConfig(name="test_resnet", size=16),
        base=SimCLR.Config(projector=(16, 8)),
        optimizer=AdamW(),
        epochs=1,
        batch_size=4,
        monitor_every=0,
    )
    return pretrain(recipe, folder / "run", Options(accelerator="cpu", loggers=(), silent=True))


@pytest.mark.parametrize(
    "folders", [("train", "test"), ("train", "val", "test", "extra"), ("in/train", "in/val")]
)
def test_every_image_is_embedded_whatever_its_folder_is_called(
    tmp_path: Path, folders: tuple[str, ...]
) -> None:
    write_images(tmp_path, dict.fromkeys(folders, 3))
    table = embed(load_encoder("timm/test_resnet", size=16, say=lambda _: None), tmp_path)
    assert sorted(table.files) == sorted(f"{folder}/{k}.png" for folder in folders for k in range(3))
    assert len(table.features) == 3 * len(folders)


def test_an_audit_of_all_images_takes_all(run: Run, tmp_path: Path) -> None:
    write_images(tmp_path, {"train": 20, "test": 30})
    loaded = load_encoder(str(run.path))
    assert isinstance(loaded, LoadedRun)
    scores = audit_run(loaded, open_data(tmp_path, 16), "all", AuditOptions(factors=("brightness",)))
    assert {s.count for s in scores} == {s.count for s in audit(loaded, tmp_path, factors=["brightness"])}
    assert len(open_data(tmp_path, 16).open_all()) == 50  # 20 are too few for an audit


def test_images_become_squares_as_in_training(run: Run, tmp_path: Path) -> None:
    folder = oblong(tmp_path / "new")
    squashed = tmp_path / "squashed"
    squashed.mkdir()
    for path in folder.iterdir():
        image = Image.open(path)
        image.resize((16, 16), Image.Resampling.BILINEAR).save(squashed / path.name)
    found = embed(run.path, folder, tmp_path / "out.npz")
    same = embed(run.path, squashed).features
    torch.testing.assert_close(found.features, same, rtol=1e-3, atol=1e-3)
    assert found.model["fit"] == "squash"
    assert json.loads(str(np.load(tmp_path / "out.npz")["model"]))["fit"] == "squash"
    exported = tmp_path / "export"
    export(run.path, exported)
    torch.testing.assert_close(embed(exported, folder).features, found.features, rtol=1e-4, atol=1e-4)


def test_an_evaluation_on_a_folder_sees_squares_as_in_training(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    original = ImageFolder.open

    def open_seen(self: ImageFolder, *args: object) -> object:
        seen.append(self.fit)
        return original(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageFolder, "open", open_seen)
    folder = oblong(tmp_path / "new", 30)
    evaluate_run(run.path, folder, EvaluationOptions(evaluations=("collapse",), steer=0))
    assert set(seen) == {"squash"}


def test_an_edited_fit_of_an_export_is_named(run: Run, tmp_path: Path) -> None:
    export(run.path, tmp_path / "export")
    path = tmp_path / "export" / "config.json"
    path.write_text(path.read_text().replace('"squash"', '"stretch"'))
    with pytest.raises(UserError, match="fit must be one of crop, squash, pad, got 'stretch'"):
        load_encoder(str(tmp_path / "export"))


IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_images_of_every_kind_give_the_same_pixels() -> None:
    expected = (IMAGES * 255).round().to(torch.uint8)
    for images in (
        IMAGES,
        IMAGES.double(),
        IMAGES.numpy(),
        expected,
        expected.numpy(),
        IMAGES.flip(0).numpy()[::-1],
    ):
        assert torch.equal(as_images(images), expected)
    assert as_images(torch.full((1, 1, 1, 1), 1.001)).item() == 255  # not wrapped around to 0


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES * 255, "must lie in"),
        (IMAGES * 2 - 1, "must lie in"),
        (IMAGES.where(IMAGES > 0.5, torch.nan), "hold NaN or infinity"),
        ((IMAGES * 255).long(), "expected uint8 or floating-point numbers, got torch.int64"),
        (IMAGES > 0.5, "got torch.bool"),
        (IMAGES.movedim(1, 3), "channels last"),
        (IMAGES[0], r"expected the shape \(N, C, H, W\)"),
    ],
)
def test_images_with_other_numbers_are_refused(images: torch.Tensor, message: str) -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 16))
    for given in (images, images.numpy()):
        with pytest.raises(UserError, match=f"images: .*{message}"):
            audit(network, given)


def test_every_dataset_says_which_split_it_opens_whole(tmp_path: Path) -> None:
    for entry in registry.subclasses(Data):
        data = entry.value.example(tmp_path / entry.name)
        if data.whole == "all":
            split = [len(data.open(name)) for name in ("train", "test")]
            assert len(data.open_all()) == sum(split) > split[0]
        else:
            assert len(data.open_all()) == len(data.open(data.whole))
