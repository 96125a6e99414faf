"""The chart of a comparison and the short table: places, words, colours, and how many rows there are."""

from __future__ import annotations

import json
from pathlib import Path

from report.fake_runs import EQUIVARIANT, INVARIANT, build_run, lines

from equissl.report import write
from equissl.report.dumbbells import MAX_LINES, dumbbells, place, summary_lines
from equissl.report.models import models
from equissl.report.rows import read
from equissl.report.run_summary import provenance
from equissl.report.table import Table, build


def judged(run: Path, name: str, verdict: str) -> Path:
    rows = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    for row in rows:
        if row["name"] == name and not row["baseline"]:
            row["extra"] = {"verdict": verdict}
    (run / "scores.jsonl").write_text(lines(rows))
    return run


def table_of(*runs: Path) -> Table:
    return build(models([read(run) for run in runs]))


def test_a_row_holds_each_model_and_untrained_networks(pair: tuple[Path, Path]) -> None:
    judged(pair[0], "audit/brightness", "not readable")
    table = table_of(judged(pair[0], "factor/floor_hue", "lost"), judged(pair[1], "factor/floor_hue", "kept"))
    (first, truth), (second, audit) = dumbbells(table)
    assert (first, second) == ("Ground-truth factors", "Augmentation factors (audit)")
    hue = truth[0]
    assert hue.label == "Floor hue" and hue.ends == (32.2, 91.2)
    assert [(d.column.title, d.place, d.number, d.word, d.tone) for d in hue.dots] == [
        ("invariant", 32.2, "0.32", "partly lost", "bad"),
        ("equivariant", 91.2, "0.91", "kept", "good"),
    ]
    assert [kind for kind, _ in hue.ticks] == ["random"]
    assert hue.said.startswith("invariant 0.32, partly lost; equivariant 0.91, kept; untrained 0.")
    brightness = next(row for row in audit if row.label == "Brightness")
    below = brightness.dots[0]
    assert (below.place, below.number, below.word) == (0, "", "not readable")


def test_places_stay_on_the_chart() -> None:
    assert [place(v) for v in (-3, 0, 0.25, 1, 1.5)] == [0, 0, 25, 100, 100]


def test_the_short_table_holds_accuracies_and_the_widest_differences(pair: tuple[Path, Path]) -> None:
    found = [line.label for line in summary_lines(table_of(*pair))]
    assert len(found) == MAX_LINES
    assert found[:2] == ["Linear accuracy, top-1", "kNN accuracy, top-1"]
    assert "Floor hue" in found and "Hue" in found  # 0.59 and 0.69 apart
    assert "Light direction" not in found and "Crop left" not in found  # 0.02 and 0.07 apart
    alone = summary_lines(table_of(pair[0]))
    assert len(alone) == MAX_LINES


def test_the_page_names_what_made_its_numbers(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (model,) = models([read(pair[0])])
    assert dict(provenance(model)) == {
        "Data": "Solids (size 48, objects 800, views 4)",
        "Images": "3,200 to train on, scores of 2,000",
        "Weights": "trained for 600 steps from random weights",
        "Date": "2026-11-30 17:41:46 UTC",
        "Version": "equissl 0.1.0, torch 2.6.0 (commit 0123456789ab)",
        "Command": "equissl pretrain recipe=invariant 'out=my runs'",
    }
    html = write(pair, tmp_path / "report.html").read_text(encoding="utf-8")
    made = html[html.index('<section class="made">') :]
    assert made.count("<dt>Date</dt>") == 1 and made.count("<dt>Command</dt>") == 2  # what is common, once


def test_seeds_of_one_model_are_one_dot(tmp_path: Path) -> None:
    runs = [
        build_run(tmp_path / f"s{k}", "m", s, modules=False, seed=k) for k, s in enumerate([INVARIANT] * 2)
    ]
    other = build_run(tmp_path / "other", "other", EQUIVARIANT, modules=True)
    _, rows = dumbbells(table_of(*runs, other))[0]
    assert all(len(row.dots) == 2 for row in rows)
