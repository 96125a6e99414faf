"""``equissl quickstart``."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from equissl import report
from equissl.api.quickstart import check_out, quickstart, quickstart_recipes
from equissl.cli import shared
from equissl.cli.grammar.arguments import Arguments


def run(args: Arguments) -> None:
    """Two pretrainings, two evaluations, two audits, one page; started again it goes on where it stopped."""
    out: Path = args["out"]
    args.check(lambda: shared.device(args), lambda: check_out(out, quickstart_recipes(args["seed"])))
    began = time.monotonic()
    folders = quickstart(out, seed=args["seed"], device=shared.device(args), silent=False)
    table, console = report.comparison(folders), Console()
    console.print(report.text(table, console.width))
    print(*report.finding(table).lines(), sep="\n")
    print(f"report: {(out / 'report.html').resolve()}")
    print(f"took {(time.monotonic() - began) / 60:.1f} minutes; everything is in {out}")
