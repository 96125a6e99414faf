"""``equissl download``."""

from __future__ import annotations

from equissl.cli.arguments import Given
from equissl.data.packs.download import PUBLISHED, download
from equissl.errors import UserError, nearest
from equissl.progress import Display


def run(given: Given) -> None:
    """Fetch a dataset's files into a folder; goes on where an earlier call was interrupted."""
    name = given.things[0] if given.things else ""

    def check_name() -> None:
        if name and name not in PUBLISHED:
            raise UserError(f"nothing called {name!r} can be fetched; {nearest(name, PUBLISHED)}")

    given.check(check_name)
    url, sha256 = given["url"] or "", given["sha256"]
    with Display() as display:
        paths = download(name, given["out"], url=url, sha256=sha256, progress=display)
    print(f"wrote {', '.join(str(p) for p in paths)}")
    print(f"use it as it is: data=ThreeDIEBench(path={str(paths[-1])!r}); it is packed when first opened")
