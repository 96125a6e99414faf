"""The page: complete, self-contained, escaped, the same every time, whatever state the runs are in."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report.fake_runs import INVARIANT, build_run, lines, log_rows, recipe, row

from equissl.cli.main import main
from equissl.report import NotARun, write
from equissl.report.papers import papers
from equissl.report.rows import read

VOID = {"meta", "img", "wbr", "br", "link", "input"}


class Page(HTMLParser):
    """Collects what a page loads, and checks that its elements close in order."""

    def __init__(self, html: str):
        super().__init__()
        self.links: list[tuple[str, str, str]] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [(tag, k, v or "") for k, v in attrs if k in ("src", "href", "xlink:href", "srcset")]
        self.ids += [v or "" for k, v in attrs if k == "id"]
        self.open += [] if tag in VOID else [tag]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page(runs: list[Path], out: Path) -> str:
    return write(runs, out).read_text(encoding="utf-8")


def test_the_page_holds_everything(pair: tuple[Path, Path], tmp_path: Path) -> None:
    html = page(list(pair), tmp_path / "new" / "report.html")
    parsed = Page(html)
    shown = re.sub(r"\s+", " ", " ".join(parsed.words))
    assert parsed.open == []
    assert "equivariant keeps hue, floor hue, brightness" in shown
    assert "1.0 \N{MULTIPLICATION SIGN} EquiMod (temperature 0.2)" in shown
    assert "resnet18 (stem small)" in shown
    assert re.search(r"Time\s+2 min 5\d s", shown)  # 600 steps of 256 images at about 900 a second
    assert len(re.findall(r'class="curves-(?:wide|narrow)"', html)) == 2
    assert re.search(
        'aria-label="Floor hue: invariant 0.32, [a-z ]+; equivariant 0.91, kept; untrained 0', html
    )
    assert html.count("<img") == 4 + 2 + 4 * (1 + 6 + 6)  # data, augmentation, neighbours
    assert "@misc{equimod2023" in html and "@misc{simclr2020" in html
    assert '<html lang="en">' in html and "prefers-color-scheme: dark" in html
    assert 1000 < len(html) < 3_000_000


def test_the_page_loads_nothing_from_elsewhere(pair: tuple[Path, Path], tmp_path: Path) -> None:
    html = page(list(pair), tmp_path / "report.html")
    allowed = {f"https://arxiv.org/abs/{number}" for number in ("2002.05709", "2211.01244")}
    parsed = Page(html)
    assert len(set(parsed.ids)) == len(parsed.ids)
    for tag, _, target in parsed.links:
        inside = target.startswith("data:image/png;base64,") or target[1:] in parsed.ids
        assert inside or (tag == "a" and target in allowed), target
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style and "@import" not in style and "<script" not in html


def test_a_process_without_torch_gives_the_same_bytes(pair: tuple[Path, Path], tmp_path: Path) -> None:
    first = page(list(pair), tmp_path / "a.html")
    code = "import sys, pathlib; sys.modules['torch'] = None; from equissl.report import write; "
    code += "p = list(map(pathlib.Path, sys.argv[1:])); write(p[1:], p[0])"
    other = tmp_path / "b.html"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", code, str(other), *map(str, pair)], check=True, env=environment)
    assert other.read_text(encoding="utf-8") == first


def test_markup_in_names_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    evil = "<b>\"&'<script>alert(1)</script>"
    run = build_run(tmp_path / "run", evil, {"factor/$<b>$": (0.5, 0.1)}, modules=False)
    (run / "recipe.json").write_text(json.dumps({**recipe(False), "data": {"is": "m:<b>", "p<i>": evil}}))
    (run / "bad_images.csv").write_text(f"path,reason\n<b>.png,{evil}\n")
    near = {"image": "", "label": evil, "neighbours": [{"image": evil, "label": evil}]}
    (run / "neighbours.json").write_text(json.dumps({"queries": [near], "note": evil}))
    (run / "log.jsonl").write_text(lines([{**r, f"x/{evil}": r["step"]} for r in log_rows(False, 0, 30)]))
    html = page([run], tmp_path / "report.html")
    parsed = Page(html)
    assert parsed.open == []
    assert "<script" not in html and "<b>" not in re.sub(r'<b class="mark"[^>]*>', "", html)
    assert "".join(parsed.words).count(evil) >= 4
    assert "$<b>$" in "".join(parsed.words)


@pytest.mark.parametrize(
    ("missing", "gone"),
    [
        ("recipe.json", "Recipe of"),
        ("environment.json", "<dt>Command</dt>"),
        ("log.jsonl", "Training</h2>"),
        ("scores.jsonl", "What the features hold</h2>"),
        ("neighbours.json", "Nearest neighbours</h2>"),
        ("bad_images.csv", "skipped image"),
    ],
)
def test_without_a_file_its_section_vanishes(tmp_path: Path, missing: str, gone: str) -> None:
    run = build_run(tmp_path / "run", "simclr", INVARIANT, modules=False)
    (run / "bad_images.csv").write_text("path,reason\na.jpg,empty\n")
    assert gone in page([run], tmp_path / "report.html")
    (run / missing).unlink()
    html = page([run], tmp_path / "report.html")
    assert gone not in html and "<h2></h2>" not in html
    assert html.rstrip().endswith("</html>") and Page(html).open == []


def test_a_run_that_has_just_started_still_renders(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(recipe(True)))
    (tmp_path / "log.jsonl").write_text('{"step": 1, "epoch": 0.1, "lo')
    html = page([tmp_path], tmp_path / "report.html")
    assert "There are no scores yet." in html
    assert "the last line of log.jsonl is cut off" in html


def test_warnings_come_before_the_numbers(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", "byol", INVARIANT, modules=False)
    rows = [{**r, "std": 1e-4} for r in log_rows(False, 0)[:200]]
    (run / "log.jsonl").write_text(lines(rows) + '{"st')
    (run / "bad_images.csv").write_text("path,reason\na.jpg,truncated\nb.jpg,empty\n")
    html = page([run], tmp_path / "report.html")
    before = html[: html.index("Comparison</h2>")]
    assert (
        "byol: unfinished: the log ends at epoch 10 of 30; <code>equissl resume</code> continues it."
        in before
    )
    assert "byol: possible collapse: the last logged embedding std is 0.0001 (threshold 0.05)." in before
    assert "byol: 2 images were skipped (bad_images.csv); the first is a.jpg: truncated." in before


def test_the_command_prints_the_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = build_run(tmp_path / "run", "byol", INVARIANT, modules=False)
    (run / "bad_images.csv").write_text("path,reason\na\x1b.jpg,truncated\n")
    (run / "scores.jsonl").unlink()
    assert main(["report", str(run), f"out={tmp_path / 'report.html'}"]) == 0
    said = capsys.readouterr().out
    assert "warning: run: not evaluated yet" in said and "There are no scores yet." in said
    assert "1 image was skipped" in said and "\x1b" not in said


def test_a_finished_run_logged_rarely_is_not_called_unfinished(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", "byol", INVARIANT, modules=False)
    (run / "log.jsonl").write_text(lines(log_rows(False, 0)[49:590:100]))
    assert "unfinished" not in page([run], tmp_path / "report.html")


def test_many_images_and_long_logs_stay_below_three_megabytes(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", "byol", INVARIANT, modules=False)
    (run / "log.jsonl").write_text(lines(log_rows(True, 0, 8000)))
    image = "data:image/png;base64," + "A" * 100_000
    queries = [{"image": f"{image}{k:04d}", "neighbours": [{"image": image}] * 5} for k in range(12)]
    (run / "neighbours.json").write_text(json.dumps({"queries": queries}))
    html = page([run], tmp_path / "report.html")
    assert len(html) < 3_000_000
    assert "10 more queries left out" in html


def test_writing_is_all_or_nothing(pair: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text("the old one")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotARun):
        write([pair[0], tmp_path / "empty"], out)
    with pytest.raises(ValueError, match="no run"):
        write([], out)
    assert out.read_text() == "the old one"
    write(pair, out)
    assert "the old one" not in out.read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".report")] == []


def test_papers_are_those_that_the_runs_list(pair: tuple[Path, Path], tmp_path: Path) -> None:
    found = papers(map(read, pair))
    assert [(p.title, p.year, p.used_by) for p in found] == [
        ("Paper of SimCLR", "2020", ("SimCLR",)),
        ("Paper of EquiMod", "2023", ("EquiMod",)),
    ]
    assert found[0].url == "https://arxiv.org/abs/2002.05709"
    rows = [
        {"title": "MoCo v2", "bibtex": "@misc{a,\n  title = {{A\n    b}},\n}\n@misc{c,\n  year = {2020},\n}"},
        {"title": "unknown", "bibtex": 3},
        "nothing",
    ]
    (pair[0] / "components.json").write_text(json.dumps(rows))
    assert [(p.title, p.year, p.url) for p in papers([read(pair[0])])] == [("A b", "", ""), ("", "2020", "")]
    (pair[0] / "components.json").write_text("{}")
    assert "components.json could not be read" in page([pair[0]], tmp_path / "r.html")


def test_importing_the_report_is_light() -> None:
    code = (
        "import sys, equissl.report; heavy = {'torch', 'matplotlib', 'jinja2', 'numpy'} & set(sys.modules); "
    )
    code += "assert not heavy, heavy"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_stands_for_what_was_not_measured(tmp_path: Path) -> None:
    (tmp_path / "scores.jsonl").write_text(lines([row("m", "linear/top1", 0.5)]))
    html = page([tmp_path], tmp_path / "report.html")
    assert re.findall("<h2>(.*)</h2>", html) == [
        "Main numbers",
        "Comparison",
        "How to read this",
        "How this was made",
    ]


def test_a_run_without_an_audit_names_the_missing_command(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside one that was audited, instead of a column of dashes."""
    first, second = pair
    rows = [json.loads(x) for x in (first / "scores.jsonl").read_text().splitlines()]
    kept = [r for r in rows if not r["name"].startswith("audit/")]
    (first / "scores.jsonl").write_text(lines(kept))
    found = [
        {**json.loads(x), "data": "photos/all"} for x in (second / "scores.jsonl").read_text().splitlines()
    ]
    (second / "scores.jsonl").write_text(lines(found))
    assert main(["report", str(first), str(second)]) == 0
    said = capsys.readouterr()
    command = f"`equissl audit {first} data=photos/all`"
    assert f"invariant was not audited as equivariant was: {command} fills its column." in said.out
    audited = said.out.partition("factors (audit)")[2].partition("Equivariance")[0]
    assert audited.count("not measured") == 1 and re.search(r"Rotation \(R²\) +0\.85 ", audited)
    assert "was not audited as" in (first / "report.html").read_text()


def test_the_figures_of_the_readme_come_from_one_command(pair: tuple[Path, Path]) -> None:
    """Its table, text and image are of the same runs; the page's claim is quoted, not written."""
    path = Path(__file__).parents[2] / "benchmarks" / "quickstart_figures.py"
    script = runpy.run_path(str(path))
    shown = script["figures"]({0: list(pair)})
    assert "| 0 | equivariant | 0.78 | 0.87 | 0.72 |  | 0.85 | 0.91 |" in shown
    assert "begins: *equivariant keeps hue, floor hue, brightness and 4 more better" in shown
    assert "invariant 0.18 to 0.18 and equivariant 0.87 to 0.87" in shown
    readme = (path.parents[1] / "README.md").read_text(encoding="utf-8")
    assert readme.count(script["BEGIN"]) == readme.count(script["END"]) == 1
