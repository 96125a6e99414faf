"""The steering page: reading and validating steering.json (in a browser: tests/browser)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from report.fake_runs import INVARIANT, build_run
from report.fake_steering import content_of, evil, sheet, sweep

from equissl.report.page import write
from equissl.report.steering import page_beside, read_steering, steering_of, summaries, write_steering

SVG = "http://www.w3.org/2000/svg"  # a name, which nothing is loaded from


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
