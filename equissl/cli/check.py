"""``equissl check``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from equissl.cli.arguments import Given
from equissl.data.files.check import lines, summarise
from equissl.data.files.scan import existing_folder
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
    print("\n".join(lines(summary)))
    return 0


def _views(given: Given) -> int:
    """Write the page; 1 if a replay is not exact."""
    from equissl import report
    from equissl.cli import examples
    from equissl.cli.pretrain import adjusted, named_recipe
    from equissl.data.image_folder import ImageFolder
    from equissl.recipe import check_views

    chosen: dict[str, Any] = {}
    out: Path = given["views"]

    def choose() -> None:
        folder = existing_folder(given["data"])
        asked = replace(given, values={**given.values, "data": folder, "labels": "none"})
        recipe, chosen["name"], _ = named_recipe(asked)
        chosen["recipe"] = adjusted(recipe, given)
        check_views(chosen["recipe"], chosen["recipe"].data.known)

    def check_numbers() -> None:
        if given["count"] < 1:
            raise UserError(f"count must be at least 1, got {given['count']}")
        if out.is_dir():
            raise UserError(f"views={out} is a folder; expected a page to write, such as views.html")

    given.check(check_numbers, choose)
    recipe = chosen["recipe"]
    data = recipe.data
    if isinstance(data, ImageFolder):
        data = replace(data, limit=given["count"], test_share=0.0, bad_limit=1.0)
    with Display() as display:
        dataset = data.open("train", display)
    sheet = examples.sheet(recipe, chosen["name"], dataset, given["count"], given["seed"])
    for section in sheet.sections:
        if section.views:
            print(f"{section.title}: the replay differs by {section.difference:.2g} at most")
    print(f"page: {report.write_sheet(sheet, out)}")
    return 1 if sheet.difference else 0
