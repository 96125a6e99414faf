"""Every command and Python block of a tutorial, one after the other as a reader would, at tiny sizes."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import timm
import torch
from pages import ROOT, Block, blocks

from equissl.cli.main import main

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
# What makes a command small, beside or in place of what the page writes.
TINY = {
    "render": ("objects=40", "views=5", "size=32"),
    "pretrain": ("epochs=1", "batch_size=16", "monitor_every=0", "loggers=[]", "device=cpu"),
    "resume": ("epochs=2",),
    "evaluate": ("evaluations=knn", "count=40", "device=cpu"),
    "audit": ("factors=hue", "count=48", "draws=1", "untrained=2", "size=32", "device=cpu"),
    "repair": ("factors=hue", "count=40", "untrained=2", "epochs=1", "batch_size=16", "device=cpu"),
    "subspace": ("count=48", "device=cpu"),
}
# Weights that a reader downloads or has, and networks that take long.
MODELS = {
    "timm/resnet18@pretrained": "timm/test_resnet@weights.pth",
    "timm/resnet18@weights.pth": "timm/test_resnet@weights.pth",
    "timm/resnet18": "timm/test_resnet",
}


def tiny(command: str) -> list[str]:
    """The words of a command with small settings; those of a run keep their size, and factors their names."""
    words = [MODELS.get(w, w) for w in shlex.split(command, comments=True)]
    settings = [s for s in TINY.get(words[0], ()) if s.partition("=")[0] not in ("factors",)]
    settings += [s for s in TINY.get(words[0], ()) if s.startswith("factors=") and "factors=" not in command]
    if words[0] == "audit" and "runs/" in command:
        settings = [s for s in settings if not s.startswith("size=")]
    names = {s.partition("=")[0] for s in settings}
    return [w for w in words if w.partition("=")[0] not in names or "=" not in w] + settings


def carry_out(block: Block, space: dict[str, object]) -> None:
    if block.language == "python":
        exec(compile(block.text, "tutorial", "exec"), space)
    for command in block.commands():
        words = tiny(command)
        assert main(words) == 0, shlex.join(words)


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda p: p.stem)
def test_a_tutorial_does_what_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet").state_dict(), "weights.pth")
    space: dict[str, object] = {"__name__": "tutorial"}
    for block in blocks(page):
        carry_out(block, space)


def test_settings_of_the_page_give_way_to_tiny_ones() -> None:
    assert tiny("audit timm/resnet18@pretrained data=photos factors=crop count=300") == [
        *("audit", "timm/test_resnet@weights.pth", "data=photos", "factors=crop"),
        *("count=48", "draws=1", "untrained=2", "size=32", "device=cpu"),
    ]
