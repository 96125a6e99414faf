"""The command line end to end on tiny real data, and every kind of mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from equissl.cli.grammar.verbs import VERBS
from equissl.cli.main import main
from equissl.data.image_folder import write_images

FAST = ("epochs=1", "batch_size=16", "loggers=[]", "device=cpu", "monitor_every=0")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "photos"
    write_images(folder, {"cats": 30, "dogs": 30}, side=24)
    return folder


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    words = [f"data={photos}", f"out={out}", "encoder.name=test_resnet", "encoder.stem=timm"]
    assert (
        main(["pretrain", *words, "encoder.options={}", "base.projector=16,8", "labels=folders", *FAST]) == 0
    )
    return out


def failed(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err


def test_help_is_quick_and_needs_no_torch() -> None:
    code = (
        "import sys\nfrom equissl.cli.main import main\nfrom equissl.cli.grammar.verbs import VERBS\n"
        "main(['--help'])\n"
        "for verb in VERBS:\n    assert main([verb.name, '--help']) == 0\nmain(['study', 'grid', '--help'])\n"
        "main(['pretrian'])\nassert not {'torch', 'timm', 'numpy', 'sklearn'} & set(sys.modules), 'slow'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "quickstart" in done.stdout and "did you mean 'pretrain'" in done.stderr


@pytest.mark.parametrize("verb", VERBS, ids=lambda v: v.name)
def test_every_verb_has_help_with_examples(verb: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb.name, "--help"]) == 0  # type: ignore[attr-defined]
    assert "Usage: equissl" in capsys.readouterr().out


def test_pretrain_states_its_choice(run: Path) -> None:
    recipe = json.loads((run / "recipe.json").read_text())
    assert recipe["modules"]["augself"]["module"]["is"].startswith("equissl.equivariance:AugSelf")
    assert recipe["data"]["labels"] == "folders" and Path(recipe["data"]["path"]).is_absolute()
    assert (run / "export" / "model.safetensors").is_file()


def test_evaluate_audit_report(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run), "device=cpu"]) == 0
    rows = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    assert {"linear/top1", "knn/top1", "collapse/rank_me"} <= {r["name"] for r in rows}
    assert {r["baseline"] for r in rows} >= {"", "random", "constant"}
    assert all(r["model"] == "first" and r["count"] > 0 for r in rows)
    words = [f"data={photos}", "count=60", "factors=brightness,crop", "size=16", f"out={tmp_path / 'audit'}"]
    assert main(["audit", str(run), "timm/test_resnet", *words, "device=cpu"]) == 0
    assert "- brightness: " in capsys.readouterr().out
    shown = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert [m["random_weights"] for m in shown["models"]] == [False, True]
    assert "A recipe" not in shown["models"][1]["claim"] and len(shown["models"][0]["factors"]) == 5
    assert {c["model"] for c in shown["comparisons"]} == {"first"}
    page = (tmp_path / "audit" / "report.html").read_text()
    assert page.count('alt="Brightness, changed') >= 1 and "nothing to audit" in page
    again = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    assert len(again) > len(rows) and {r["by"] for r in again} == {"evaluate", "audit"}
    assert main(["report", str(run), f"out={tmp_path / 'page.html'}"]) == 0
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html")


def test_evaluations_by_name_with_settings(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluations=knn,sgdprobe,sensitivity", "knn.k=3", "sgdprobe.lrs=1,30", "sgdprobe.epochs=3"]
    assert main(["evaluate", str(run), *words, "count=40", "device=cpu"]) == 0
    rows = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    assert {r["name"] for r in rows} >= {"knn/top1", "linear_sgd/top1", "sensitivity/hue"}
    assert {r["extra"]["k"] for r in rows if r["name"] == "knn/top1" and r["split"] == "test"} == {3}
    kept = {p.name: p.stat().st_mtime_ns for p in (run / "features").iterdir()}
    assert main(["evaluate", str(run), "evaluations=all", "count=40", "device=cpu"]) == 0
    assert kept.keys() <= {p.name for p in (run / "features").iterdir()}
    capsys.readouterr()


def test_evaluate_looks_at_no_more_images_than_limit(run: Path, photos: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "limited", {"cats": 6, "dogs": 6}, side=20)
    words = [f"data={photos}", f"test={tmp_path / 'limited'}", "labels=folders", "device=cpu", "limit=7"]
    assert main(["evaluate", str(run), "evaluations=knn", *words]) == 0
    rows = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    mine = [r for r in rows if r["data"].endswith(f"-> ImageFolder {tmp_path / 'limited'}")]
    assert {r["count"] for r in mine} == {7}


def test_test_images_from_another_folder(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "other", {"cats": 3, "dogs": 6}, side=20)
    words = [f"data={photos}", f"test={tmp_path / 'other'}", "labels=folders", "device=cpu"]
    assert main(["evaluate", str(run), "evaluations=knn", *words]) == 0
    rows = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    mine = [r for r in rows if r["data"].endswith(f"-> ImageFolder {tmp_path / 'other'}")]
    assert {r["count"] for r in mine} == {9} and {r["name"] for r in mine} == {"knn/top1"}
    write_images(tmp_path / "other", {"birds": 2}, side=20)
    assert "no training image has: 'birds'" in failed(["evaluate", str(run), *words], capsys)


def test_test_images_that_are_training_images_are_said(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "both", {"cats": 6, "dogs": 6}, side=20)
    write_images(tmp_path / "other", {"cats": 6, "dogs": 6}, side=20)
    (tmp_path / "link").symlink_to(tmp_path / "both")
    words = ["evaluate", str(run), f"data={tmp_path / 'both'}", "labels=folders", "device=cpu"]
    words += ["evaluations=knn", "steer=0"]
    for test, shared in (("both", 12), ("link", 12), ("other", 0)):
        assert main([*words, f"test={tmp_path / test}"]) == 0
        said = " ".join(capsys.readouterr().err.split())
        assert ("12 of 12 test images are training images too" in said) == bool(shared)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["evaluations=knnn"], "did you mean 'knn'"),
        (["knn.k=0"], "k must be at least 1, got 0"),
        (["knn.kk=3"], "no setting 'kk' in KNN; did you mean 'k'"),
        (["knn.k=many"], "knn.k=many"),
        (["fewshot.ways=3"], "add it: evaluations=usual,fewshot"),
        (["epochs=3"], "epochs: there is no such setting"),
        (["ways=3"], "did you mean 'fewshot.ways'"),
        (["test=nowhere"], "nowhere"),
        (["evaluations=fewshot"], "it needs 5 classes among the labelled test images"),
        (["evaluations=relativefactors"], "relativefactors cannot be measured: it needs factors"),
        (["evaluations=linearprobe,finetune", "data=PHOTOS", "labels=none"], "2 errors"),
        (["evaluations=linearprobe", "data=PHOTOS/cats", "labels=none"], "no training image has one"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_impossible_evaluations(
    run: Path, photos: Path, words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [w.replace("PHOTOS", str(photos)) for w in words]
    assert expected in failed(["evaluate", str(run), "device=cpu", *given], capsys)


def test_help_of_evaluate_lists_what_there_is_without_torch() -> None:
    code = (
        "import sys\nfrom equissl.cli.main import main\nmain(['evaluate', '--help'])\n"
        "assert not {'torch', 'timm', 'numpy', 'sklearn'} & set(sys.modules), 'slow'\n"
        "from equissl.evaluate.protocol import DEFAULT, available\n"
        "print(*('NAME ' + n for n in available()), sep='\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shown, _, found = done.stdout.partition("NAME ")
    listed = {line.strip() for line in shown.splitlines() if line.startswith("  ") and line[2] != " "}
    for name in found.replace("NAME ", "").split():
        assert name in listed
    assert "k=20, temperature=0.07" in shown


def test_audit_reads_local_weights_of_a_timm_model(photos: Path, tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(5)
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "w.safetensors")
    words = [f"data={photos}", "count=60", "factors=brightness", "size=16", "device=cpu"]
    assert main(["audit", "timm/test_resnet", f"weights={tmp_path / 'w.safetensors'}", *words]) == 0


@pytest.mark.parametrize("name", ["features.npz", "features.csv"])
def test_embed_lists_what_it_skipped(run: Path, photos: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for k in range(3):
        Image.open(photos / "cats" / f"{k}.png").save(folder / f"{k}.png")
    (folder / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    assert main(["embed", str(run), f"data={folder}", f"out={tmp_path / name}", "device=cpu"]) == 0
    if name.endswith("npz"):
        with np.load(tmp_path / name) as found:
            assert found["files"].tolist() == ["0.png", "1.png", "2.png"]
            assert found["features"].shape[0] == 3 and found["skipped"][0][0] == "bad.jpg"
    else:
        lines = (tmp_path / name).read_text().splitlines()
        assert len(lines) == 5 and lines[-1].startswith("bad.jpg,")


def test_resume_of_a_finished_run_and_more_epochs(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", str(run), "loggers=[]", "device=cpu"]) == 0
    assert "finished" in capsys.readouterr().out
    assert "batch_size: 16 -> 8" in failed(["resume", str(run), "batch_size=8"], capsys)


def test_render_solids(tmp_path: Path) -> None:
    assert main(["render", "solids", f"out={tmp_path / 's'}", "objects=12", "views=1", "size=16"]) == 0
    assert len(list((tmp_path / "s" / "train").rglob("*.png"))) == 12
    header = (tmp_path / "s" / "train.csv").read_text().splitlines()[0]
    assert header.startswith("file,label,object,pose_0") and "floor_hue" in header


def test_list_check_and_doctor(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name in ("equimod.simclr_cifar10", "byol", "augself", "colorjitter", "solids", "knn"):
        assert name in out
    assert main(["list", "backbones", "match=resnet18*"]) == 0
    assert main(["check", str(photos)]) == 0
    assert "60 images" in capsys.readouterr().out
    capsys.readouterr()
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.count("augmentations on the CPU: ") == 1


def test_all_mistakes_are_reported_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["pretrain", f"data={tmp_path / 'phtos'}", f"out={out}", "recipe=equimod.simclr_cifar10"]
    message = failed(
        [
            *words,
            "epohs=3",
            "batch_size=many",
            "encoder.stem=tiny",
            "loggers=tensorbord",
            "base.temprature=1",
        ],
        capsys,
    )
    for part in (
        "phtos",
        "'epochs'",
        "batch_size=many",
        "'timm' or 'small'",
        "'tensorboard'",
        "'temperature'",
    ):
        assert part in message, message
    assert message.startswith("6 errors") and not out.exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pretran"], "did you mean 'pretrain'"),
        (["pretrain", "data=."], "out=DIR is missing"),
        (["pretrain", "data=.", "--out"], "--out: the value is missing"),
        (["pretrain", "data=.", "--out", "--seed=1"], "--out: the value is missing"),
        (["pretrain", "data=.", "out="], "out=: the path is empty"),
        (["pretrain", "data=.", "out", "=", "x"], "no spaces around ="),
        (["pretrain", "data=.", "out=x", "--out", "y"], "out: given 2 times (x, y)"),
        (["pretrain", ".", "data=."], "'.': one argument too many"),
        (["pretrain", ".", "..", "out=x"], "'..': one argument too many"),
        (["pretrain", ".", "out=x", "-v"], "'-v': cannot be parsed"),
        (["pretrain", "out=x"], "data=DIR is missing"),
        (["export", "x", "--fromat", "onnx"], "did you mean 'format'"),
        (["--help-me"], "No such option"),
        (["pretrain", "out=x", "recipe=equimod.simclr_cifar1O"], "did you mean 'equimod.simclr_cifar10'"),
        (["audit", "timm/resnet19", "data=."], "did you mean 'resnet18"),
        (["audit", "timm/convnext_tini", "data=."], ": convnext_tiny, convnextv2_tiny, convnext_tiny_hnf"),
        (
            ["pretrain", "out=x", "recipe=equimod.simclr_cifar10", "size=64"],
            "did you mean 'data.size' or 'encoder.size'",
        ),
        (["pretrain", "out=x", "recipe=equimod.simclr_cifar10", "scale=1"], "did you mean 'views.a.augment."),
        (["study", "grid", "out=x", "lr=1"], "did you mean 'optimizer.lr'"),
        (
            ["audit", "nothing", "data=."],
            "expected a run folder, an exported folder, FILE.onnx, timm/NAME@pretrained",
        ),
        (["audit", "data=."], "MODEL... is missing. Usage: equissl audit MODEL... DATA"),
        (["audit", "."], "MODEL... is missing"),
        (["audit", "timm/test_resnet"], "data=DIR is missing"),
        (["audit", "timm/test_resnet", "phtos"], "phtos"),
        (["embed", "timm/test_resnet", "phtos", "out=f.npz"], "phtos"),
        (["audit", "timm/test_resnet", "data=.", "factors=huee"], "did you mean 'hue'"),
        (["evaluate", "nowhere"], "is not a run folder"),
        (["resume"], "RUN is missing"),
        (["report", "nowhere"], "nowhere"),
        (["embed", "timm/test_resnet", "data=.", "out=f.txt"], "ends in .npz or .csv"),
        (["export", "nowhere", "format=tflite"], "'timm' or 'onnx'"),
        (["list", "recipe"], "did you mean 'recipes'"),
        (["list", "recipes", "match=sim*"], "match=sim* is for backbones"),
        (["export", "nowhere", "opset=17"], "opset=17 has no effect with format=timm: add format=onnx"),
        (
            ["render", "cubes", "out=x"],
            "equissl render cubes: no such command; valid: 3diebench, photonics, solids",
        ),
        (["render"], "equissl render: a command is missing"),
        (["check", "nowhere"], "nowhere"),
        (["render", "solids", "out=/proc/version/x"], "cannot be made"),
        (["pretrain", "data=.", "out=x", "devices=0"], "devices must be at least 1"),
        (["quickstart", "device=tpu"], "'auto', 'cpu' or 'cuda'"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_mistakes(
    words: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert expected in failed(words, capsys)
    assert not list(tmp_path.iterdir()), "a mistake left something behind"


def test_an_empty_folder_and_too_many_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    out = f"out={tmp_path / 'out'}"
    assert "empty" in failed(["pretrain", f"data={tmp_path / 'empty'}", out], capsys)
    write_images(tmp_path / "bad", {"x": 20}, side=24)
    for k in range(5):
        (tmp_path / "bad" / f"broken{k}.jpg").write_bytes(b"not an image")
    message = failed(["pretrain", f"data={tmp_path / 'bad'}", out, "encoder.name=test_resnet", *FAST], capsys)
    assert "broken" in message and "data.max_bad_fraction" in message
    assert not (tmp_path / "out").exists()


def test_settings_of_every_type(photos: Path, tmp_path: Path) -> None:
    from equissl.config.overrides import override
    from equissl.recipes import equimod

    changed = override(
        equimod.simclr_cifar10(),
        {
            "encoder.options.channels": "[16, 32, 64, 128]",
            "views.a.augment.steps.0.scale": "0.5,1",
            "modules.equimod.weight": "0.25",
            "modules.equimod.module.predictor": "equissl.nn:ResidualMLP",
            "optimizer": "equissl.training:AdamW",
            "compile": "true",
        },
    )
    assert changed.encoder.options["channels"] == (16, 32, 64, 128)
    assert changed.views["a"].augment.steps[0].scale == (0.5, 1.0)  # type: ignore[attr-defined]
    assert changed.views["b"] == equimod.simclr_cifar10().views["b"]
    assert changed.modules["equimod"].weight == 0.25 and changed.compile is True
    assert type(changed.optimizer).__name__ == "AdamW"
