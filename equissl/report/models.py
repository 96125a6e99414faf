"""Models of a report: runs grouped by recipe (seeds are one model), with display names."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from equissl.report.rows import Measure, Run, number


@dataclass(frozen=True)
class Model:
    """One column of the comparison: a model, trained once or with several seeds.

    Args:
        name: display name, unique in a report.
        keys: the field ``model`` in the score rows of each run.
        runs: one per seed.
    """

    name: str
    keys: tuple[str, ...]
    runs: tuple[Run, ...]

    def key(self, run: Run) -> str:
        """The field ``model`` in the score rows of one of its runs."""
        return next(k for k, r in zip(self.keys, self.runs, strict=True) if r is run)

    def rows(self, run: Run) -> list[Measure]:
        """The scores of this model, baselines included, in one of its runs."""
        return [m for m in run.scores if (m.model or run.folder.name) == self.key(run)]

    def encoder(self) -> str:
        """Equal for equal encoder configs, which share the random-init baseline."""
        config = self.runs[0].recipe.get("encoder")
        return json.dumps(config, sort_keys=True, default=str) if config else self.keys[0]

    def size(self) -> int:
        """The side of the images that it reads, 0 if its folder does not tell."""
        config = self.runs[0].recipe.get("encoder")
        facts = (m.facts.get("size") for run in self.runs for m in self.rows(run))
        sizes = [config.get("size") if isinstance(config, Mapping) else None, *facts]
        return next((int(n) for size in sizes if (n := number(size)) is not None), 0)


def models(runs: Sequence[Run]) -> tuple[Model, ...]:
    """Group runs into models, in the order of the runs.

    Runs are seeds of one model if they have recipes that differ in nothing but seeds, whatever their folders
    are called; nothing else is. Others with one name get the end of their folder as a suffix.
    """
    once = {run.folder.resolve(): run for run in runs}.values()
    by_key: dict[str, list[Run]] = {}
    for run in once:
        for key in run.model_names():
            by_key.setdefault(key, []).append(run)
    grouped: list[Model] = []
    for key, same in by_key.items():
        if len(same) == 1 or _seeds_of_one(same, key):
            grouped.append(Model(key, (key,) * len(same), tuple(same)))
        else:
            suffixes = _distinct_suffixes([run.folder for run in same])
            grouped += [Model(f"{key} ({s})", (key,), (r,)) for s, r in zip(suffixes, same, strict=True)]
    return _merged(grouped)


def _merged(separate: Sequence[Model]) -> tuple[Model, ...]:
    """Merge models of one run each whose recipes differ only in seeds, at the position of the first."""
    by_recipe: dict[str, list[Model]] = {}
    for model in separate:
        run = model.runs[0]
        # A module of the user's own is in no recipe, so equal recipes say nothing.
        comparable = len(model.runs) == 1 and run.recipe and not run.environment.get("own_backbone")
        same = json.dumps(_without_seeds(run.recipe), sort_keys=True, default=str) if comparable else ""
        by_recipe.setdefault(same or f"only {model.name}", []).append(model)
    merged: list[Model] = []
    for group in by_recipe.values():
        runs = tuple(model.runs[0] for model in group)
        seeds = {str(run.recipe.get("seed")) for run in runs}
        if len(group) == 1 or len(seeds) < len(group):
            merged += group
            continue
        keys = tuple(model.keys[0] for model in group)
        name = _common(keys)
        taken = {m.name for m in separate if m not in group} | {m.name for m in merged}
        merged.append(Model(keys[0] if name in taken else name, keys, runs))
    order = {id(model.runs[0]): index for index, model in enumerate(separate)}
    return tuple(sorted(merged, key=lambda model: order[id(model.runs[0])]))


def _common(names: Sequence[str]) -> str:
    """``simclr-seed0, simclr-seed1`` -> "simclr"; the first name if they share no beginning."""
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    start = "".join(letters[0] for letters in alike)
    return re.sub(r"([\W_]+s|[\W_]*seed)?[\W_]*$", "", start, flags=re.IGNORECASE) or names[0]


def seed(run: Run, key: str) -> object:
    """Training seed of a run; without a recipe, the seed of its score rows."""
    if "seed" in run.recipe:
        return run.recipe["seed"]
    return next((m.seed for m in run.scores if (m.model or run.folder.name) == key), 0)


def _seeds_of_one(runs: list[Run], key: str) -> bool:
    if not all(run.recipe and not run.environment.get("own_backbone") for run in runs):
        return False  # folders of one name may hold anything
    recipes = {json.dumps(_without_seeds(run.recipe), sort_keys=True, default=str) for run in runs}
    seeds = {str(seed(run, key)) for run in runs}
    return len(recipes) == 1 and len(seeds) == len(runs)


def _without_seeds(data: object) -> object:
    if isinstance(data, dict):
        return {k: _without_seeds(v) for k, v in data.items() if k != "seed"}
    return [_without_seeds(v) for v in data] if isinstance(data, list) else data


def _distinct_suffixes(folders: list[Path]) -> list[str]:
    """Shortest path suffixes that differ."""
    paths = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, paths)) + 1):
        ends = ["/".join(p[-length:]) for p in paths]
        if len(set(ends)) == len(ends):
            return ends
    raise ValueError(f"the same folder twice: {folders}")
