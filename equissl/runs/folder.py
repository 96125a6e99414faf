"""The run folder: what is in it, written so that a reader never sees half a file."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from equissl.config.components import cited, components, merged
from equissl.config.public import installed_version
from equissl.config.serialize import from_dict, to_dict
from equissl.config.validation import fits
from equissl.data.base import BadImage
from equissl.errors import UserError, nearest
from equissl.recipe import Recipe
from equissl.storage import atomic_folder, is_free, read_json, read_object, read_rows, write_json
from equissl.tables import Rows, html_table, write_csv
from equissl.text import shell_path

_SCORE: dict[str, type | tuple[type, ...]] = {  # numbers may be NaN: a score of too few samples
    **dict.fromkeys(("name", "part", "baseline", "unit"), str),
    "value": (int, float),
    **dict.fromkeys(("low", "high"), (int, float, NoneType)),
    "count": int,
}
COMPONENTS = "components.json"  # what the recipe is made of and what scored it, with papers


@dataclass(frozen=True)
class Run:
    """A run folder."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def recipe(self) -> Recipe:
        """The recipe the run was started with; errors as of ``read_recipe``."""
        return self.read_recipe()

    @property
    def log(self) -> Rows:
        """What was logged, a row per logged step and per epoch that was monitored."""
        return Rows(self.rows("log.jsonl"))

    @property
    def scores(self) -> Rows:
        """What was evaluated and audited, a row per score; errors as of ``read_scores``."""
        return Rows(self.read_scores())

    @property
    def environment(self) -> dict[str, Any]:
        """What its numbers depend on besides the recipe: versions, machine, command, counts."""
        return read_object(self.path / "environment.json")

    def read_recipe(self, trusted: Sequence[str] = ()) -> Recipe:
        """The recipe the run was started with.

        Args:
            trusted: packages whose code it may name.

        Raises:
            UserError: the file is damaged, or asks for what is not trusted.
        """
        path = self.path / "recipe.json"
        try:
            recipe: Recipe = from_dict(read_json(path), Recipe, trusted)
        except UserError as error:
            raise UserError([p if str(path) in p else f"{path}: {p}" for p in error.problems]) from error
        return recipe

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of ``log.jsonl`` or ``scores.jsonl``; a torn last line is left out."""
        return read_rows(self.path / name)

    def read_scores(self) -> list[dict[str, Any]]:
        """The rows of ``scores.jsonl``, each with what tables need of a ``Score``.

        Raises:
            UserError: a row has other fields, or of other types.
        """
        rows = self.rows("scores.jsonl")
        for row in rows:
            values = {name: row.get(name) for name in _SCORE}
            wrong = [n for n, v in values.items() if not isinstance(v, _SCORE[n]) or _is_odd(v)]
            if wrong:
                raise UserError(
                    f"{self.path / 'scores.jsonl'}: the row {str(row.get('name'))[:60]!r} has no valid "
                    f"{', '.join(wrong)}; remove the line"
                )
        return rows

    def _repr_html_(self) -> str:
        rows = [("recipe", str(self.environment.get("recipe") or "of your own"))]
        logged = {k: v for row in self.log for k, v in row.items()}
        rows += [(f"last {n}", f"{logged[n]:.6g}") for n in ("epoch", "step", "loss") if n in logged]
        return html_table((str(self.path), ""), [*rows, *self.recipe.lines()])


def _is_odd(value: object) -> bool:
    """A bool, or an integer that no float holds."""
    return isinstance(value, int) and (isinstance(value, bool) or abs(value) >= 2**63)


def create(
    out: Path,
    recipe: Recipe,
    extra: Mapping[str, Any],
    bad_images: Sequence[BadImage],
    save: Callable[[Path], object],
) -> Run:
    """Make a run folder with its recipe, the papers of its components and the environment, all or nothing.

    Args:
        save: writes the first checkpoint into a folder, so that a run folder can always be resumed.

    Raises:
        UserError: the folder exists and is not empty, or cannot be written.
    """
    check_free(out)
    with atomic_folder(out) as partial:
        write_json(partial / "recipe.json", to_dict(recipe))
        write_json(partial / "environment.json", {**environment(), **extra})
        write_json(partial / COMPONENTS, [c.row() for c in components(recipe)])
        write_bad_images(partial / "bad_images.csv", bad_images)
        save(Run(partial).checkpoints)
    return Run(out)


def cite(run: Run, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add the papers that score rows name to ``components.json``."""
    path = run.path / COMPONENTS
    stored = read_json(path) if path.is_file() else []
    known = [r for r in stored if fits(r, Mapping[str, str])] if isinstance(stored, list) else []
    new = [c.row() for c in cited({str(r["paper"]): str(r["group"]) for r in rows if r.get("paper")})]
    write_json(path, merged(known, new))


def check_free(out: Path) -> None:
    """Raises UserError if ``out`` cannot become a run folder."""
    if (out / "recipe.json").exists():
        raise UserError(
            f"out={out} already holds a run; continue it with `equissl resume {shell_path(out)}`, or choose "
            "another"
        )
    if (out.exists() and not out.is_dir()) or not is_free(out):
        raise UserError(f"out={out} is not an empty folder; choose another")
    if out.is_mount():
        raise UserError(f"out={out} is a mount point; choose a folder in it, such as out={out / 'first'}")
    above = next(p for p in out.resolve().parents if p.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise UserError(f"out={out} cannot be made: {above} is not a folder that you may write to")


def open_run(path: Path) -> Run:
    """An existing run folder.

    Raises:
        UserError: it is none; the message names the nearest run beside it.
    """
    if not (path / "recipe.json").is_file():
        raise UserError(f"{path} is not a run folder (no recipe.json in it); {nearest_run(path)}")
    return Run(path)


def nearest_run(path: Path) -> str:
    """A sentence that names the run folders beside ``path``, the nearest first."""
    beside = path.parent if path.parent.is_dir() else Path()
    runs = [str(p.parent) for p in beside.glob("*/recipe.json")]
    return nearest(str(path), runs) if runs else f"there is no run folder in {str(beside)!r}"


def write_bad_images(path: Path, bad: Sequence[BadImage]) -> None:
    write_csv(path, [["path", "reason"], *([b.path, b.reason] for b in bad)])


def environment() -> dict[str, Any]:
    """What a number depends on besides the recipe: versions, machine, commit."""
    import torch

    names = ("equissl", "torch", "torchvision", "timm", "lightning-fabric", "scikit-learn", "numpy")
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "cuda": cuda,
        "versions": {n: installed_version(n) for n in names},
        "commit": _commit(),
    }


def _commit() -> str | None:
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
