"""Reports on run folders: a comparison table, and self-contained HTML pages."""

from equissl.report.findings import headline
from equissl.report.html import check_page
from equissl.report.page import comparison, warnings_of, write
from equissl.report.preview import Parameter, Preview, Section, write_preview
from equissl.report.rows import NotARun
from equissl.report.steering import steering_of
from equissl.report.table import Table
from equissl.report.terminal import text

__all__ = [
    "NotARun",
    "Parameter",
    "Preview",
    "Section",
    "Table",
    "check_page",
    "comparison",
    "headline",
    "steering_of",
    "text",
    "warnings_of",
    "write",
    "write_preview",
]
