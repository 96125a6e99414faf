"""The steering page: reading and validating steering.json, and the page in a browser."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from report.fake_runs import INVARIANT, build_run

from equissl.report.page import write
from equissl.report.steering import page_beside, read_steering, steering_of, summaries, write_steering

CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
SVG = "http://www.w3.org/2000/svg"  # a name, which nothing is loaded from
EVIL = "<b>\"&'</script><script>alert(1)</script>"


def sheet(count: int) -> dict[str, object]:
    buffer = io.BytesIO()
    Image.new("RGB", (8 * count, 8), (200, 30, 30)).save(buffer, "PNG")
    image = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return {"image": image, "columns": count, "rows": 1, "count": count, "size": 8}


def sweep(name: str, first: int, **more: object) -> dict[str, object]:
    """Three values; the truths are versions ``first`` to ``first + 2`` beside a bank of four images."""
    return {
        "name": name,
        "unit": "degrees",
        "direction_labels": ["", ""],
        "values": [-30.0, 0.0, 30.0],
        "neutral_value": 0.0,
        "kind": "rendered",
        "nearest": [[1, 2], [2, 3], [3, 1]],
        "nearest_similarity": [[0.9, 0.8], [0.7, 0.6], [0.5, 0.4]],
        "nearest_distance": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
        "truth": [first, first + 1, first + 2],
        "similarity": [0.91, 0.99, 0.81],
        "identity_similarity": [0.5, 1.0, -0.25],
        "rank": [1, 1, 3],
        "num_candidates": [4, 4, 4],
        **more,
    }


def content_of(**more: object) -> dict[str, Any]:
    """What an evaluation writes, for two images with two sliders each."""
    sweeps = [sweep("yaw", 4), sweep("floor_hue", 7, unit="turns", values=[-0.5, 0.0, 0.5])]
    sources = [{"bank": k, "sprite": sheet(6), "identity_nearest": [2, 3], "sweeps": sweeps} for k in (0, 1)]
    bank = {"sprite": sheet(4), "labels": ["cup", "mug", "jug", "pot"], "groups": [0, 1, 0, 1]}
    return {"explorers": [{"name": "sie", "bank": bank, "sources": sources, **more}], "note": ""}


def run(folder: Path, content: object) -> Path:
    build_run(folder, folder.name, INVARIANT, modules=False)
    (folder / "steering.json").write_text(json.dumps(content))
    return folder


def test_the_report_gains_a_page(tmp_path: Path) -> None:
    folder = run(tmp_path / "r", content_of())
    report = write([folder], tmp_path / "my report.html")
    assert 'href="my%20report-steering.html"' in report.read_text(encoding="utf-8")
    page = page_beside(report).read_text(encoding="utf-8")
    assert steering_of([folder], report) == str(page_beside(report))
    assert "default-src 'none'" in page and set(re.findall(r"https?:[^\s\"']*", page)) == {SVG}
    assert page.count("data:image/png") == 3 and 'src="' not in page and "prefers-color-scheme: dark" in page
    again = write([folder], tmp_path / "b" / "my report.html")
    assert page_beside(again).read_text(encoding="utf-8") == page


def test_a_run_that_predicts_nothing_says_so(tmp_path: Path) -> None:
    folder = run(tmp_path / "plain", {"explorers": [], "note": "no module predicts"})
    report = write([folder], tmp_path / "report.html")
    assert "plain: no module predicts." in report.read_text(encoding="utf-8")
    assert not page_beside(report).exists()
    assert steering_of([folder], report) == "no module predicts"
    with pytest.raises(ValueError, match="nothing to steer"):
        write_steering([], tmp_path / "no.html")
    older = build_run(tmp_path / "older", "older", INVARIANT, modules=False)
    assert read_steering(older) is None and steering_of([older], report) is None
    assert "Steering" not in write([older], tmp_path / "older.html").read_text(encoding="utf-8")


def test_the_means_leave_the_neutral_value_out(tmp_path: Path) -> None:
    steered = read_steering(run(tmp_path / "r", content_of()))
    assert steered is not None
    yaw, hue = summaries(steered.explorers[0])
    assert (yaw.factor, hue.factor, yaw.count) == ("Yaw", "Floor hue", 4)
    assert (
        yaw.prediction == pytest.approx(0.86)
        and yaw.identity == pytest.approx(0.125)
        and yaw.hits_at_1 == 0.5
    )
    page = write_steering([steered], tmp_path / "s.html").read_text(encoding="utf-8")
    assert "the mean similarity of the prediction to the truth is higher for yaw and floor hue." in page


BAD: dict[str, Any] = {
    "an image from elsewhere": {
        "bank": {**content_of()["explorers"][0]["bank"], "sprite": {"image": "http://x/a.png"}}
    },
    "no sources": {"sources": None},
    "no name": {"name": 3},
}
for field, value in {
    "values": [float("nan"), 0.0, 1.0],
    "nearest": [[99, 0], [0, 1], [1, 2]],
    "nearest_similarity": [[0.1], [0.2], [0.3]],
    "truth": [4, 5],
    "rank": [1, -1, 2],
    "neutral_value": 7.0,
    "kind": "guessed",
    "nearest_distance": "far",
    "similarity": ["<b>", 0, 0],
}.items():
    source = {
        "bank": 0,
        "sprite": sheet(6),
        "identity_nearest": [1],
        "sweeps": [sweep("yaw", 4, **{field: value})],
    }
    BAD[field] = {"sources": [source]}


@pytest.mark.parametrize("more", BAD.values(), ids=BAD)
def test_an_invalid_file_is_left_out_with_a_note(more: dict[str, Any], tmp_path: Path) -> None:
    steered = read_steering(run(tmp_path / "r", content_of(**more)))
    assert steered is not None and steered.explorers == () and "invalid, left out" in steered.note
    assert "invalid, left out" in write([tmp_path / "r"], tmp_path / "report.html").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000, '{"explorers": [[]]}'])
def test_no_json_either(content: str, tmp_path: Path) -> None:
    folder = run(tmp_path / "r", {})
    (folder / "steering.json").write_text(content)
    steered = read_steering(folder)
    assert steered is not None and steered.explorers == () and steered.note


def evil() -> dict[str, Any]:
    content = content_of()
    explorer = content["explorers"][0]
    explorer["name"] = EVIL
    explorer["bank"]["labels"] = [EVIL] * 4
    explorer["sources"][0]["sweeps"] = [sweep(EVIL, 4, unit=EVIL, direction_labels=[EVIL, EVIL])]
    return content


def test_markup_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    steered = read_steering(run(tmp_path / "r", evil()))
    assert steered is not None
    page = write_steering([steered], tmp_path / "s.html").read_text(encoding="utf-8")
    assert page.count("<script") == page.count("</script>") == 2 and "<b>" not in page


def test_it_needs_no_torch(tmp_path: Path) -> None:
    folder = run(tmp_path / "r", content_of())
    code = "import sys, pathlib; sys.modules['torch'] = None; from equissl.report import write; "
    code += "p = list(map(pathlib.Path, sys.argv[1:])); write(p[:1], p[1])"
    subprocess.run([sys.executable, "-c", code, str(folder), str(tmp_path / "a.html")], check=True)
    assert (tmp_path / "a-steering.html").is_file()


def dump_dom(page: Path, tmp_path: Path, script: str = "", fragment: str = "") -> str:
    """The page in a browser, after a script of the test's has run on it."""
    assert CHROMIUM is not None
    copy = tmp_path / "driven.html"
    text = page.read_text(encoding="utf-8").replace("</body>", f"<script>{script}</script></body>")
    copy.write_text(text, encoding="utf-8")
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=2000",
        "--dump-dom",
    ]
    command += [f"--user-data-dir={tmp_path / 'profile'}", copy.as_uri() + fragment]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def part(dom: str, name: str) -> str:
    """The text of the element with this id."""
    element = re.search(rf'<(\w+)[^>]*\bid="{name}"[^>]*>(.*?)</\1>', dom, re.S)
    assert element is not None, name
    return html.unescape(re.sub(r"<[^>]+>", " ", element[2]))


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to move the sliders in")


