"""The files of an audit: rows, predictions, example images and what it was run with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from equissl import report
from equissl.evaluate.audit.comparison import paired_rows
from equissl.evaluate.audit.record import AuditRecord
from equissl.evaluate.base import Score
from equissl.runs.folder import environment
from equissl.storage import write_json, write_rows


def write_audit(
    folder: Path | str, scores: Sequence[Score], record: AuditRecord, facts: Mapping[str, Any]
) -> Path:
    """Write what ``audit`` returned and kept into a folder that ``write_audit_report`` reads.

    Args:
        record: what ``audit`` called ``keep`` with.
        facts: of every row: "model" (its name), "data", "weights", "size", "mean", "std".

    Returns:
        The folder.
    """
    folder = Path(folder)
    record.write(folder)
    write_json(folder / "environment.json", environment())
    write_rows(folder / "scores.jsonl", [{**s.row(), **facts} for s in scores])
    return folder


def write_audit_report(folders: Sequence[Path | str], out: Path | str) -> list[Path]:
    """Write ``report.html``, ``audit.json`` and ``audit.md`` of some audits into a folder.

    Args:
        folders: of ``write_audit``, or runs that were audited. Where the images and the seed are the same,
            differences between the encoders are paired.
    """
    paths, out = [Path(f) for f in folders], Path(out)
    paired = paired_rows(paths)
    page = report.write(paths, out / "report.html", paired)
    return [page, *report.write_audits(paths, out, paired)]
