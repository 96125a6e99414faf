"""``equissl evaluate`` and ``equissl audit``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console

from equissl import report
from equissl.api import audit as audits
from equissl.api.evaluate import EvaluationOptions, evaluate_run
from equissl.cli import shared
from equissl.cli.arguments import Given
from equissl.data.files.scan import existing_folder
from equissl.data.folder import open_data
from equissl.errors import UserError
from equissl.evaluate import protocol
from equissl.evaluate.audit.audit import check_names
from equissl.progress import Display
from equissl.runs.folder import open_run
from equissl.runs.load import LoadedRun
from equissl.storage import write_rows


def evaluate(given: Given) -> int:
    """Score a run and show the table."""
    path: Path | None = given["data"]
    test: Path | None = given["test"]
    given.check(
        lambda: path and existing_folder(str(path)),
        lambda: test and existing_folder(str(test)),
        lambda: shared.device(given),
        lambda: protocol.select_evaluations(given["evaluations"], given.settings),
        lambda: _check_labels(given),
    )
    run = open_run(Path(given.things[0]))
    options = EvaluationOptions(
        settings=given.settings,
        device=shared.device(given),
        **{name: given[name] for name in ("evaluations", "count", "steer", "seed")},
    )
    with Display() as display:
        evaluate_run(
            run.path,
            path,
            options,
            test=test,
            labels=given["labels"],
            progress=display,
            trusted=shared.trusted(given),
        )
    _show([run.path])
    print(f"scores: {run.path / 'scores.jsonl'}")
    return 0


def audit(given: Given) -> int:
    """Audit encoders one after the other, show them side by side, and write a page if asked."""
    path: Path = given["data"]
    given.check(
        lambda: path and existing_folder(str(path)),
        lambda: shared.device(given),
        lambda: check_names(given["factors"]),
    )
    with tempfile.TemporaryDirectory() as scratch, Display() as display:
        out: Path = given["out"] or Path(scratch)
        folders = [_audit_one(name, given, display, out) for name in dict.fromkeys(given.things)]
        display.finish()
        _show(folders)
        if given["out"] is not None:
            print(f"report: {report.write(folders, out / 'report.html')}")
    return 0


def _check_labels(given: Given) -> None:
    if given["labels"] != "none" and given["data"] is None:
        raise UserError(
            f"labels={given['labels']} needs data=DIR: without it the run's own images are looked at, "
            "with the labels they had in training"
        )


def _audit_one(name: str, given: Given, display: Display, out: Path) -> Path:
    """Audit one model into a folder of rows; a run keeps its own rows too."""
    loaded = shared.load_model(name, given)
    display.say(
        f"auditing {loaded.name}: {given['count']} images at {loaded.config.size} px, for each factor"
    )
    data = open_data(given["data"], loaded.config.size, test_fraction=0.0, limit=given["count"])
    settings = {n: given[n] for n in ("count", "factors", "seed")}
    settings |= {"device": shared.device(given), "progress": display}
    if isinstance(loaded, LoadedRun):
        scores = audits.audit_run(loaded, data, "all", **settings)
    else:
        scores = audits.audit(loaded, data.open("train", display), **settings)
    same_name = [n for n in given.things if Path(n).name == Path(name).name]
    label = loaded.name if len(same_name) < 2 else name  # two runs may have folders of one name
    folder = out / label.strip("/").replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"model": label, "data": str(given["data"]), "split": "all", "step": loaded.step}
    write_rows(folder / "scores.jsonl", [{**s.row(), **facts} for s in scores])
    return folder


def _show(folders: list[Path]) -> None:
    console = Console()
    console.print(report.text(report.comparison(folders), console.width))
