"""The page of example views: what it shows, and that an inexact replay is reported first."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from equissl.report import Parameter, Preview, Section, write_preview

PIXEL = "data:image/png;base64,AAAA"
ROWS = (
    Parameter("hue", "turns", 0.0, (0.25, -0.125), (True, False)),
    Parameter("flip", "", False, (True, False), (True, True)),
    Parameter("<b>order", "", (0, 1), ((1, 0), (0, 1)), (True, True)),
)
FILES, SHOWN = ("x.png", "y.png"), (PIXEL, PIXEL)
SECTION = Section("View a", ("Flip()",), ROWS, FILES, SHOWN, SHOWN, SHOWN, (0.0, 0.0), PIXEL)
PREVIEW = Preview("Views of r: a", (("seed", "0"),), (SECTION, Section("Change", (), ROWS[:1], FILES)))


def test_the_page(tmp_path: Path) -> None:
    html = write_preview(PREVIEW, tmp_path / "new" / "views.html").read_text(encoding="utf-8")
    assert html.count("<img") == 7 and html.count(PIXEL) == 7
    assert "\N{MINUS SIGN}0.12" in html and 'class="off" title="not applied"' in html
    assert "<td>1 0</td>" in html and "<td>yes</td>" in html and "<small>turns</small>" in html
    assert "&lt;b&gt;order" in html and "<b>" not in html
    assert "prefers-color-scheme: dark" in html and "Warning</h2>" not in html
    assert "<script" not in html and "http" not in html and "url(" not in html


def test_an_inexact_replay_is_reported_first(tmp_path: Path) -> None:
    wrong = replace(PREVIEW, sections=(replace(SECTION, differences=(0.0, 0.0625)),))
    html = write_preview(wrong, tmp_path / "views.html").read_text(encoding="utf-8")
    assert "differ by up to 0.062" in html[: html.index("View a</h2>")]
    assert '<td class="wrong">0.062</td>' in html and wrong.difference == 0.0625


def test_it_needs_no_torch(tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from equissl.report import Preview, write_preview; "
    code += "import pathlib; write_preview(Preview('t', (), ()), pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.html")], check=True)
