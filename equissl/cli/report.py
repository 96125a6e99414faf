"""``equissl report``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from equissl import report
from equissl.cli.grammar.arguments import Arguments
from equissl.errors import UserError
from equissl.evaluate.audit.comparison import paired_rows
from equissl.text import printable


def run(args: Arguments) -> None:
    """Write the page and show the table."""
    folders = report.run_folders([Path(name) for name in args.positionals])
    args.check()
    out: Path = args["out"] or folders[0] / "report.html"
    report.check_page(out)
    try:
        table = report.comparison(folders)
        paired = paired_rows(folders)
        page = report.write(folders, out, paired)
    except report.NotARun as error:
        raise UserError(str(error)) from error
    console = Console()
    console.print(report.text(table, console.width) if table.groups else "There are no scores yet.")
    if audited := report.audit_text(folders, console.width, paired):
        print(audited)
    for line in report.warnings_of(folders):
        print(f"warning: {printable(line)}")
    print(f"report: {page}")
    if (beside := report.steering_of(folders, page)) is not None:
        print(f"steering: {beside}")
