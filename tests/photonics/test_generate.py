"""Files of crystals: what is in them, restarting, and what a user may get wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from equissl.cli.main import main
from equissl.errors import Stopped, UserError
from equissl.photonics import generate as files
from equissl.photonics.data import Crystals
from equissl.photonics.dos import Spectrum, density_of_states
from equissl.photonics.generate import CrystalPlan, generate, load

FAST = Spectrum(order=2, grid=5, bands=6, kept=60)


def plan(**changes) -> CrystalPlan:
    return CrystalPlan(**{"kind": "gpm", "count": 10, "labelled": 4, "size": 16, "spectrum": FAST, **changes})


def test_what_is_in_a_file(tmp_path: Path) -> None:
    out = tmp_path / "made" / "x.safetensors"
    assert generate(plan(), out) == 10
    stored = load(out)
    assert stored.plan == plan() and list(out.parent.iterdir()) == [out]
    assert stored.epsilon.shape == (10, 16, 16) and stored.dos.shape == (4, 60)
    wanted = density_of_states(stored.epsilon[-4:], FAST)
    torch.testing.assert_close(stored.dos, wanted.float(), atol=1e-5, rtol=1e-4)
    before = out.read_bytes()
    assert generate(plan(), out) == 0 and out.read_bytes() == before


def test_a_longer_file_starts_with_the_same_cells(tmp_path: Path) -> None:
    generate(plan(labelled=0), tmp_path / "a")
    generate(plan(labelled=0, count=14), tmp_path / "b")
    assert torch.equal(load(tmp_path / "a").epsilon, load(tmp_path / "b").epsilon[:10])
    generate(plan(labelled=0, seed=1), tmp_path / "c")
    assert not torch.equal(load(tmp_path / "a").epsilon, load(tmp_path / "c").epsilon)


def test_interrupted_and_started_again_is_never_interrupted(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(files, "CHUNK", 3)
    generate(plan(), tmp_path / "whole")

    class Requested:
        requested = True

        def __enter__(self) -> Requested:
            return self

        def __exit__(self, *error: object) -> None: ...

    with monkeypatch.context() as patched:
        patched.setattr(files, "Interruption", Requested)
        with pytest.raises(Stopped, match="interrupted after 3 of 10 cells"):
            generate(plan(), tmp_path / "parts")
    with pytest.raises(UserError, match="has parts of another plan"):
        generate(plan(seed=5), tmp_path / "parts")
    assert generate(plan(), tmp_path / "parts") == 7
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["parts", "whole"]


def test_the_dataset(tmp_path: Path) -> None:
    path = tmp_path / "x"
    generate(plan(), path)
    stored, data = load(path), Crystals(path=str(path), size=16, test_size=2)
    train, test = data.open("train"), data.open("test")
    assert len(train) == 8 and len(test) == 2
    assert train.labelled.tolist() == [6, 7] and test.labelled.tolist() == [0, 1]
    torch.testing.assert_close(1 + 19 * train.images[:, 0], stored.epsilon[:8])
    assert torch.equal(test.spectra, stored.dos[-2:])
    torch.testing.assert_close(test.params.values["fill"][:, 0], stored.fill[-2:])


def test_mistakes_with_files(tmp_path: Path) -> None:
    path = tmp_path / "x"
    generate(plan(labelled=0), path)
    with pytest.raises(UserError, match="is not of this plan"):
        generate(plan(labelled=0, seed=1), path)
    with pytest.raises(UserError, match="is not of this plan"):
        generate(plan(), tmp_path)
    for wrong, message in (
        ({"size": 32}, "have 16 pixels"),
        ({"size": 16, "test_size": 10}, "has 10 cells"),
    ):
        with pytest.raises(UserError, match=message):
            Crystals(path=str(path), **wrong).open("train")
    with pytest.raises(UserError, match="equissl render photonics"):
        Crystals(path=str(tmp_path / "none")).open("train")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UserError, match="is not a crystal file"):
        Crystals(path=str(tmp_path / "text")).open("train")
    with pytest.raises(ValueError, match="test_size must be at least 1"):
        Crystals(test_size=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "p5"}, "no such kind of cell"),
        ({"count": 0}, "count must be in"),
        ({"labelled": 11}, "labelled must be 0 ... count=10"),
        ({"size": 15}, "size must be even"),
        ({"size": 8}, "at least 10 pixels for order 2"),
        ({"harmonics": 9}, "harmonics must be 0 ... 8"),
    ],
)
def test_mistakes_in_a_plan(wrong, message) -> None:
    with pytest.raises(UserError, match=message):
        plan(**wrong)


def test_the_command(tmp_path: Path, capsys) -> None:
    words = ["render", "photonics", "kind=p4m", "count=3", "labelled=1", "grid=3", "order=3", "size=16"]
    assert main([*words, f"out={tmp_path / 'x'}"]) == 0
    assert "cells/s" in capsys.readouterr().out
    assert load(tmp_path / "x").dos.shape == (1, 400)
    assert main([*words, f"out={tmp_path / 'x'}"]) == 0
    assert "cells/s" not in capsys.readouterr().out
    assert main(["render", "photonics", "kind=p9", "count=0", f"out={tmp_path / 'y'}", "size=31"]) == 2
    message = capsys.readouterr().err
    assert "no such kind of cell" in message and "count must be" in message and "size must be even" in message
    assert main(["render", "photonics", "kind=pm", "count=3", f"out={tmp_path / 'y'}", "grid=4"]) == 2
    assert "grid must be odd" in capsys.readouterr().err
