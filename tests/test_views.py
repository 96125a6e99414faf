"""Views: shared draws, draws in between, orbits, and a user's own backbone by address."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from equissl.augment.base import Pipeline
from equissl.augment.color.color_jitter import ColorJitter
from equissl.augment.geometry.flip import HorizontalFlip
from equissl.augment.geometry.rotate import Rotate
from equissl.augment.orbits import QuarterTurns
from equissl.cli.main import main
from equissl.data.image_folder import write_images
from equissl.testing.objective import tiny_batch
from equissl.views import Between, SameAs, ViewSpec, make_views

SMOOTH = Rotate(degrees=(-90.0, 90.0))


def test_a_shared_draw_changes_two_images_alike() -> None:
    batch = tiny_batch(4)
    views = make_views(batch, {"a": ViewSpec(SMOOTH), "b": ViewSpec(SMOOTH, draw=SameAs("a"))}, seed=1)
    assert torch.equal(views["a"].images, views["b"].images)
    assert torch.equal(views["a"].params.values["rotation"], views["b"].params.values["rotation"])


def test_a_draw_in_between_lies_on_the_way() -> None:
    specs = {
        "start": ViewSpec(SMOOTH),
        "end": ViewSpec(SMOOTH),
        "middle": ViewSpec(SMOOTH, draw=Between("start", "end", 0.25)),
    }
    angle = {n: v.params.values["rotation"] for n, v in make_views(tiny_batch(6), specs, seed=1).items()}
    wanted = angle["start"] + 0.25 * SMOOTH.space["rotation"].between(angle["start"], angle["end"])
    torch.testing.assert_close(angle["middle"], wanted)


def test_what_has_nothing_in_between_says_so() -> None:
    policy = Pipeline((HorizontalFlip(), ColorJitter()))
    specs = {
        "start": ViewSpec(policy),
        "end": ViewSpec(policy),
        "middle": ViewSpec(policy, draw=Between("start", "end")),
    }
    with pytest.raises(TypeError, match="cannot be interpolated"):
        make_views(tiny_batch(16), specs, seed=1)


def test_an_orbit_holds_every_element_in_order() -> None:
    batch = tiny_batch(3)
    view = make_views(batch, {"small": ViewSpec(SMOOTH, orbit=QuarterTurns())}, seed=1)["small"]
    plain = make_views(batch, {"small": ViewSpec(SMOOTH)}, seed=1)["small"]
    assert view.images.shape[0] == 12 and len(view.params) == 12
    turns = view.params.values["quarter_turns"].flatten().tolist()
    assert turns == [0.0] * 3 + [1.0] * 3 + [2.0] * 3 + [3.0] * 3
    for k in range(4):
        assert torch.equal(view.images[3 * k : 3 * k + 3], plain.images.rot90(k, (2, 3)))


def test_the_epoch_changes_the_draw_and_the_batch_does_not() -> None:
    batch, specs = tiny_batch(6), {"a": ViewSpec(SMOOTH)}
    first, again, later = (make_views(batch, specs, 1, e)["a"].images for e in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, later)


OWN = """
import torch.nn as nn

def make(width=8):
    return nn.Sequential(nn.Conv2d(3, width, 3, 2), nn.ReLU())
"""


def test_ones_own_backbone_by_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found in the working directory; a run that names it is opened only with trust."""
    write_images(tmp_path / "photos", {"x": 40}, side=16)
    (tmp_path / "own_backbone_of_a_user.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    words = [
        "encoder.name=own_backbone_of_a_user:make",
        "encoder.stem=timm",
        "encoder.options={}",
        "epochs=1",
    ]
    fast = ["base.projector=8", "batch_size=16", "loggers=[]", "device=cpu", "monitor_every=0"]
    assert main(["pretrain", "data=photos", "out=run", *words, *fast]) == 0
    assert main(["embed", "run", "data=photos", "out=f.npz", "device=cpu"]) == 2
    trusting = ["trust=own_backbone_of_a_user", "device=cpu"]
    assert main(["embed", "run", "data=photos", "out=f.npz", *trusting]) == 0
