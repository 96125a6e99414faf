"""Repair: what the recipe asks for, the command on tiny images, stopped and started again, and mistakes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import equissl
from equissl.api.repair import check_out, outcome
from equissl.auto import identifiability
from equissl.auto.repair import plan_repair, repair_recipe
from equissl.cli.main import main
from equissl.data.image_folder import ImageFolder
from equissl.encoder.backbone import EncoderConfig
from equissl.encoder.encoder import Encoder
from equissl.errors import UserError
from equissl.evaluate.base import FeatureTable
from equissl.evaluate.retention import Tables, retention
from equissl.params import Space
from equissl.runs.folder import Run
from equissl.runs.load import LoadedEncoder
from equissl.training.checkpoint import load

TINY = (
    "epochs=1",
    "batch_size=32",
    "precision=32-true",
    "count=40",
    "draws=1",
    "untrained=0",
    "factors=hue",
    "device=cpu",
)


def write(folder: Path, count: int, grey: bool = False) -> Path:
    """Noise with a red or a blue patch, in folders of that name."""
    generator = np.random.default_rng(0)
    for channel, name in ((0, "red"), (2, "blue")):
        (folder / name).mkdir(parents=True)
        for k in range(count // 2):
            image = generator.integers(0, 120, (32, 32, 3))
            image[4 + k % 8 : 20, 4:20, channel] += 120
            image = image.mean(2, keepdims=True).repeat(3, 2) if grey else image
            Image.fromarray(image.astype(np.uint8)).save(folder / name / f"{k}.png")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "photos", 240)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A timm model with weights in a file, as someone else would have trained it."""
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=0)
    network.train()(torch.rand(32, 3, 32, 32))
    path = tmp_path_factory.mktemp("weights") / "theirs.safetensors"
    save_file(network.state_dict(), path)
    return f"timm/test_resnet@{path}"


def command(model: str, photos: Path, out: Path, *more: str) -> list[str]:
    return ["repair", model, f"data={photos}", f"out={out}", "size=32", "keep=hue", *TINY, *more]


