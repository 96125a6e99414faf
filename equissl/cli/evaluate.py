"""``equissl evaluate`` and ``equissl audit``."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from equissl import report
from equissl.api import audit as audits
from equissl.api.audit_files import write_audit, write_audit_report
from equissl.api.evaluate import EvaluationOptions, check_data_settings, evaluate_run
from equissl.cli import shared
from equissl.cli.grammar.arguments import Arguments
from equissl.data.base import Data
from equissl.data.folder import data_settings, existing_data, open_data
from equissl.data.tables.cells import is_table
from equissl.encoder.layers import with_layers
from equissl.encoder.named import describe_inputs
from equissl.encoder.untrained import untrained_reason
from equissl.errors import UserError
from equissl.evaluate import protocol
from equissl.evaluate.audit.asked import check_asked
from equissl.evaluate.audit.comparison import paired_rows
from equissl.evaluate.audit.options import MOST_IMAGES, AuditOptions
from equissl.evaluate.audit.profile import profile
from equissl.evaluate.audit.record import AuditRecord
from equissl.evaluate.base import Score
from equissl.progress import Display
from equissl.runs.folder import open_run
from equissl.runs.load import Loaded, LoadedRun, inputs_and_weights
from equissl.storage import make_folder
from equissl.text import file_name

AUDIT_NUMBERS = ("count", "draws", "untrained", "precision", "minutes", "seed", "equivariance")


def evaluate(args: Arguments) -> int:
    """Score a run and show the table."""
    path: Path | None = args["data"]
    test: Path | None = args["test"]
    args.check(
        lambda: path and existing_data(path),
        lambda: test and existing_data(test),
        lambda: shared.device(args),
        lambda: protocol.select_evaluations(args["evaluations"], data_settings(args.settings)[1]),
        lambda: check_data_settings(data_settings(args.settings)[0], path),
        lambda: _check_labels(args),
    )
    run = open_run(Path(args.positionals[0]))
    options = EvaluationOptions(
        settings=args.settings,
        device=shared.device(args),
        train_count=None if args["train_count"] < 0 else args["train_count"],
        **{name: args[name] for name in ("evaluations", "count", "steer", "seed")},
    )
    with Display() as display:
        evaluate_run(
            run.path,
            path,
            options,
            test=test,
            labels=args["labels"],
            limit=args["limit"] or None,
            progress=display,
            trusted=shared.trusted(args),
            say=display.say,
        )
    _show([run.path])
    print(f"scores: {run.path / 'scores.jsonl'}")
    return 0


def audit(args: Arguments) -> int:
    """Audit encoders one after the other, show them side by side, and write a page if asked."""
    path: Path = args["data"]
    args.check(
        lambda: path and existing_data(path),
        lambda: shared.device(args),
        lambda: _check_table(args),
        lambda: _check_factors(args),
    )
    with tempfile.TemporaryDirectory() as scratch, Display() as display:
        out: Path = args["out"] or Path(scratch)
        names = list(dict.fromkeys(args.positionals))
        models = shared.load_models(names, args, display.say)
        for model in models if args["layer"] else ():
            with_layers(model.encoder, args["layer"])  # before any image is read
        folders: list[Path] = []
        found: list[tuple[str, list[str]]] = []
        options = AuditOptions(factors=tuple(args["factors"]), **{n: args[n] for n in AUDIT_NUMBERS})
        options = replace(options, minutes=options.minutes / len(names))
        for name, model in zip(names, models, strict=True):
            folder, scores = _audit_one(name, model, args, options, display, out, folders)
            folders.append(folder)
            options = _as_audited(options, scores)  # what is compared is measured alike
            found.append((_used(model, scores), [f"depth: {line}" for line in profile(scores)]))
        display.finish()
        console = Console()
        print(report.audit_text(folders, console.width, paired_rows(folders)))
        for used, words in found:
            print(f"\n{used}", *(f"- {line}" for line in words), sep="\n")
        if args["out"] is not None:
            for path in write_audit_report(folders, out):
                print(f"{path.stem}: {path}")
    return 0


def _check_table(args: Arguments) -> None:
    if args["labels"] != "none" and args["data"] is not None and not is_table(args["data"]):
        raise UserError(
            f"labels={args['labels']} names a column of a table, but data={args['data']} is a folder; "
            "an audit of a folder reads no labels, so leave it out"
        )


def _check_factors(args: Arguments) -> None:
    if args["data"] is not None:
        check_asked(tuple(args["factors"]), _data(args, size=8).spaces["image"])


def _check_labels(args: Arguments) -> None:
    if args["limit"] and args["data"] is None:
        raise UserError(f"limit={args['limit']} is about data=DIR, which is missing")
    if args["labels"] != "none" and args["data"] is None:
        raise UserError(
            f"labels={args['labels']} needs data=DIR: without it the run's own images are looked at, "
            "with the labels they had in training"
        )


def _audit_one(
    name: str,
    loaded: Loaded,
    args: Arguments,
    options: AuditOptions,
    display: Display,
    out: Path,
    taken: Sequence[Path],
) -> tuple[Path, list[Score]]:
    """Audit one model into a folder of rows; a run keeps its own rows too."""
    display.say(f"auditing {loaded.name} at {loaded.config.size} px")
    if reason := untrained_reason(loaded.encoder):
        display.say(f"{loaded.name}: not compared with untrained copies, as {reason}")
    data = _data(
        args,
        loaded.config.size,
        limit=args["count"] or MOST_IMAGES,
        fit=loaded.fit,
        intensity=loaded.intensity,
    )
    same_name = [n for n in args.positionals if Path(n).name == Path(name).name]
    label = loaded.name if len(same_name) < 2 else name  # two runs may have folders of one name
    folder = make_folder(_free_folder(out, label, taken))  # before anything is measured
    kept: list[AuditRecord] = []
    how: dict[str, Any] = {"device": shared.device(args), "progress": display, "say": display.say}
    how |= {"layer": args["layer"], "store": folder / "readouts", "keep": kept.append}
    if isinstance(loaded, LoadedRun):
        scores = audits.audit_run(loaded, data, "all", options, **how)
    else:
        scores = audits.audit(loaded, data.open_all(display), options, **how)
    facts = {"model": label, "data": str(args["data"]), "split": data.whole, "step": loaded.step}
    facts |= inputs_and_weights(loaded)
    return write_audit(folder, scores, kept[0], facts), scores


def _data(args: Arguments, size: int, **more: Any) -> Data:
    """What ``data=`` names, with settings of it; nothing but the head of a table is read."""
    settings = data_settings(args.settings)[0]
    return open_data(args["data"], size, args["labels"], settings=settings, **more)


def _as_audited(options: AuditOptions, scores: Sequence[Score]) -> AuditOptions:
    """The options with the numbers that were chosen for these scores."""
    chosen = next((s.extra for s in scores if not s.baseline), {})
    numbers: dict[str, Any] = {"count": chosen.get("limit"), "draws": chosen.get("draws")}
    return replace(options, **numbers)


def _used(loaded: Loaded, scores: Sequence[Score]) -> str:
    """A line on what was audited: the images, how they were made, and where the weights come from."""
    count = max((s.count for s in scores), default=0)
    inputs = describe_inputs(loaded.name, loaded.config).removeprefix("images for ")
    return f"{inputs}; {count} images" + (f"; weights: {loaded.weights}" if loaded.weights else "")


def _free_folder(out: Path, label: str, taken: Sequence[Path]) -> Path:
    """A folder of ``out`` for a model, whatever it is called, that no other model of this audit has."""
    name = file_name(label)
    numbered = itertools.chain([name], (f"{name}-{k}" for k in itertools.count(2)))
    return next(out / n for n in numbered if out / n not in taken)


def _show(folders: list[Path]) -> None:
    console = Console()
    console.print(report.text(report.comparison(folders), console.width))
