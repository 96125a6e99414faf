"""Every kind of page in a browser: wide and on a phone, light and dark, all parts open, with the keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from browser.pages import PAGES

pytestmark = pytest.mark.slow

CHECKS = (Path(__file__).parent / "checks.js").read_text(encoding="utf-8")
SMALLEST = 10  # px of any text
SIZES = {"wide": (1440, 900), "phone": (390, 844)}
GRAVE = ("serious", "critical")


@pytest.fixture(scope="session", params=PAGES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return PAGES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(params=[(size, scheme) for size in SIZES for scheme in ("light", "dark")], ids=" ".join)
def page(request: pytest.FixtureRequest, browser: Any, made: Path) -> Iterator[Any]:
    """The page, opened; what the browser complained about is in ``complaints``."""
    size, scheme = request.param
    width, height = SIZES[size]
    opened = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    opened.complaints = []
    opened.on(
        "console", lambda m: opened.complaints.append(m.text) if m.type in ("error", "warning") else None
    )
    opened.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.on("requestfailed", lambda request: opened.complaints.append(request.url[:80]))
    opened.goto(made.as_uri())
    yield opened
    opened.close()


def test_nothing_is_wrong_to_see(page: Any) -> None:
    assert page.evaluate(CHECKS, {"smallest": SMALLEST}) == []
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.evaluate(CHECKS, {"smallest": SMALLEST}) == []
    assert page.complaints == []


FAULTY = """<body style="margin: 0"><p style="font-size: 9px">tiny</p>
<div style="position: relative">one<span style="position: absolute; left: 4px; top: 0">two</span></div>
<div style="width: 2000px" id="broad">a</div>
<svg><text x="10" y="25">label</text><line x1="20" x2="20" y1="0" y2="40" stroke="red"/></svg>
<svg viewBox="0 0 100 10" width="50" height="5"><text font-size="16" y="9">shrunk</text></svg>"""


def test_the_checks_find_what_is_wrong(browser: Any) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.set_content(FAULTY)
    wide, *others = page.evaluate(CHECKS, {"smallest": SMALLEST})
    page.close()
    assert wide.startswith("the page is 2000 px wide in a window of 390 px") and "div#broad" in wide
    assert others == [
        "text of 9.0 px: tiny",
        "text of 8.0 px: shrunk",
        "these overlap: one / two",
        "a line runs through: label",
    ]


def test_axe_finds_no_serious_violation(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    page.evaluate(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run({ resultTypes: ['violations'] })")["violations"]
    said = [f"{v['help']}: {n['html'][:200]}" for v in found if v["impact"] in GRAVE for n in v["nodes"]]
    assert said == []


def test_all_of_it_is_reached_with_the_keyboard(page: Any) -> None:
    wanted = page.evaluate(FOCUSABLE)
    reached = []
    for _ in range(len(wanted) + 5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUSED))
    seen = {found["name"]: found["shown"] for found in reached if found}
    assert [name for name in wanted if name not in seen] == []
    assert [name for name, shown in seen.items() if not shown] == []


def test_a_folded_part_opens_with_the_keyboard(page: Any) -> None:
    for summary in page.locator("summary").all()[:2]:
        was = summary.evaluate("(s) => s.parentElement.open")
        summary.focus()
        page.keyboard.press("Enter")
        assert summary.evaluate("(s) => s.parentElement.open") != was


NAME = """(e) => e.dataset.place ??=
    String(window.places = (window.places ?? 0) + 1) + ' ' + e.outerHTML.slice(0, 80)"""
# One radio button of a group is enough: the arrow keys reach the others.
FOCUSABLE = f"""() => [...document.querySelectorAll(
    "a[href], button, input, select, summary, [tabindex='0']")]
  .filter((e) => e.checkVisibility() && (e.type !== "radio" || e.checked)).map({NAME})"""
FOCUSED = f"""() => {{
  const e = document.activeElement;
  if (!e || e === document.body) return null;
  const drawn = [e, e.nextElementSibling].some((x) => x && getComputedStyle(x).outlineStyle !== "none");
  return {{ name: ({NAME})(e), shown: drawn }};
}}"""
