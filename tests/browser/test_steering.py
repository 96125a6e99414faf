"""The steering explorer in a browser: where it opens, what a slider changes, links, and foreign markup."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from report.fake_runs import INVARIANT, build_run
from report.fake_steering import EVIL, content_of, evil, many, sweep

from equissl.report.steering import read_steering, write_steering
from equissl.storage import write_json

pytestmark = pytest.mark.slow

Opened = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Opened]:
    """Opens the explorer of some content in a window."""
    pages = []

    def open_page(content: object, fragment: str = "", width: int = 1440, height: int = 900) -> Any:
        folder = tmp_path / "r"
        if not folder.exists():
            build_run(folder, "r", INVARIANT, modules=False)
        write_json(folder / "steering.json", content)
        steered = read_steering(folder)
        assert steered is not None and not steered.note
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(write_steering([steered], tmp_path / "s.html").as_uri() + fragment)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()


def values(page: Any) -> list[str]:
    return [s.get_attribute("aria-valuetext") for s in page.locator("input[type=range]").all()]


def test_it_opens_where_the_prediction_helps_most(opened: Opened) -> None:
    page = opened(many())
    assert page.locator(".slider label").all_text_contents() == ["Hue+90°", "Crop to a sideno change"]
    words = page.locator("#summary").inner_text()
    assert words.split("\n")[0] == "Prediction helps here."
    assert "Hue: +90°: similarity 0.99 to the truth with prediction, 0.70 without." in words


def test_the_arrow_keys_move_a_slider(opened: Opened) -> None:
    page = opened(content_of())
    assert values(page) == ["+30°", "no change"]
    page.locator("#slider-0").focus()
    page.keyboard.press("ArrowLeft")
    words = page.locator("#summary").inner_text()
    assert values(page) == ["no change", "no change"] and words.startswith("No change.")
    assert re.findall(r"jug|pot|mug|cup", page.locator("#nearest").inner_text()) == ["jug", "pot"]
    before = float(page.locator("#marker").get_attribute("x1"))
    page.keyboard.press("ArrowRight")
    words = page.locator("#summary").inner_text()
    assert "Yaw: +30°" in words and "0.81" in words and "rank 3 of 4" in words and "\u22120.25" in words
    assert re.findall(r"jug|pot|mug|cup", page.locator("#nearest").inner_text()) == ["pot", "mug"]
    assert "5° off" in page.locator("#nearest").inner_text()
    assert float(page.locator("#marker").get_attribute("x1")) > before + 50
    page.locator("#reset").click()
    assert values(page) == ["no change", "no change"]


def test_another_slider_resets_the_first_and_a_link_opens_the_same(opened: Opened) -> None:
    page = opened(content_of())
    page.locator("#slider-1").focus()
    page.keyboard.press("End")
    assert values(page) == ["no change", "+180°"] and page.locator(".slider.active").count() == 1
    linked = opened(content_of(), "#image=1&slider=floor_hue&value=0.4")
    assert values(linked) == ["no change", "+180°"]
    assert linked.locator("#source-caption").inner_text() == "mug"
    wrong = opened(content_of(), "#image=77&slider=%3Cb%3E&value=x&model=-4")
    assert wrong.locator("#summary").inner_text().startswith("No change.")
    assert wrong.locator("#source-caption").inner_text() == "mug"


def test_the_images_stay_in_sight_while_sliders_are_moved_on_a_phone(opened: Opened) -> None:
    page = opened(many(), width=390, height=700)
    page.locator("#slider-1").scroll_into_view_if_needed()
    page.locator("#reset").scroll_into_view_if_needed()
    page.evaluate("document.getElementById('slider-1').scrollIntoView({ block: 'center' })")
    pair, slider = (page.locator(i).bounding_box() for i in ("#truth", "#slider-1"))
    assert pair["y"] >= 0 and pair["y"] + pair["height"] < slider["y"] < 700


def test_a_browser_runs_no_foreign_markup(opened: Opened) -> None:
    page = opened(evil())
    assert page.locator("b, script:not(#data)").count() == 1  # the page's own script
    assert EVIL in page.locator("#source-caption").inner_text()


def test_images_without_a_truth(opened: Opened) -> None:
    source = {"bank": 0, "sprite": None, "identity_nearest": [1], "sweeps": [sweep("yaw", 4, kind="")]}
    page = opened(content_of(sources=[source]), "#slider=yaw&value=30")
    assert "This data has no truth for this change." in page.locator("#summary").inner_text()
    assert "pot" in page.locator("#nearest").inner_text()
