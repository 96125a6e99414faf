"""Reports on run folders: a comparison table, and a self-contained HTML page."""

from equissl.report.claims import headline
from equissl.report.page import comparison, write
from equissl.report.rows import NotARun
from equissl.report.table import Table
from equissl.report.terminal import text

__all__ = ["NotARun", "Table", "comparison", "headline", "text", "write"]
