"""``equissl evaluate`` and ``equissl audit``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console

from equissl import api, report
from equissl.cli import shared
from equissl.cli.arguments import Given
from equissl.data.files.scan import existing_folder
from equissl.data.files.split import split_folders
from equissl.errors import UserError
from equissl.evaluate import protocol
from equissl.evaluate.audit.audit import check_names
from equissl.progress import Display
from equissl.runs import folder as runs
from equissl.runs import load as models
from equissl.storage import write_rows


def evaluate(given: Given) -> int:
    """Score a run and show the table."""
    path: Path | None = given["data"]
    test: Path | None = given["test"]
    given.check(
        lambda: path and existing_folder(str(path)),
        lambda: test and existing_folder(str(test)),
        lambda: shared.device(given),
        lambda: protocol.choose(given["evaluations"], given.settings),
        lambda: _check_labels(given),
    )
    run = runs.open_run(Path(given.things[0]))
    size, labels = run.recipe(shared.trusted(given)).encoder.size, given["labels"]
    share = 0.1 if test is None else 0.0  # nothing needs to be held out where test images are elsewhere
    with Display() as display:
        api.evaluate_run(
            run.path,
            shared.folder(path, size, labels, share) if path else None,
            test=shared.folder(test, size, labels, 0.0) if test else None,
            # A folder without splits of its own is a test split as a whole.
            test_split="test" if test and split_folders(test) else "train",
            evaluations=given["evaluations"],
            changes=given.settings,
            count=given["count"],
            steer=given["steer"],
            seed=given["seed"],
            device=shared.device(given),
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
        place: Path = given["out"] or Path(scratch)
        folders = [_audit_one(name, given, display, place) for name in dict.fromkeys(given.things)]
        display.finish()
        _show(folders)
        if given["out"] is not None:
            print(f"report: {report.write(folders, place / 'report.html')}")
    return 0


def _check_labels(given: Given) -> None:
    if given["labels"] != "none" and given["data"] is None:
        raise UserError(
            f"labels={given['labels']} needs data=DIR: without it the run's own images are looked at, "
            "with the labels they had in training"
        )


def _audit_one(name: str, given: Given, display: Display, place: Path) -> Path:
    """Audit one model into a folder of rows; a run keeps its own rows too."""
    loaded = _load(name, given)
    display.say(
        f"auditing {loaded.name}: {given['count']} images at {loaded.config.size} px, for each factor"
    )
    dataset = shared.folder(given["data"], loaded.config.size, test_share=0.0, limit=given["count"])
    scores = api.audit(
        loaded,
        dataset.open("train", display),
        count=given["count"],
        factors=given["factors"],
        seed=given["seed"],
        device=shared.device(given),
        progress=display,
    )
    if loaded.recipe is not None:
        api.record(runs.open_run(Path(name)), scores, "audit", loaded, dataset, "all")
    alike = [n for n in given.things if Path(n).name == Path(name).name]
    shown = loaded.name if len(alike) < 2 else name  # two runs may have folders of one name
    folder = place / shown.strip("/").replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"model": shown, "data": str(given["data"]), "split": "all", "step": loaded.step}
    write_rows(folder / "scores.jsonl", [{**s.row(), **facts} for s in scores])
    return folder


def _load(name: str, given: Given) -> models.Loaded:
    return models.load(name, weights=given["weights"], size=given["size"], trusted=shared.trusted(given))


def _show(folders: list[Path]) -> None:
    console = Console()
    console.print(report.text(report.comparison(folders), console.width))
