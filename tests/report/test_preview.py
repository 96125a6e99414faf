"""The page of example views: what it shows, and that an inexact replay is reported first."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from equissl.report import Parameter, ParameterChange, Preview, ViewExamples, write_preview

PIXEL = "data:image/png;base64,AAAA"
ROWS = (
    Parameter("hue", "turns", 0.0, (0.25, -0.125), (True, False)),
    Parameter("flip", "", False, (True, False), (True, True)),
    Parameter("<b>order", "", (0, 1), ((1, 0), (0, 1)), (True, True)),
)
FILES, SHOWN = ("x.png", "y.png"), (PIXEL, PIXEL)
VIEWS = (PIXEL + "A", PIXEL + "B")
VIEW = ViewExamples("a", (("Flip", "Flip()"),), ROWS, (0, 1), VIEWS, VIEWS, (0.0, 0.0), PIXEL)
CHANGE = ParameterChange("a to b", ROWS[:1])
PREVIEW = Preview("Views of r: a", (("seed", "0"),), FILES, {"source": SHOWN}, (VIEW,), (CHANGE,))


def test_the_page(tmp_path: Path) -> None:
    html = write_preview(PREVIEW, tmp_path / "new" / "views.html").read_text(encoding="utf-8")
    assert html.count("<img") == 5
    assert "\N{MINUS SIGN}45.0" in html and 'class="off" title="not applied"' in html
    assert "<td>1 0</td>" in html and "<td>yes</td>" in html and "<small>°</small>" in html
    assert "a to b</th>" in html and "replays exactly" in html
    assert "&lt;b&gt;order" in html and "<b>" not in html
    assert "prefers-color-scheme: dark" in html and "Warning</h2>" not in html
    assert "<script" not in html and "http" not in html and "url(" not in html


def test_an_inexact_replay_is_reported_first(tmp_path: Path) -> None:
    wrong = replace(PREVIEW, views=(replace(VIEW, differences=(0.0, 0.0625)),))
    html = write_preview(wrong, tmp_path / "views.html").read_text(encoding="utf-8")
    assert "differ by up to 0.062" in html[: html.index("x.png")] and "replays exactly" not in html
    assert html.count("<img") == 6 and "a, replay: 0.062" in html and wrong.difference == 0.0625


def test_parameters_sampled_otherwise_are_reported(tmp_path: Path) -> None:
    wrong = replace(PREVIEW, views=(replace(VIEW, sampled_again=False),))
    html = write_preview(wrong, tmp_path / "views.html").read_text(encoding="utf-8")
    assert "the parameters of a are others" in html and "replays exactly" not in html


def test_several_images_of_a_source_and_a_view_that_changes_nothing() -> None:
    other = tuple(f"{PIXEL}{k}" for k in range(4))
    rows = tuple(replace(p, values=p.values * 2, applied=p.applied * 2) for p in ROWS)
    orbit = ViewExamples("b", (), rows, (0, 0, 1, 1), other, other, (0.0,) * 4)
    plain = replace(VIEW, images=SHOWN)
    first, second = replace(PREVIEW, views=(plain, orbit), changes=()).cards()
    assert [s.label for s in first.shown] == ["source, a", "b 0", "b 1"]
    assert second.columns == ["a", "b 0", "b 1"] and second.caption == "y.png"
    assert [s.image for s in second.shown] == [PIXEL, other[2], other[3]]


def test_it_needs_no_torch(tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from equissl.report import Preview, write_preview; "
    code += "import pathlib; write_preview(Preview('t', (), ()), pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.html")], check=True)
