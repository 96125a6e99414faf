"""``equissl embed``."""

from __future__ import annotations

from pathlib import Path

from equissl.api.embed import check_suffix, embed
from equissl.cli import shared
from equissl.cli.grammar.arguments import Arguments
from equissl.data.folder import existing_data
from equissl.progress import Display
from equissl.text import printable


def run(args: Arguments) -> None:
    """Features of every image that can be read; a file that cannot is listed with the reason."""
    out: Path | None = args["out"]
    args.check(
        lambda: check_suffix(out),
        lambda: existing_data(args["data"]),
        lambda: shared.device(args),
    )
    with Display() as display:
        (loaded,) = shared.load_models(args.positionals, args, display.say)
        table = embed(loaded, args["data"], out, device=shared.device(args), progress=display)
    print(f"wrote {out}: {len(table.files)} images x {table.features.shape[1]} features")
    for skipped in table.skipped:
        print(f"skipped {printable(skipped.path)}: {skipped.reason}")
