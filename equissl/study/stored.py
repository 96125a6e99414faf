"""``study.json``, the plan of a study's folder, as it is read back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equissl.config.validation import MAX_SEED, Checked, check_bounds
from equissl.errors import UserError
from equissl.storage import read_object
from equissl.study.plan import Bars, Layout, Measure, cell_name

STUDY = "study.json"
_COST = ("views", "images_per_step", "pixels")


@dataclass(frozen=True, kw_only=True)
class PlannedRun(Checked):
    """One run of the plan.

    Args:
        run: name of its folder in ``runs/``.
        labels: of its cell.
        cost: as ``plan.cost`` returns it.

    Raises:
        ValueError: the name leads to another folder, or a cost is missing.
    """

    run: str
    labels: Mapping[str, str]
    seed: int
    epochs: int
    cost: Mapping[str, float]

    def __post_init__(self) -> None:
        if self.run != f"{cell_name(self.labels)}-seed{self.seed}":
            raise ValueError(f"run={self.run[:80]!r} is not the name of a run of these labels and this seed")
        if set(self.cost) != set(_COST):
            raise ValueError(f"cost of {self.run} must have {', '.join(_COST)}, got {', '.join(self.cost)}")
        check_bounds(self, "seed", low=0, high=MAX_SEED)
        check_bounds(self, "epochs", low=0)


def read_plan(out: Path) -> dict[str, Any]:
    """The content of ``study.json``, of which what tables and figures need is checked.

    Raises:
        UserError: there is none, or it is not what a study writes.
    """
    path = out / STUDY
    plan = read_object(path)
    try:
        runs = [PlannedRun(**_object(run, "runs")) for run in _list(plan, "runs")]
        own = [f.name for f in dataclasses.fields(Layout) if f.name in plan]
        measures = tuple(_measure(_object(m, "measures")) for m in _list(plan, "measures"))
        figure = Bars(**_object(plan.get("figure"), "figure"))
        layout = Layout(**{n: plan[n] for n in own} | {"measures": measures, "figure": figure})
        layout.check_cells([run.labels for run in runs])
        if not isinstance(plan.get("command"), str):
            raise ValueError("command must be a text")
    except (ValueError, TypeError) as error:  # a field that is missing or unknown is a TypeError
        raise UserError(f"{path} is not what a study writes: {str(error)[:300]}") from error
    for name, value in _unset(Layout).items():
        plan.setdefault(name, value)
    return plan


def _measure(stored: Mapping[str, Any]) -> Measure:
    """A measure, whose stored name is its key."""
    measure = Measure(**stored)
    suffix = "" if measure.part == "all" else f"@{measure.part}"
    return dataclasses.replace(measure, name=measure.name.removesuffix(suffix))


def _unset(cls: type) -> dict[str, Any]:
    return {f.name: f.default for f in dataclasses.fields(cls) if f.default is not dataclasses.MISSING}


def _list(plan: Mapping[str, Any], name: str) -> list[Any]:
    value = plan.get(name)
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list, got {str(value)[:60]!r}")
    return value


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name}: expected an object, got {str(value)[:60]!r}")
    return value
