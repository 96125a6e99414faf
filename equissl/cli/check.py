"""``equissl check``."""

from __future__ import annotations

from pathlib import Path

from equissl.api.preview import preview_views
from equissl.cli.grammar.arguments import Arguments
from equissl.data.files.summary import format_summary, summarise
from equissl.data.folder import data_settings, existing_data, open_data
from equissl.data.image_table import ImageTable
from equissl.progress import Display
from equissl.report import check_page
from equissl.text import printable


def run(args: Arguments) -> int:
    """Counts, sizes, unreadable files, labels, duplicates, reading speed; or a page of example views."""
    if args["views"] is not None:
        return _views(args)
    of_data, others = data_settings(args.settings)
    extra = [f"{n}=..." for n in ("recipe", "keep", "ignore", *others) if n in others or args[n]]
    args.problems.extend(f"{name} is for example views: add views=PAGE.html" for name in extra)
    table: list[str] = []

    def describe() -> None:
        data = open_data(existing_data(args["data"]), 224, settings=of_data)
        table.extend(data.describe() if isinstance(data, ImageTable) else ())

    args.check(describe if args["data"] else lambda: None)
    with Display() as display:
        summary = summarise(str(args["data"]), progress=display)
    print("\n".join(format_summary(summary, table=table)))
    print(f"next: equissl audit MODEL data={args['data']} says what an encoder reads from these images;")
    print(f"  equissl pretrain data={args['data']} out=RUN chooses a recipe for them and says why")
    return 0


def _views(args: Arguments) -> int:
    """Write the page; 1 if a replay is not exact."""
    from equissl.auto.feasibility import feasibility_warnings
    from equissl.cli.pretrain import selected

    out: Path = args["views"]

    if args["data"] is None:
        args.check()
    selection = selected(args, args["data"], "none", lambda: check_page(out))
    feasible = feasibility_warnings(selection.recipe) if args["keep"] else []
    for line in [*selection.reasons, *(f"warning: {w}" for w in feasible)]:
        print(printable(line))
    with Display() as display:
        preview = preview_views(
            selection.recipe,
            out,
            name=selection.name,
            count=args["count"],
            seed=args["seed"],
            progress=display,
        )
    for view in preview.views:
        print(f"view {view.name}: the replay differs by {view.difference:.2g} at most")
    for what, value in preview.summary:
        if what == "images that cannot be read":
            print(f"warning: {what}: {value}")
    print(f"page: {out}")
    return 1 if preview.difference else 0
