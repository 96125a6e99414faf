"""``study.json`` and rows from elsewhere: a table of what a study writes, or words."""

from __future__ import annotations

import copy
import json
import shutil
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from equissl.errors import UserError
from equissl.study.runner import tabulate

COST = {"views": 2, "images_per_step": 16, "pixels": 2.0}
RUNS = [
    {"run": f"{base}-seed0", "labels": {"base": base}, "seed": 0, "epochs": 1, "cost": COST} for base in "ab"
]
MEASURE = {"name": "knn/top1", "title": "kNN", "lower": False, "part": "all", "digits": 3}
PLAN: dict[str, Any] = {
    "title": "Study",
    "about": "",
    "command": "equissl study",
    "across": "",
    "runs": RUNS,
    "measures": [MEASURE],
    "figure": {"groups": "base", "series": "", "measures": []},
    "compare": ["base", "a"],
    "reference": None,
}
SCORE = {"name": "knn/top1", "part": "all", "baseline": "", "unit": "", "value": 0.5, "low": 0.4, "high": 0.6}
SCORE |= {"count": 9, "by": "evaluate"}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study folder with two scored runs, and a run outside of it."""
    out = tmp_path / "study"
    for folder in (out / "runs" / "a-seed0", out / "runs" / "b-seed0", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
        (folder / "scores.jsonl").write_text(json.dumps(SCORE))
        (folder / "environment.json").write_text("{}")
    (out / "study.json").write_text(json.dumps(PLAN))
    return out


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def changed(path: Sequence[str | int], value: object) -> dict[str, Any]:
    plan = copy.deepcopy(PLAN)
    place: Any = plan
    for step in path[:-1]:
        place = place[step]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return plan


def test_a_study_without_changes(study: Path) -> None:
    assert "| a | 2 | 2 | 16 | 1 | 1 | 0.500 |" in tabulate(study).read_text()


@pytest.mark.parametrize("absolute", [True, False])
def test_a_run_of_another_folder_is_not_read(study: Path, absolute: bool) -> None:
    elsewhere = study.parent / "elsewhere"
    name = str(elsewhere) if absolute else "../../elsewhere"
    (study / "study.json").write_text(json.dumps(changed(["runs", 0, "run"], name)))
    with pytest.raises(UserError, match="is not the name of a run"):
        tabulate(study)
    shutil.rmtree(elsewhere)
    assert not (study / "scores.jsonl").exists()


@pytest.mark.parametrize("value", [..., None, [], {}, "x", 5, 10**400, [1], {"a": 1}, ["knn/top1"]])
@pytest.mark.parametrize(
    "path",
    [
        *([name] for name in PLAN),
        *(["runs", 0], ["measures", 0], ["figure", "groups"], ["figure", "series"], ["figure", "measures"]),
        *(["runs", 0, name] for name in RUNS[0]),
        *(["runs", 0, "cost", name] for name in COST),
        *(["measures", 0, name] for name in MEASURE),
    ],
    ids=lambda p: "-".join(map(str, p)),
)
def test_a_plan_with_another_value_is_tabulated_or_refused_in_words(
    study: Path, path: Sequence[str | int], value: object
) -> None:
    (study / "study.json").write_text(json.dumps(changed(path, value)))
    problem = ""
    try:
        tabulate(study, draw=False)
    except UserError as error:
        problem = str(error)
    assert not problem or ("study.json" in problem and len(problem) < 600)


def test_a_plan_that_is_no_object(study: Path) -> None:
    for content in ("[1]", "null", "", "{"):
        (study / "study.json").write_text(content)
        with pytest.raises(UserError, match=r"study\.json"):
            tabulate(study)


@pytest.mark.parametrize("text", ["$\\frac$", "日本", "\0", "\ud800", "_a", "x" * 3000])
def test_texts_that_cannot_be_drawn(study: Path, text: str) -> None:
    plan = changed(["title"], text) | {"measures": [{**MEASURE, "title": text}]}
    (study / "study.json").write_text(json.dumps(plan))
    tabulate(study)
    assert (study / "figure.png").stat().st_size > 1000


@pytest.mark.parametrize("value", [1e308, -1e308, float("inf"), float("nan")])
def test_scores_that_cannot_be_drawn(study: Path, value: float) -> None:
    (study / "runs" / "a-seed0" / "scores.jsonl").write_text(json.dumps({**SCORE, "value": value}))
    tabulate(study)


@pytest.mark.parametrize("speed", [10**400, 1e-320, True, "x", 0, -1, float("nan")])
def test_speeds_that_make_no_sense(study: Path, speed: object) -> None:
    run = study / "runs" / "a-seed0"
    (run / "log.jsonl").write_text(json.dumps({"loss": 1.0, "images_per_second": speed}))
    (run / "recipe.json").write_text(json.dumps({"batch_size": 8}))
    tabulate(study, draw=False)
    for batch in (True, 10**400, "x", None):
        (run / "log.jsonl").write_text(json.dumps({"loss": 1.0, "images_per_second": 5.0}))
        (run / "recipe.json").write_text(json.dumps({"batch_size": batch}))
        with pytest.raises(UserError, match="batch_size must be an integer"):
            tabulate(study, draw=False)
