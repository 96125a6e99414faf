"""``equissl report``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from equissl import report
from equissl.cli.grammar.arguments import Arguments
from equissl.errors import UserError
from equissl.text import printable


def run(args: Arguments) -> None:
    """Write the page and show the table."""
    folders = [Path(name) for name in args.positionals]
    args.check()
    out: Path = args["out"] or folders[0] / "report.html"
    report.check_page(out)
    try:
        table = report.comparison(folders)
        page = report.write(folders, out)
    except report.NotARun as error:
        raise UserError(str(error)) from error
    console = Console()
    console.print(report.text(table, console.width) if table.groups else "There are no scores yet.")
    for line in report.warnings_of(folders):
        print(f"warning: {printable(line)}")
    print(f"report: {page}")
    if (beside := report.steering_of(folders, page)) is not None:
        print(f"steering: {beside}")
