"""``equissl download``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from equissl.cli.arguments import Given
from equissl.data.packs.download import THREEDIEBENCH, fetch
from equissl.errors import UserError, nearest
from equissl.progress import Display

KINDS = {"3diebench": THREEDIEBENCH}


def run(given: Given) -> None:
    """Fetch a dataset's files into a folder; goes on where an earlier call was interrupted."""
    name = given.things[0] if given.things else ""

    def check_name() -> None:
        if name and name not in KINDS:
            raise UserError(f"nothing called {name!r} can be fetched; {nearest(name, KINDS)}")

    given.check(check_name)
    archive, *lists = KINDS[name]
    if given["url"] is not None:
        archive = replace(archive, url=given["url"])
    archive = replace(archive, sha256=given["sha256"])
    out: Path = given["out"]
    with Display() as display:
        # The small ones first, so that a mistake in the address is seen before the long wait.
        paths = [fetch(remote, out, progress=display) for remote in (*lists, archive)]
    print(f"wrote {', '.join(str(p) for p in paths)}")
    print(f"use it as it is: data=ThreeDIEBench(path={str(paths[-1])!r}); it is packed when first opened")
