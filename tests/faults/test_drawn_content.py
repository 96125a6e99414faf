"""Rows with texts and numbers that matplotlib cannot draw: the page is written, without a warning."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from equissl.report import write
from equissl.report.groups import FACTORS

SCORE = {
    "name": "factor/hue",
    "title": "Hue",
    "value": 0.5,
    "low": 0.4,
    "high": 0.6,
    "count": 9,
    "unit": "R2",
}
SCORE |= {"group": next(iter(FACTORS))}


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def page(folder: Path, score: Mapping[str, object], logged: Mapping[str, object]) -> str:
    (folder / "scores.jsonl").write_text(json.dumps({**SCORE, **score}))
    rows = [{"loss": 1.0, "step": k, "images_per_second": 9.0, **logged} for k in (1, 2, 3)]
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "recipe.json").write_text(json.dumps({"batch_size": 8}))
    return write([folder], folder / "report.html").read_text()


@pytest.mark.parametrize("text", ["日本", "$\\frac$", "\0", "\ud800", "a" * 3000, "\n\n", "<script>alert(1)"])
def test_texts(tmp_path: Path, text: str) -> None:
    found = page(tmp_path, {"title": text, "unit": text}, {text: 1.0})
    assert found.count("<svg") == 3 and "<script" not in found and "\0" not in found


@pytest.mark.parametrize("value", [1e308, -1e308, 1e99, 5e-324, 10**400, True, "x"])
def test_numbers(tmp_path: Path, value: object) -> None:
    for score, logged in (
        ({"value": value, "low": value, "high": value}, {"loss": value}),
        ({"count": value}, {"step": value}),
        ({}, {"images_per_second": value, "data_wait": value, "std": value}),
    ):
        assert "</html>" in page(tmp_path, score, logged)


def test_more_quantities_than_panels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("equissl.report.figures.MAX_PANELS", 3)
    found = page(tmp_path, {}, {f"k{n}": 1.0 for n in range(9)})
    assert "7 more logged quantities are in log.jsonl." in found
