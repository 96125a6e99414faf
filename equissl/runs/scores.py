"""``scores.jsonl`` of a run: one row per score, with what identifies the run and the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from equissl.data.base import Data
from equissl.evaluate.base import Score
from equissl.locks import folder_lock
from equissl.runs.folder import Run, cite
from equissl.runs.load import LoadedRun
from equissl.storage import read_object, write_rows


def record_scores(
    loaded: LoadedRun, scores: Iterable[Score], by: str, data: Data, split: str = "test", source: str = ""
) -> list[dict[str, Any]]:
    """Add rows to ``scores.jsonl``, in place of earlier ones of the same name, data and split.

    Args:
        by: what computed them: "evaluate", "audit" or a task's name.
        source: the rows' description of the data, instead of ``describe_data(data)``.
    """
    run = loaded.run
    facts = run_metadata(loaded, data) | {"by": by, "split": split}
    facts |= {"data": source} if source else {}
    rows = [{**s.row(), **facts, "probe_seed": s.seed} for s in scores]
    with folder_lock(run.path, ".scores.lock", wait=60):  # two evaluations may end at a time
        _replace_rows(run, rows)
    return rows


def _replace_rows(run: Run, rows: Sequence[Mapping[str, Any]]) -> None:
    replaced = [_identity(r) for r in rows]
    kept = [r for r in run.scores if _identity(r) not in replaced]
    write_rows(run.path / "scores.jsonl", [*kept, *rows])
    cite(run, rows)


def _identity(row: Mapping[str, Any]) -> list[Any]:
    return [row.get(name) for name in ("name", "data", "split")]


def run_metadata(loaded: LoadedRun, data: Data) -> dict[str, Any]:
    """The fields of a score row that identify the run and the data."""
    environment = read_object(loaded.run.path / "environment.json")
    return {
        "model": loaded.name,
        "recipe": environment.get("recipe", ""),
        "seed": loaded.recipe.seed,
        "data": describe_data(data),
        "step": loaded.step,
    }


def describe_data(data: Data, test: Data | None = None) -> str:
    """The kind and folder of a dataset, and those of test images from elsewhere."""
    where = getattr(data, "path", None)
    name = f"{type(data).__name__} {where}" if where else type(data).__name__
    return f"{name} -> {describe_data(test)}" if test is not None else name