@needs_chromium
def test_moving_a_slider_changes_the_results(tmp_path: Path) -> None:
    steered = read_steering(run(tmp_path / "r", content_of()))
    assert steered is not None
    page = write_steering([steered], tmp_path / "s.html")
    before = dump_dom(page, tmp_path)
    assert "No change. The prediction has similarity 0.99 with the truth" in part(before, "summary")
    assert re.findall(r"jug|pot|mug|cup", part(before, "nearest")) == ["jug", "pot"]
    move = "const slider = document.getElementById('slider-0'); slider.value = 2;"
    move += "slider.dispatchEvent(new Event('input', {bubbles: true}));"
    after = dump_dom(page, tmp_path, move)
    words = part(after, "summary")
    assert "Yaw: +30°" in words and "0.81" in words and "rank 3 of 4" in words and "\u22120.25" in words
    assert re.findall(r"jug|pot|mug|cup", part(after, "nearest")) == ["pot", "mug"]
    assert "5° off" in part(after, "nearest") and "same object" not in part(after, "nearest")
    assert 'aria-valuetext="+30°"' in after and after.count('class="slider active"') == 1
    place = re.compile(r'<line x1="([\d.]+)"[^>]*id="marker"')
    (first,), (second,) = place.findall(before), place.findall(after)
    assert float(second) > float(first) + 50


