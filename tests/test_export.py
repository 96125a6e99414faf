"""Exports load where equissl is not."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

import equissl
from equissl.data import Solids
from equissl.encoder.backbone import EncoderConfig
from equissl.errors import UserError
from equissl.recipes import quickstart
from equissl.runs import export
from equissl.runs.load import LoadedEncoder
from equissl.runs.onnx_export import export_onnx
from equissl.storage import read_json, write_json


def loaded(stem: str = "timm", name: str = "test_resnet") -> LoadedEncoder:
    torch.manual_seed(0)
    config = EncoderConfig(name=name, stem=stem, size=32)  # type: ignore[arg-type]
    encoder = config.build()
    with torch.no_grad():  # running statistics that are not those of a fresh network
        encoder.train()(torch.rand(8, 3, 32, 32))
    return LoadedEncoder("mine", encoder.eval(), config)


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("timm", "test_resnet"),
        pytest.param("small", "resnet10t", marks=pytest.mark.slow),
        pytest.param("timm", "test_vit", marks=pytest.mark.slow),
    ],
)
def test_the_readme_snippet_loads_without_equissl(tmp_path: Path, stem: str, name: str) -> None:
    model = loaded(stem, name)
    out = export.export_timm(model, tmp_path / "export")
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    normal = (images - model.encoder.mean) / model.encoder.std
    torch.save(normal, tmp_path / "images.pt")
    code = (out / "README.md").read_text().split("```python\n")[1].split("\n# images")[0]
    run = "import torch\ntorch.save(model(torch.load('images.pt')).detach(), 'out.pt')\n"
    code = f"import sys\nsys.modules['equissl'] = None\n{code}\n{run}"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path)
    with torch.inference_mode():
        wanted = model.encoder(images).vector
        ours = equissl.load_backbone(out)(images).vector
    torch.testing.assert_close(torch.load(tmp_path / "out.pt"), wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours, wanted)


def test_the_card_shows_figures_beside_random_weights(tmp_path: Path) -> None:
    row = {"name": "audit/hue", "part": "all", "unit": "R2", "count": 300, "low": 0.8, "high": 0.9}
    own = {**row, "value": 0.85, "baseline": "", "extra": {"verdict": "kept"}}
    rows = [own, {**row, "value": 0.4, "baseline": "random"}]
    text = (export.export_timm(loaded(), tmp_path / "e", rows) / "README.md").read_text()
    assert "| audit/hue | 0.85 | 0.80 to 0.90 | 0.40 | kept | R2 | 300 |" in text


def test_the_card_of_a_run_says_how_it_was_trained_and_whom_to_cite(tmp_path: Path) -> None:
    data = Solids(size=32, objects=12, views=2, paired=True)
    recipe = replace(quickstart.equivariant(), data=data, epochs=1, batch_size=8, monitor_every=0)
    run = equissl.pretrain(recipe, tmp_path / "run", equissl.Options(loggers=(), silent=True))
    text = (equissl.export(run.path) / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert text.startswith("---\n") and front["library_name"] == "timm"
    assert "Without labels on Solids: 1 epochs in batches of 8" in text and "EquiMod" in text
    entries = text.split("```bibtex\n")[1].split("```")[0]
    assert "2211.01244" in entries and "2002.05709" in entries
    damaged = {
        **read_json(run.path / "environment.json"),
        "weights": "a\n# <script>[x](y) of /secret/w.pth" * 99,
    }
    write_json(run.path / "environment.json", damaged)
    first = (equissl.export(run.path) / "README.md").read_text().split("```")[0]
    assert "trained further" in first and "\n# \\<" not in first and "<script" not in first.replace("\\<", "")
    assert "secret" not in first and len(first) < 1000


def test_onnx_equals_the_original(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra equissl[onnx]")
    model = loaded()
    assert export_onnx(model, tmp_path).difference < 1e-4
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    images = torch.rand(5, 3, 32, 32)
    with torch.inference_mode():
        wanted = model.encoder(images).vector
    found = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    model = loaded()
    own = LoadedEncoder("own", model.encoder, EncoderConfig(name="my.module:make"))
    with pytest.raises(UserError, match="only timm backbones"):
        export.export_timm(own, tmp_path / "x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    (tmp_path / "full" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds something that is no export"):
        export.export_timm(model, tmp_path / "full")
    assert (tmp_path / "full" / "thesis.txt").exists()


def test_exporting_again_leaves_other_files_alone(tmp_path: Path) -> None:
    out = export.export_timm(loaded(), tmp_path / "e")
    (out / "model.onnx").write_bytes(b"")
    export.export_timm(loaded(), out)
    assert {p.name for p in out.iterdir()} == {"model.safetensors", "config.json", "README.md", "model.onnx"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "any_size"), [("test_vit", True), ("vit_tiny_patch16_224", False), ("test_resnet", True)]
)
def test_onnx_takes_any_batch_and_any_size_that_the_model_takes(
    tmp_path: Path, name: str, any_size: bool
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra equissl[onnx]")
    model = loaded(name=name)
    written = export_onnx(model, tmp_path)
    assert written.any_batch and written.any_size == any_size and written.difference < 1e-4
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    for batch, side in [(1, 32), (7, 32), *([(2, 64)] if any_size else [])]:
        images = torch.rand(batch, 3, side, side)
        with torch.inference_mode():
            wanted = model.encoder(images).vector
        found = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert "any batch" in str(written) and ("image size" in str(written)) == any_size


def test_the_opset_is_the_one_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra equissl[onnx]")
    assert export_onnx(loaded(), tmp_path, opset=19).opset == 19
    with pytest.raises(UserError, match="opset=3"):
        export_onnx(loaded(), tmp_path, opset=3)
    assert not list(tmp_path.glob(".*"))
