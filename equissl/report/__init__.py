"""Reports on run folders: a comparison table, and self-contained HTML pages."""

from equissl.report.findings import headline
from equissl.report.page import comparison, write
from equissl.report.preview import Row, Section, Sheet, write_sheet
from equissl.report.rows import NotARun
from equissl.report.steering import steering_of
from equissl.report.table import Table
from equissl.report.terminal import text

__all__ = [
    "NotARun",
    "Row",
    "Section",
    "Sheet",
    "Table",
    "comparison",
    "headline",
    "steering_of",
    "text",
    "write",
    "write_sheet",
]
