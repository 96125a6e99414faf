"""``equissl study``."""

from __future__ import annotations

from pathlib import Path

from equissl.cli import shared
from equissl.cli.grammar.arguments import Arguments
from equissl.config import registry
from equissl.data.folder import existing_data, is_data
from equissl.errors import UserError
from equissl.study import runner
from equissl.study.build import build_study, study_parameters
from equissl.study.plan import Study
from equissl.training.options import Options


def run(args: Arguments) -> None:
    """List studies, tabulate one, or carry one out."""
    if not args.positionals:
        args.check()
        _list()
        return
    studies: list[Study] = []
    out: Path | None = args["out"]

    def check_out() -> None:
        if out is None:
            raise UserError("out=... is missing: folder to write")

    args.check(
        check_out,
        lambda: shared.device(args),
        lambda: _check_data(args),
        lambda: studies.append(_study(args)),
    )
    assert out is not None
    if args["only"] == "table":
        page = runner.tabulate(out)
    else:
        device = shared.device(args)
        page = runner.run(
            studies[0],
            out,
            seeds=args["seeds"],
            options=Options(accelerator=device, loggers=(), save_minutes=1.0),
            device=device,
            trusted=shared.trusted(args),
            silent=False,
        )
    print(page.read_text(encoding="utf-8"))
    print(f"table: {page}   figure: {out / 'figure.png'}   scores: {out / 'scores.jsonl'}")


def _study(args: Arguments) -> Study:
    path: Path | None = args["data"]
    return build_study(
        args.positionals[0],
        args.settings,
        data=path if path is not None and is_data(path) else None,  # a missing one is reported by _check_data
        labels=args["labels"],
        limit=args["limit"] or None,
        trusted=shared.trusted(args),
        others=args.values,
    )


def _check_data(args: Arguments) -> None:
    if args["data"] is not None:
        existing_data(args["data"])
    if args["limit"] < 0:
        raise UserError(f"limit={args['limit']}: must be at least 0")
    if args["data"] is None and (args["limit"] or args["labels"] != "none"):
        raise UserError("limit=... and labels=... are about data=DIR, which is missing")


def _list() -> None:
    print("studies:")
    for entry in registry.studies():
        print(f"  {entry.name}: {entry.line}")
        for name, (_, default) in study_parameters(entry.value).items():
            shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
            print(f"    {name}={shown}")
    print("\nEvery study also takes path.to.field=value, for all of its recipes; see equissl study --help")
