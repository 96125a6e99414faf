"""Results of the kit: one JSON file and one Markdown table, written whole after each part."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from equissl.storage import make_folder, write_json, write_text


@dataclass
class Results:
    """Rows by part.

    Args:
        folder: where ``results.json`` and ``results.md`` are written.
        environment: one line about the machine.
        seconds: of the whole call, counted from its making.
        imported: third-party modules that the parts needed.
    """

    folder: Path
    environment: str
    seconds: float
    rows: list[dict[str, Any]] = field(default_factory=list)
    imported: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds that are left, 0 at least."""
        return max(0.0, self.seconds - (time.monotonic() - self.began))

    def add(self, part: str, name: str, value: float | None, unit: str, note: str = "") -> None:
        """Add a row; ``value`` is None where nothing was measured, and ``note`` says why."""
        self.rows.append({"part": part, "name": name, "value": value, "unit": unit, "note": note})
        shown = "" if value is None else f"{value:,.4g} {unit}"
        print(" · ".join(t for t in (part, name, shown, note) if t), flush=True)

    def write(self) -> None:
        """Write both files, whole."""
        make_folder(self.folder)
        content = {"environment": self.environment, "minutes": self.seconds / 60, "rows": self.rows}
        content["imported"] = self.imported
        write_json(self.folder / "results.json", content)
        write_text(self.folder / "results.md", self.table())

    def table(self) -> str:
        lines = [self.environment, "", "| part | what | value | unit | note |", "|---|---|---|---|---|"]
        for row in self.rows:
            value = "" if row["value"] is None else f"{row['value']:,.4g}"
            note = row["note"].replace("|", "/")
            lines.append(f"| {row['part']} | {row['name']} | {value} | {row['unit']} | {note} |")
        return "\n".join([*lines, ""])
