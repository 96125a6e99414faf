"""``equissl check``."""

from __future__ import annotations

from pathlib import Path

from equissl.api.preview import preview_views
from equissl.cli.arguments import Given
from equissl.data.files.summary import format_summary, summarise
from equissl.errors import UserError
from equissl.progress import Display


def run(given: Given) -> int:
    """Counts, sizes, unreadable files, labels, duplicates, reading speed; or a page of example views."""
    if given["views"] is not None:
        return _views(given)
    extra = [
        f"{n}=..." for n in ("recipe", "keep", "ignore", *given.settings) if n in given.settings or given[n]
    ]
    given.problems.extend(f"{name} is for example views: add views=PAGE.html" for name in extra)
    given.check()
    with Display() as display:
        summary = summarise(given["data"], progress=display)
    print("\n".join(format_summary(summary)))
    return 0


def _views(given: Given) -> int:
    """Write the page; 1 if a replay is not exact."""
    from equissl.cli.pretrain import selected

    out: Path = given["views"]

    def check_numbers() -> None:
        if given["count"] < 1:
            raise UserError(f"count must be at least 1, got {given['count']}")
        if out.is_dir():
            raise UserError(f"views={out} is a folder; expected a page to write, such as views.html")

    selection = selected(given, given["data"], "none", check_numbers)
    with Display() as display:
        sheet = preview_views(
            selection.recipe,
            out,
            name=selection.name,
            count=given["count"],
            seed=given["seed"],
            progress=display,
        )
    for section in sheet.sections:
        if section.views:
            print(f"{section.title}: the replay differs by {section.difference:.2g} at most")
    print(f"page: {out}")
    return 1 if sheet.difference else 0
