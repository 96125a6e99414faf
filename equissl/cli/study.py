"""``equissl study``."""

from __future__ import annotations

from pathlib import Path

from equissl.cli import shared
from equissl.cli.arguments import Given
from equissl.config import registry
from equissl.data.files.scan import existing_folder
from equissl.errors import UserError
from equissl.study import runner
from equissl.study.build import build_study, study_parameters
from equissl.study.plan import Study
from equissl.training.options import Options


def run(given: Given) -> None:
    """List studies, tabulate one, or carry one out."""
    if not given.things:
        given.check()
        _list()
        return
    studies: list[Study] = []
    out: Path | None = given["out"]

    def check_out() -> None:
        if out is None:
            raise UserError("out=... is missing: folder to write")

    given.check(
        check_out,
        lambda: shared.device(given),
        lambda: _check_data(given),
        lambda: studies.append(_study(given)),
    )
    assert out is not None
    if given["only"] == "table":
        page = runner.tabulate(out)
    else:
        device = shared.device(given)
        page = runner.run(
            studies[0],
            out,
            seeds=given["seeds"],
            options=Options(accelerator=device, loggers=(), save_minutes=1.0),
            device=device,
            trusted=shared.trusted(given),
        )
    print(page.read_text(encoding="utf-8"))
    print(f"table: {page}   figure: {out / 'figure.png'}   scores: {out / 'scores.jsonl'}")


def _study(given: Given) -> Study:
    path: Path | None = given["data"]
    return build_study(
        given.things[0],
        given.settings,
        data=path if path is not None and path.is_dir() else None,  # a missing one is reported by _check_data
        labels=given["labels"],
        limit=given["limit"] or None,
        trusted=shared.trusted(given),
        others=given.values,
    )


def _check_data(given: Given) -> None:
    if given["data"] is not None:
        existing_folder(str(given["data"]))
    if given["limit"] < 0:
        raise UserError(f"limit={given['limit']}: must be at least 0")
    if given["data"] is None and (given["limit"] or given["labels"] != "none"):
        raise UserError("limit=... and labels=... are about data=DIR, which is missing")


def _list() -> None:
    print("studies:")
    for entry in registry.studies():
        print(f"  {entry.name}: {entry.line}")
        for name, (_, default) in study_parameters(entry.value).items():
            shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
            print(f"    {name}={shown}")
    print("\nEvery study also takes path.to.field=value, for all of its recipes; see equissl study --help")
