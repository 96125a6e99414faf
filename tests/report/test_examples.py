"""Images of the data and of augmentations at the top of a page, and what a damaged file does to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report.fake_runs import examples as content

from equissl.report import write
from equissl.report.examples import examples
from equissl.report.rows import read


def test_each_stands_once_with_its_sentence(pair: tuple[Path, Path], tmp_path: Path) -> None:
    found = examples(map(read, pair))
    assert [(e.title, e.about, len(e.images)) for e in found] == [
        ("Solids", "Solids in many colours.", 4),
        ("Color jitter", "Change brightness and hue.", 2),
    ]
    html = write(pair, tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'alt="Color jitter, before"' in html and "<strong>Solids.</strong> Solids in many colours." in html


@pytest.mark.parametrize(
    "damaged",
    ["{", "[]", '{"data": 3, "augmentations": 4}', '{"augmentations": [[], {"original": 1}]}'],
)
def test_a_damaged_file_shows_nothing(pair: tuple[Path, Path], damaged: str) -> None:
    (pair[0] / "examples.json").write_text(damaged)
    assert examples([read(pair[0])]) == ()


def test_only_inline_images_are_shown(pair: tuple[Path, Path]) -> None:
    outside = json.dumps(content()).replace("data:image/png", "https://example.org")
    (pair[0] / "examples.json").write_text(outside)
    assert examples([read(pair[0])]) == ()
