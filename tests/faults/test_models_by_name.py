"""Models with their weights on the command line, in recipes and in stored runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from equissl.cli.main import main
from equissl.data.image_folder import ImageFolder, write_images
from equissl.encoder import published
from equissl.runs.folder import Run
from equissl.runs.load import load_encoder
from equissl.storage import read_json, write_json
from equissl.training import checkpoint

FAST = ("epochs=1", "batch_size=16", "loggers=[]", "device=cpu", "monitor_every=0", "data.size=32")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "photos"
    write_images(folder, {"cats": 30, "dogs": 30}, side=24)
    return folder


def words(photos: Path, out: Path, *more: str) -> list[str]:
    model = ["encoder.name=test_resnet", "encoder.stem=timm", "encoder.options={}", "base.projector=16,8"]
    return ["pretrain", f"data={photos}", f"out={out}", *model, *FAST, *more]


def lines(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return captured.out + captured.err


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    assert main(words(photos, out)) == 0
    return out


@pytest.mark.parametrize("source", ["run", "export"])
def test_training_begins_with_the_weights_of_a_run_or_an_export(
    run: Path, photos: Path, tmp_path: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run if source == "run" else run / "export"
    assert (
        main(words(photos, tmp_path / "next", f"encoder.weights={path}", "stop_after=1", "optimizer.lr=0"))
        != 1
    )
    assert f"tensors from {path}" in lines(capsys)
    weights = read_json(tmp_path / "next" / "environment.json")["weights"]
    assert weights.startswith(f"90 of 90 tensors from {path}")
    from equissl.encoder.weight_files import read_tensors

    begun, trained = (
        read_tensors(p)["model.encoder.backbone.conv1.0.weight"] for p in (tmp_path / "next", run)
    )
    assert torch.equal(begun, trained)


def test_stored_names_of_weights_are_never_fetched_or_read(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "stored"
    assert main(words(photos, out, "stop_after=1")) == 130
    recipe = read_json(out / "recipe.json")

    def fetch(*args: object, **options: object) -> None:
        raise AssertionError("weights were looked up")

    for name in ("find_published", "_timm", "_hub", "_torchvision"):
        monkeypatch.setattr(published, name, fetch)
    for weights in ("pretrained", "hf-hub:someone/else", "/nowhere/w.pt"):
        recipe["encoder"]["weights"] = weights
        write_json(out / "recipe.json", recipe)
        state = {**checkpoint.load(Run(out).checkpoints), "recipe": recipe}
        state.pop("digest", None)
        checkpoint.save(Run(out).checkpoints, state)
        assert load_encoder(str(out)).encoder.loaded_weights is None
    config = read_json(run / "export" / "config.json")
    assert config["equissl"]["encoder"]["weights"] == ""


def test_all_weights_are_checked_before_the_first_image_is_read(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(*args: object, **options: object) -> None:
        raise AssertionError("images were read")

    monkeypatch.setattr(ImageFolder, "open", read)
    torch.save({"nothing": torch.ones(1)}, tmp_path / "w.pt")
    bad = f"timm/test_resnet@{tmp_path / 'w.pt'}"
    assert main(["audit", "timm/test_vit", bad, f"data={photos}", "device=cpu"]) == 2
    assert "does not fit test_resnet" in capsys.readouterr().err
    assert main(["embed", bad, f"data={photos}", f"out={tmp_path / 'f.npz'}", "device=cpu"]) == 2
    capsys.readouterr()
    data = [f"encoder.weights={tmp_path / 'w.pt'}"]
    monkeypatch.setattr("equissl.training.loop.resolve", read)
    assert main(words(photos, tmp_path / "out", *data)) == 2
    assert "does not fit test_resnet" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_audit_of_two_models_with_a_file_each(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("test_resnet", "test_vit")
    for name in names:
        torch.save(timm.create_model(name).state_dict(), tmp_path / f"{name}.pth")
    models = [f"timm/{name}@{tmp_path / name}.pth" for name in names]
    options = ["count=60", "factors=brightness", "size=32", "device=cpu", f"out={tmp_path / 'audit'}"]
    assert main(["audit", *models, f"data={photos}", *options]) == 0
    said = lines(capsys)
    for name in names:
        assert f"tensors from {tmp_path / name}.pth (classifier " in said
        assert f"images for timm/{name}@{name}.pth: 32 px" in said
    assert said.count("(as for the published weights; ") == 2 and "authors evaluate" not in said
    rows = [
        json.loads(line)
        for file in (tmp_path / "audit").glob("*/scores.jsonl")
        for line in file.read_text().splitlines()
    ]
    assert {r["size"] for r in rows} == {32} and all(len(r["mean"]) == 3 and r["weights"] for r in rows)


@pytest.mark.parametrize("ending", ["npz", "csv"])
def test_embed_says_random_weights_and_stores_the_normalisation(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    out = tmp_path / f"f.{ending}"
    options = [f"out={out}", "device=cpu", "size=32", "mean=0.1,0.2,0.3", "std=1,1,1", "seed=4"]
    assert main(["embed", "timm/test_resnet", f"data={photos}", *options]) == 0
    said = lines(capsys)
    assert "warning: timm/test_resnet has RANDOM weights (seed 4)" in said
    assert "images for timm/test_resnet: 32 px, mean (0.1, 0.2, 0.3), std (1, 1, 1)" in said
    assert "authors" not in said and "published" not in said
    if ending == "npz":
        with np.load(out) as found:
            stored = json.loads(str(found["model"]))
    else:
        stored = read_json(tmp_path / "f.csv.json")
    assert stored == {
        "name": "timm/test_resnet (random weights)",
        "weights": "random, seed 4",
        "mean": [0.1, 0.2, 0.3],
        "std": [1.0, 1.0, 1.0],
        "size": 32,
        "fit": "crop",
    }


def test_export_of_a_model_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "w.pth")
    name = f"timm/test_resnet@{tmp_path / 'w.pth'}"
    assert main(["export", name, "size=32"]) == 2
    assert "out=DIR is missing" in capsys.readouterr().err
    assert main(["export", name, f"out={tmp_path / 'e'}", "size=32"]) == 0
    images = torch.rand(2, 3, 32, 32)
    first, second = (
        load_encoder(n, size=32, say=str).encoder(images).vector for n in (name, str(tmp_path / "e"))
    )
    torch.testing.assert_close(first, second)
    card = (tmp_path / "e" / "README.md").read_text()
    assert "tensors from w.pth" in card and str(tmp_path) not in card.partition("```")[0]
