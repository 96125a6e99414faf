"""What is read of run folders that are whole, half-written or no run at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report.fake_runs import INVARIANT, lines, row

from equissl.report.models import models
from equissl.report.rows import NotARun, read


def test_a_whole_run_is_read_without_complaint(pair: tuple[Path, Path]) -> None:
    run = read(pair[0])
    assert run.problems == ()
    assert run.model_names() == ("invariant",)
    assert len([m for m in run.scores if not m.baseline]) == len(INVARIANT)
    assert len(run.log) == 600
    assert len(run.queries) == 4
    assert run.queries[0].neighbours[0].similarity == 0.97
    assert run.recipe["epochs"] == 30


@pytest.mark.parametrize("name", ["log.jsonl", "scores.jsonl"])
def test_a_torn_last_line_costs_only_itself(pair: tuple[Path, Path], name: str) -> None:
    path = pair[0] / name
    whole = read(pair[0])
    path.write_text(path.read_text() + '{"step": 601, "lo')
    torn = read(pair[0])
    assert (torn.log, torn.scores) == (whole.log, whole.scores)
    assert torn.problems == (f"the last line of {name} is cut off: it is still being written, or was killed",)


def test_a_file_cut_inside_a_character_is_still_read(pair: tuple[Path, Path]) -> None:
    path = pair[0] / "log.jsonl"
    path.write_bytes(path.read_bytes() + '{"é'.encode()[:-1])
    assert len(read(pair[0]).log) == 600


def test_damage_in_the_middle_is_counted(pair: tuple[Path, Path]) -> None:
    path = pair[0] / "scores.jsonl"
    good = row("m", "linear/top1", 0.5)
    bad = [row("m", "linear/top5", float("nan")), row("m", "knn/top1", "0.5"), {"value": 1.0}]
    path.write_text("{nonsense}\n[1, 2]\n" + lines([good, *bad]))
    run = read(pair[0])
    assert [m.name for m in run.scores] == ["linear/top1"]
    assert "2 unreadable lines in scores.jsonl left out" in run.problems
    assert "3 of 4 scores are no finite number (or above 1e+100) and were left out" in run.problems


def test_what_cannot_be_read_is_named_and_what_is_missing_is_empty(pair: tuple[Path, Path]) -> None:
    (pair[0] / "neighbours.json").unlink()
    (pair[0] / "recipe.json").write_text("{")
    run = read(pair[0])
    assert run.problems == ("recipe.json could not be read as JSON and was left out",)
    assert run.recipe == {} and run.queries == ()


def test_only_inline_raster_images_are_let_in(pair: tuple[Path, Path]) -> None:
    outside = ["https://example.org/a.png", "javascript:alert(1)", "data:image/svg+xml;base64,AAAA", None]
    queries = [{"image": image, "neighbours": "none"} for image in outside]
    (pair[0] / "neighbours.json").write_text(json.dumps({"queries": [*queries, 3]}))
    assert [q.image.image for q in read(pair[0]).queries] == ["", "", "", ""]


def test_a_folder_that_is_no_run_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_text("")
    with pytest.raises(NotARun, match=r"photos is no run: it holds none of recipe\.json"):
        read(tmp_path / "photos")
    with pytest.raises(NotARun, match=r"nothing does not exist; expected a run folder"):
        read(tmp_path / "nothing")
    with pytest.raises(NotARun, match=r"a\.png is a file; expected a run folder"):
        read(tmp_path / "photos" / "a.png")


def test_bad_images_are_listed(pair: tuple[Path, Path]) -> None:
    (pair[0] / "bad_images.csv").write_text('path,reason\n"a, b.jpg",truncated\nc.png\n')
    assert read(pair[0]).bad_images == (("a, b.jpg", "truncated"), ("c.png", ""))


def test_the_same_folder_twice_is_one_run(pair: tuple[Path, Path]) -> None:
    again = pair[0] / ".." / pair[0].name
    assert len(models([read(pair[0]), read(again)])) == 1


def test_one_folder_may_score_several_models(tmp_path: Path) -> None:
    rows = [row("resnet18", "audit/hue", 0.4), row("vit", "audit/hue", 0.5)]
    (tmp_path / "scores.jsonl").write_text(lines(rows))
    assert [m.name for m in models([read(tmp_path)])] == ["resnet18", "vit"]
