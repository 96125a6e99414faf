"""``equissl download``."""

from __future__ import annotations

from equissl.cli.grammar.arguments import Arguments
from equissl.data.packs.download import PUBLISHED, download
from equissl.errors import UserError, nearest
from equissl.progress import Display


def run(args: Arguments) -> None:
    """Fetch a dataset's files into a folder; goes on where an earlier call was interrupted."""
    name = args.positionals[0] if args.positionals else ""

    def check_name() -> None:
        if name and name not in PUBLISHED:
            raise UserError(f"nothing called {name!r} can be fetched; {nearest(name, PUBLISHED)}")

    args.check(check_name)
    url, sha256 = args["url"] or "", args["sha256"]
    with Display() as display:
        paths = download(name, args["out"], url=url, sha256=sha256, progress=display)
    print(f"wrote {', '.join(str(p) for p in paths)}")
    print(f"use it as it is: data=ThreeDIEBench(path={str(paths[-1])!r}); it is packed when first opened")