@needs_chromium
def test_another_slider_resets_the_first_and_a_link_opens_the_same(tmp_path: Path) -> None:
    steered = read_steering(run(tmp_path / "r", content_of()))
    assert steered is not None
    page = write_steering([steered], tmp_path / "s.html")
    move = "for (const k of [0, 1]) { const s = document.getElementById('slider-' + k); s.value = 2;"
    move += "s.dispatchEvent(new Event('input', {bubbles: true})); }"
    both = dump_dom(page, tmp_path, move)
    assert re.findall(r'aria-valuetext="([^"]*)"', both) == ["no change", "+0.50 turns"]
    linked = dump_dom(page, tmp_path, fragment="#image=1&slider=floor_hue&value=0.4")
    assert re.findall(r'aria-valuetext="([^"]*)"', linked) == ["no change", "+0.50 turns"]
    assert part(linked, "source-caption") == "mug" and part(both, "source-caption") == "cup"
    wrong = dump_dom(page, tmp_path, fragment="#image=77&slider=%3Cb%3E&value=x&model=-4")
    assert "No change" in part(wrong, "summary") and part(wrong, "source-caption") == "mug"


@needs_chromium
def test_a_browser_runs_no_foreign_markup(tmp_path: Path) -> None:
    steered = read_steering(run(tmp_path / "r", evil()))
    assert steered is not None
    dom = dump_dom(write_steering([steered], tmp_path / "s.html"), tmp_path)
    shown = dom[: dom.index('<script type="application/json"')]
    assert "<b>" not in shown and "<script>alert" not in shown
    assert EVIL in part(dom, "source-caption")


@needs_chromium
def test_images_without_a_truth(tmp_path: Path) -> None:
    blind = sweep("yaw", 4, kind="")
    source = {"bank": 0, "sprite": None, "identity_nearest": [1], "sweeps": [blind]}
    steered = read_steering(run(tmp_path / "r", content_of(sources=[source])))
    assert steered is not None
    dom = dump_dom(write_steering([steered], tmp_path / "s.html"), tmp_path, fragment="#slider=yaw&value=30")
    assert "This data has no truth for this change." in part(dom, "summary") and "pot" in part(dom, "nearest")
    assert summaries(steered.explorers[0]) == []
