"""``equissl replay-step``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from equissl.api.replay_step import replay_step
from equissl.augment.table import Table
from equissl.cli import shared
from equissl.cli.grammar.arguments import Arguments
from equissl.progress import Display

SHOWN = 16  # rows of the table on the terminal


def run(args: Arguments) -> None:
    """The losses of one step made again, what is not finite, and the images and views of its batch."""
    out: Path | None = args["out"]
    args.check(lambda: shared.device(args))
    with Display() as display:
        found = replay_step(
            Path(args.positionals[0]),
            args["step"],
            device=shared.device(args),
            progress=display,
            trusted=shared.trusted(args),
        )
    origin = f"the checkpoint of step {found.checkpoint}" if found.checkpoint else "the weights it began with"
    place = f"epoch {found.epoch}, batch {found.batch} of {found.batches}"
    print(f"step {found.step}: {place}, reached from {origin}")
    print(", ".join(f"{name} {value:g}" for name, value in found.terms.items()))
    print("\n".join(f"not finite: {name}" for name in found.not_finite) or "everything is finite in float32")
    if out is not None:
        found.table.to_csv(out)
        print(f"images and parameters of their views: {out}")
    else:
        columns = {name: cells[:SHOWN] for name, cells in found.table.columns.items()}
        print(Table(columns, found.table.units).text(Console().width))
        if len(found.table) > SHOWN:
            print(f"... {len(found.table)} views in all; out=FILE.csv writes them")
