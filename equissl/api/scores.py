"""What an audit or an evaluation returns: a list of scores that shows itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from equissl.errors import UserError, nearest
from equissl.evaluate.base import Score
from equissl.report.in_memory import Shown, shown
from equissl.tables import data_frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Scores(list[Score]):
    """Scores of one model and its baselines: a list that prints and plots itself and that pandas takes.

    Args:
        scores: of the model, those of baselines beside them.
        facts: of all of them: "model" (its name), "data", "weights", "size", "mean", "std".

    >>> scores = Scores([Score("knn/top1", 0.5, count=80), Score("knn/top1", 0.1, baseline="random")])
    >>> scores["knn/top1"].value
    0.5
    """

    def __init__(self, scores: Iterable[Score] = (), facts: Mapping[str, Any] | None = None):
        super().__init__(scores)
        self.facts = dict(facts or {})

    def __getitem__(self, key: Any) -> Any:
        """A score by position or by name ("audit/hue", "knn/top1"): the model's own, of all its features.

        Raises:
            UserError: no score has that name.
        """
        if not isinstance(key, str):
            found = super().__getitem__(key)
            return Scores(found, self.facts) if isinstance(key, slice) else found
        own = {s.name: s for s in self if not s.baseline and s.part == "all"}
        if key not in own:
            raise UserError(f"there is no score {key!r}; {nearest(key, own)}")
        return own[key]

    def rows(self) -> list[dict[str, Any]]:
        """Plain data, one row per score, as in ``scores.jsonl``."""
        rows: list[dict[str, Any]] = json.loads(json.dumps([{**s.row(), **self.facts} for s in self]))
        return rows

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame``: name, title, value, low, high, unit, baseline, part, count, verdict, model.

        Raises:
            UserError: pandas is not installed.
        """
        names = ("name", "title", "value", "low", "high", "unit", "baseline", "part", "count")
        columns: dict[str, list[Any]] = {n: [getattr(s, n) for s in self] for n in names}
        columns["verdict"] = [s.extra.get("verdict", "") for s in self]
        return data_frame({**columns, "model": [self.facts.get("model", "")] * len(self)})

    def plot(self, ax: Axes | None = None) -> Axes:
        """A line per score with its 95 % interval, and what untrained networks score, as matplotlib draws it.

        Args:
            ax: drawn into; a figure of its own if absent.
        """
        found = self._shown()
        if ax is None:
            import matplotlib.pyplot as plt

            count = sum(not s.baseline and s.part == "all" for s in self)
            ax = plt.subplots(figsize=(6.5, 1.0 + 0.28 * max(count, 1)), layout="constrained")[1]
        return found.plot(ax)

    def _shown(self) -> Shown:
        return shown(self.rows(), str(self.facts.get("model") or "the model"))

    def __repr__(self) -> str:
        if not any(not s.baseline for s in self):
            return "no scores"
        return self._shown().text(min(shutil.get_terminal_size().columns, 100))

    def _repr_html_(self) -> str:
        return self._shown().html()