@pytest.fixture(scope="module")
def repaired(model: str, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "repaired"
    assert main(command(model, photos, out, "labels=folders")) == 0
    return out


def values(folder: Path) -> dict[str, float]:
    rows = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    return {row["name"]: row["value"] for row in rows if not row["baseline"] and row["part"] == "all"}


def weights(out: Path) -> Mapping[str, Tensor]:
    model: Mapping[str, Tensor] = load(Run(out / "repaired").checkpoints)["model"]
    return model


def test_only_what_is_kept_varies_and_only_between_the_views(photos: Path) -> None:
    config = EncoderConfig(name="test_resnet", size=32)
    data = ImageFolder(str(photos), 32)
    recipe = repair_recipe(config, data, ("rotation", "crop", "hue"), images=192)
    images = data.open("train").batch(torch.arange(20)).images["image"] / 255
    varying = {
        n: set(identifiability.varying_factors(images, v.augment).names) for n, v in recipe.views.items()
    }
    crop = {"crop_top", "crop_left", "crop_height", "crop_width"}
    assert varying == {"plain": {"color_order"}, "moved": {"hue", "rotation", "color_order", *crop}}
    plain = repair_recipe(config, data, ("rotation",), images=192).views["plain"].augment
    torch.testing.assert_close(plain.apply(images, plain.space.neutral(20)), images)
    assert recipe.batch_norm == "frozen" and recipe.epochs > 1


def test_both_encoders_are_audited_and_what_is_lost_is_stated(repaired: Path) -> None:
    before, after = (values(repaired / name) for name in ("original", "repaired"))
    assert set(after) == {*before, "retained/features", "retained/cosine"}
    assert {"audit/hue", "knn/top1", "linear/top1"} <= set(before)
    assert after["retained/features"] < 1 and before["audit/hue"] != after["audit/hue"]
    assert "original" in (repaired / "report.html").read_text()
    said = outcome(repaired, ["hue", "invert"])
    lost = 100 * (1 - after["retained/features"])
    assert said[0] == f"hue: {before['audit/hue']:.2f} before, {after['audit/hue']:.2f} after"
    assert said[1] == "not audited: invert" and f" {lost:.1f} %" in said[2]


def test_the_repaired_encoder_loads_in_timm(repaired: Path) -> None:
    folder = repaired / "repaired"
    theirs = timm.create_model(f"local-dir:{folder / 'export'}", pretrained=True).eval()
    encoder = equissl.load_backbone(folder)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        vectors = theirs((images - encoder.mean) / encoder.std)
        torch.testing.assert_close(vectors, encoder(images).vector, atol=1e-5, rtol=1e-5)
    card = (folder / "export" / "README.md").read_text()
    assert "trained further without labels by equissl" in card and "tensors from" in card.split("```")[0]


def test_a_loss_that_no_probe_measures_is_no_number(tmp_path: Path) -> None:
    for name, score in (("original", 1.0), ("repaired", -0.9)):
        (tmp_path / name).mkdir()
        row = {"name": "retained/features", "value": score, "baseline": "", "part": "all"}
        (tmp_path / name / "scores.jsonl").write_text(json.dumps(row) + "\n")
    said = outcome(tmp_path, ["hue"])[-1]
    assert "all that a probe can read (R2 -0.90)" in said and "nothing of them is left" in said


def test_it_begins_with_the_given_weights_and_the_teacher_keeps_them(repaired: Path, model: str) -> None:
    original = equissl.load_backbone(model, size=32).backbone.state_dict()
    trained = weights(repaired)
    for name, values in original.items():
        assert torch.equal(trained[f"base.teacher.backbone.{name}"], values)
    moved = [n for n, v in original.items() if not torch.equal(trained[f"encoder.backbone.{n}"], v)]
    assert "conv1.weight" in moved or len(moved) > 5
    assert not [n for n in moved if "running" in n]


@pytest.fixture
def no_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Audits find nothing, at once."""
    monkeypatch.setattr("equissl.api.repair.audit", lambda *_, **__: [])


@pytest.mark.usefixtures("no_audit")
@pytest.mark.parametrize("by", ["resume", "the same command"])
def test_a_stopped_repair_goes_on(by: str, repaired: Path, model: str, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = command(model, photos, out)
    assert main([*words, "stop_after=2"]) == 130
    assert load(Run(out / "repaired").checkpoints)["step"] == 2
    again = ["resume", str(out / "repaired"), "device=cpu"] if by == "resume" else words
    assert main(again) == 0
    wanted, found = weights(repaired), weights(out)
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
    assert (out / "repaired" / "export" / "model.safetensors").is_file()


@pytest.mark.usefixtures("no_audit")
def test_killed_before_all_is_scored_it_scores_but_trains_no_more(
    repaired: Path, model: str, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(repaired, out)
    checkpoint, scores = (out / "repaired" / n for n in ("checkpoints/last.pt", "scores.jsonl"))
    trained, scored = checkpoint.read_bytes(), values(out / "repaired")
    words = command(model, photos, out, "labels=folders")
    written = (out / "original" / "scores.jsonl").stat().st_mtime_ns
    assert main(words) == 0  # nothing is left to do
    assert (out / "original" / "scores.jsonl").stat().st_mtime_ns == written
    shutil.rmtree(out / "original")
    (out / "report.html").unlink()
    scores.unlink()
    assert main(words) == 0
    assert checkpoint.read_bytes() == trained and (out / "report.html").is_file()
    assert values(out / "repaired").items() <= scored.items()


def fails(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def test_another_repair_in_the_folder_is_refused(
    repaired: Path, model: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [w for w in command(model, photos, repaired, "labels=folders") if not w.startswith("keep")]
    assert "holds another repair" in fails([*words, "keep=rotation"], capsys)


MISTAKES: dict[str, tuple[Callable[[list[str], Path], list[str]], str]] = {
    "unknown factor": (lambda w, p: [*swap(w, "keep=huge")], "keep=huge: no such factor; did you mean 'hue'"),
    "no factor": (lambda w, p: [x for x in w if not x.startswith("keep=")], "keep=FACTOR,... is missing"),
    "grey images": (
        lambda w, p: swap(w, f"data={write(p / 'grey', 240, grey=True)}"),
        "keep=hue: not identifiable on these images",
    ),
    "few images": (lambda w, p: swap(w, f"data={write(p / 'few', 80)}"), "needs at least 40"),
    "no folder": (lambda w, p: swap(w, f"data={p / 'none'}"), "none"),
    "random weights": (
        lambda w, p: [w[0], "timm/test_resnet", *w[2:]],
        "has random weights, so there is nothing to repair",
    ),
    "folder in use": (lambda w, p: swap(w, f"out={filled(p / 'full')}"), "is not an empty folder"),
    "encoder set": (lambda w, p: [*w, "encoder.size=64"], "encoder.* cannot be set"),
    "size set": (lambda w, p: [*w, "data.size=64"], "data.size cannot be set"),
    "no such field": (lambda w, p: [*w, "data.gruop=a"], "data.gruop: no setting 'gruop' in ImageFolder"),
    "no setting": (lambda w, p: [*w, "epoch=3"], "epoch"),
}


def swap(words: list[str], word: str) -> list[str]:
    key = word.partition("=")[0]
    return [word if w.partition("=")[0] == key else w for w in words]


def filled(folder: Path) -> Path:
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    return folder


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_said_before_anything_is_written(
    name: str, model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = MISTAKES[name]
    out = tmp_path / "out"
    assert message in fails(change(command(model, photos, out), tmp_path), capsys)
    assert not out.exists()


def test_a_model_without_weights_is_refused(photos: Path) -> None:
    pixels = Encoder(nn.Flatten(), probe=(3, 32, 32))
    loaded = LoadedEncoder("pixels", pixels, EncoderConfig(size=32), backbone=pixels.backbone)
    with pytest.raises(UserError, match="'pixels' has no weights that torch can train"):
        plan_repair(loaded, photos, ["hue"])


@pytest.mark.usefixtures("no_audit")
def test_a_module_of_the_users_own_stays_as_it_is(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    before = [p.clone() for p in network.parameters()]
    config = EncoderConfig(size=32)
    loaded = LoadedEncoder("mine", config.wrap(network).eval(), config, backbone=network)
    run = equissl.repair(
        loaded, photos, tmp_path / "out", ["hue"], settings={"epochs": "1", "precision": "32-true"}
    )
    assert all(torch.equal(p, q) for p, q in zip(network.parameters(), before, strict=True))
    moved = load(run.checkpoints)["model"]["encoder.backbone.0.weight"]
    assert not torch.equal(moved, before[0])
    check_out(tmp_path / "out")


def table(vectors: Tensor) -> FeatureTable:
    count = len(vectors)
    parts = {"all": slice(0, vectors.shape[1])}
    return FeatureTable(vectors, torch.full((count,), -1), Space().neutral(count), torch.arange(count), parts)


def test_retention_of_turned_reduced_and_other_features() -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    x, turn = draw(400, 4), torch.linalg.qr(draw(4, 4))[0]
    halves = lambda v: Tables(table(v[:300]), table(v[300:]))  # noqa: E731
    for vectors, features, cosine in (
        (x, 1.0, 1.0),
        (torch.cat([x @ turn], 1), 1.0, None),  # moved, but all there
        (x * torch.tensor([1.0, 1.0, 0.0, 0.0]), 0.5, None),
        (draw(400, 4), 0.0, 0.0),
    ):
        found = {s.name: s.value for s in retention(halves(x), halves(vectors), {})}
        assert found["retained/features"] == pytest.approx(features, abs=0.06)
        if cosine is not None:
            assert found["retained/cosine"] == pytest.approx(cosine, abs=0.1)
