"""Which runs are seeds of one model, and what each model is called."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from equissl.report.rows import Measure, Run


@dataclass(frozen=True)
class Model:
    """One column of the comparison: a model, trained once or with several seeds.

    Args:
        name: what people read; unique among the models compared.
        key: the ``model`` its score rows carry.
        runs: one per seed.
    """

    name: str
    key: str
    runs: tuple[Run, ...]

    def rows(self, run: Run) -> list[Measure]:
        """The scores of this model, baselines included, in one of its runs."""
        return [m for m in run.scores if (m.model or run.folder.name) == self.key]

    def encoder(self) -> str:
        """A text that is equal for equal architectures, so that they can share a random baseline."""
        known = self.runs[0].recipe.get("encoder")
        return json.dumps(known, sort_keys=True, default=str) if known else self.key


def models(runs: Sequence[Run]) -> tuple[Model, ...]:
    """The models of some runs, in the order they were given.

    Runs whose rows carry the same model name are seeds of one model if their recipes differ in nothing but
    seeds; otherwise each is a model of its own, told apart by its folder.
    """
    once = {run.folder.resolve(): run for run in runs}.values()
    by_key: dict[str, list[Run]] = {}
    for run in once:
        for key in run.model_names():
            by_key.setdefault(key, []).append(run)
    found: list[Model] = []
    for key, same in by_key.items():
        if len(same) == 1 or _seeds_of_one(same, key):
            found.append(Model(key, key, tuple(same)))
        else:
            suffixes = _telling([run.folder for run in same])
            found += [Model(f"{key} ({s})", key, (r,)) for s, r in zip(suffixes, same, strict=True)]
    return tuple(found)


def seed(run: Run, key: str) -> object:
    """The seed a run was trained with; without a recipe, the seed its probes carry."""
    if "seed" in run.recipe:
        return run.recipe["seed"]
    return next((m.seed for m in run.scores if (m.model or run.folder.name) == key), 0)


def _seeds_of_one(runs: list[Run], key: str) -> bool:
    recipes = {json.dumps(_without_seeds(run.recipe), sort_keys=True, default=str) for run in runs}
    seeds = {str(seed(run, key)) for run in runs}
    return len(recipes) == 1 and len(seeds) == len(runs)


def _without_seeds(plain: object) -> object:
    if isinstance(plain, dict):
        return {k: _without_seeds(v) for k, v in plain.items() if k != "seed"}
    return [_without_seeds(v) for v in plain] if isinstance(plain, list) else plain


def _telling(folders: list[Path]) -> list[str]:
    """The shortest ends of some paths that differ."""
    paths = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, paths)) + 1):
        ends = ["/".join(p[-length:]) for p in paths]
        if len(set(ends)) == len(ends):
            return ends
    raise ValueError(f"the same folder twice: {folders}")
