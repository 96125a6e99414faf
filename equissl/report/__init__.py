"""Reports on run folders: a comparison table, and self-contained HTML pages."""

from equissl.report.findings import Finding, finding
from equissl.report.html import check_page
from equissl.report.page import audit_text, comparison, run_folders, warnings_of, write, write_audits
from equissl.report.preview import Parameter, ParameterChange, Preview, ViewExamples, write_preview
from equissl.report.rows import NotARun
from equissl.report.steering import steering_of
from equissl.report.table import Table
from equissl.report.terminal import text

__all__ = [
    "Finding",
    "NotARun",
    "Parameter",
    "ParameterChange",
    "Preview",
    "Table",
    "ViewExamples",
    "audit_text",
    "check_page",
    "comparison",
    "finding",
    "run_folders",
    "steering_of",
    "text",
    "warnings_of",
    "write",
    "write_audits",
    "write_preview",
]
