from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from equissl.errors import UserError
from equissl.evaluate.audit.comparison import compare, paired_rows
from equissl.evaluate.audit.readouts.examples import describe, natural, value_in_words
from equissl.evaluate.audit.readouts.interval import Resampled
from equissl.evaluate.audit.readouts.predictions import FILE, Predictions, read_predictions
from equissl.evaluate.audit.verdict import difference
from equissl.params import Binary, Circular, Cyclic, Real

COMMON = torch.randn(500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def score(value: float, seed: int) -> Resampled:
    own = torch.randn(500, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values = torch.tensor([value - 0.002, value + 0.002], dtype=torch.float64)
    return Resampled(values, value + 0.05 * COMMON + 0.005 * own, regress=True)


def predictions(hue: float, blur: float, seed: int = 1) -> Predictions:
    numbers, classes = torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
    return Predictions(
        ("a.png", "b\udcff.png", "c.png", "d.png"),
        0,
        {"hue": score(hue, seed), "blur": score(blur, seed + 10)},
        {"hue": numbers, "blur": classes},
        {"hue": numbers + 1, "blur": 1 - classes},
    )


def test_a_file_gives_back_what_was_kept(tmp_path: Path) -> None:
    kept = predictions(0.5, 0.2)
    kept.write(tmp_path / FILE)
    found = read_predictions(tmp_path / FILE)
    assert (found.images, found.seed, found.lengths()) == (kept.images, kept.seed, kept.lengths())
    assert torch.equal(found.predictions["blur"], kept.predictions["blur"])
    assert torch.equal(found.targets["hue"], kept.targets["hue"])
    assert torch.allclose(found.scores["hue"].resamples, kept.scores["hue"].resamples, atol=1e-6)


def test_stored_audits_are_compared_as_scores_are(tmp_path: Path) -> None:
    """The same difference as of the scores themselves, much narrower than unpaired."""
    models = {"a": predictions(0.6, 0.2), "b": predictions(0.5, 0.201, seed=2)}
    folders = []
    for name, kept in models.items():
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        kept.write(folders[-1] / FILE)
    rows = {r["name"]: r for r in paired_rows(folders)}
    expected = difference(models["a"].scores["hue"], [models["b"].scores["hue"]]).interval()
    hue = rows["audit/hue"]
    assert [hue["value"], hue["low"], hue["high"]] == pytest.approx(
        [expected.value, expected.low, expected.high], abs=1e-5
    )
    assert (hue["word"], rows["audit/blur"]["word"]) == ("more", "alike")
    assert {n: c.word for n, c in compare(models["b"], models["a"]).items()} == {
        "hue": "less",
        "blur": "alike",
    }


@pytest.mark.parametrize("change", [{"images": ("x",) * 4}, {"seed": 1}])
def test_other_images_or_seeds_are_not_paired(tmp_path: Path, change: dict[str, object]) -> None:
    first = predictions(0.6, 0.2)
    with pytest.raises(ValueError, match="other images"):
        compare(first, replace(first, **change))


@pytest.mark.parametrize("content", [b"", b"no safetensors", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(UserError, match=f"{FILE} holds no predictions"):
        read_predictions(tmp_path / FILE)


def test_changes_are_said_in_words() -> None:
    angle, hue = Circular("angle", unit="radians"), Circular("hue", period=1.0, unit="turns")
    assert describe(angle, float(natural(angle.relative(), torch.tensor([[0.0, -1.0]]))[0])) == "-90°"
    assert describe(hue, float(natural(hue.relative(), torch.tensor([[0.0, 1.0]]))[0])) == "+90°"
    assert describe(Cyclic("turn", order=4), 3.0) == "270°"
    assert [describe(Binary("flip"), k) for k in (0.0, 1.0)] == ["no", "yes"]
    factor = Real("brightness", neutral_value=1.0, scale=0.5, unit="factor")
    change = float(natural(factor.relative(), torch.tensor([[0.46]]))[0])
    assert describe(factor, change) == "\N{MULTIPLICATION SIGN} 1.23"


def test_recorded_values_are_said_in_words() -> None:
    yaw = Circular("yaw", unit="degrees", period=360.0)
    assert value_in_words(yaw, yaw.encode(torch.tensor([[215.0]]))[0]) == "215°"
    assert value_in_words(Real("size", unit="m"), torch.tensor([0.31])) == "0.31 m"
    assert value_in_words(Binary("ripe"), torch.tensor(1)) == "yes"
    assert value_in_words(Cyclic("variety", order=5), torch.tensor(3)) == "3"
    assert value_in_words(Cyclic("variety", order=2, levels=("green", "red")), torch.tensor(1)) == "red"
