"""The examples: each at most 60 lines, and each runs."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from equissl import augment, equivariance, invariance
from equissl.errors import UserError
from equissl.loss import SelfSupervisedLoss

FOLDER = Path(__file__).parents[1] / "examples"
IMAGES = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
POLICY = augment.presets.simclr(16)


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda p: p.stem)
def test_an_example_has_at_most_60_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60


def test_plain_pytorch() -> None:
    torch.manual_seed(0)
    losses = example("plain_pytorch").train(count=16, batch_size=8, epochs=1)
    assert len(losses) == 2 and all(map(math.isfinite, losses))


def test_lightning() -> None:
    pytest.importorskip("pytorch_lightning", reason="Lightning is not installed (uv run --group examples)")
    module = example("lightning_module")
    before = module.Pretraining("test_resnet").loss.calls
    options = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
    model = module.train(IMAGES, "test_resnet", 8, **options)
    assert model.loss.calls == before + 2


def test_lightly() -> None:
    pytest.importorskip("lightly", reason="lightly is not installed (uv run --group examples)")
    losses = example("lightly_simclr").train(IMAGES, 8)
    assert len(losses) == 2 and all(map(math.isfinite, losses))


def test_hugging_face() -> None:
    pytest.importorskip("transformers", reason="transformers is not installed (uv run --group examples)")
    backbone, losses = example("huggingface_backbone").train(IMAGES, steps=2)
    assert len(losses) == 2 and all(map(math.isfinite, losses))
    assert backbone(IMAGES[:2]).shape == (2, 32)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(FOLDER.glob("notebooks/*.ipynb")), ids=lambda p: p.stem)
def test_notebooks_run(path: Path, tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "stored outputs: clear them"
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    results = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert any("text/html" in o.get("data", {}) for o in results)
    assert any("image/png" in o.get("data", {}) for o in results) or path.stem == "pretrain"


@pytest.mark.slow
def test_own_dataset(tmp_path: Path) -> None:
    scores = example("own_dataset").main(tmp_path / "run", count=80, epochs=1)
    found = scores["audit/angle_degrees"]
    assert found.count == 74 and found.value > 0.5  # of 80; near duplicates are counted once


def loss_of(network: torch.nn.Module | int, **fields: object) -> SelfSupervisedLoss:
    views = {"plain": augment.Resize(16), "a": POLICY, "b": POLICY}
    base = None if isinstance(network, int) else invariance.SimCLR.Config(projector=(8, 4))
    modules = {"equimod": equivariance.EquiMod.Config(projector=(8, 4))}
    return SelfSupervisedLoss(network, views, base, modules, **fields)  # type: ignore[arg-type]


def small() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())


def test_each_call_in_training_draws_new_views_and_the_same_epoch_the_same() -> None:
    loss = loss_of(small(), size=32)
    first, second = (loss.make_views(IMAGES)["a"].images for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(loss.make_views(IMAGES, epoch=0)["a"].images, first)
    loss.eval()
    assert torch.equal(*(loss.make_views(IMAGES)["a"].images for _ in range(2)))


def test_features_made_elsewhere_give_the_same_term() -> None:
    network = small()
    whole, part = loss_of(network, size=32, weights={"equimod": 0.5}), loss_of(8)
    part.model.equivariance.load_state_dict(whole.model.equivariance.state_dict())
    views = whole.make_views(IMAGES, epoch=3)
    joint = network(torch.cat([v.images for v in views.values()])).split(len(IMAGES))
    features = dict(zip(views, joint, strict=True))
    expected = whole.terms(IMAGES, epoch=3)["equimod/contrast"]
    torch.testing.assert_close(0.5 * part.from_features(views, features), expected)
    assert sum(p.numel() for p in part.parameters()) < sum(p.numel() for p in whole.parameters())


def test_what_is_wrong_with_a_loss_is_said_in_words() -> None:
    with pytest.raises(UserError, match="size is missing"):
        loss_of(small())
    with pytest.raises(UserError, match="call from_features"):
        loss_of(8)(IMAGES)
    with pytest.raises(UserError, match=r"equimod reads view 'plain'; .*valid: a, b"):
        SelfSupervisedLoss(8, {"a": POLICY, "b": POLICY}, modules={"equimod": equivariance.EquiMod.Config()})
    with pytest.raises(UserError, match=r"weights: no module 'equi'; did you mean 'equimod'"):
        loss_of(8, weights={"equi": 1.0})
    with pytest.raises(UserError, match="nothing to learn from"):
        SelfSupervisedLoss(8, {"a": POLICY})
    part = loss_of(8)
    views = part.make_views(IMAGES)
    with pytest.raises(UserError, match="none of view 'plain'"):
        part.from_features(views, {})
    with pytest.raises(UserError, match=r"'plain' are \(16, 3\), expected \(B, 8\)"):
        part.from_features(views, dict.fromkeys(views, torch.zeros(16, 3)))
