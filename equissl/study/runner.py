"""Run a study: train and evaluate each run, then write the table and the figure. Resumable."""

from __future__ import annotations

import json
import shlex
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch

from equissl.api.audit import audit_run
from equissl.api.evaluate import EvaluationOptions, evaluate_run
from equissl.api.pretrain import pretrain, resume
from equissl.config.serialize import trust_needs
from equissl.config.validation import fits
from equissl.errors import Stopped, UserError
from equissl.evaluate import protocol
from equissl.evaluate.audit.asked import check_asked
from equissl.evaluate.audit.options import MIN_GROUPS, MIN_IMAGES, AuditOptions
from equissl.evaluate.base import Downstream, Evaluation
from equissl.evaluate.context import EncoderEvaluation
from equissl.locks import folder_lock
from equissl.progress import Display
from equissl.recipe import Precision
from equissl.report.rows import number
from equissl.runs.changes import run_differences
from equissl.runs.folder import Run, check_free, open_run
from equissl.runs.load import load_run
from equissl.runs.scores import record_scores
from equissl.storage import read_object, write_json, write_rows, write_text
from equissl.study import figure, table
from equissl.study.plan import Job, Study, cost, jobs, layout
from equissl.study.stored import STUDY, read_plan
from equissl.training import checkpoint
from equissl.training.options import Options
from equissl.training.setup import check_weights

AUDITED = 400  # images of an audit at most: the time of its probes grows faster than their number
_PROTOCOL = ("evaluations", "settings", "audits", "tasks", "images")  # equal for all runs of a folder


def run(
    study: Study,
    out: Path | str,
    *,
    seeds: int = 3,
    options: Options = Options(loggers=()),
    device: str = "cpu",
    trusted: Sequence[str] = (),
    silent: bool = True,
) -> Path:
    """Run a study in a folder and return the path of its table.

    The folder holds ``runs/<cell>-seed<n>/`` (run folders), ``study.json`` (the plan), ``scores.jsonl`` (the
    rows of all runs with their labels), ``table.md``, ``table.json`` and ``figure.png``. Finished runs are
    skipped and an interrupted one is resumed exactly; seeds and cells may be added later.

    Args:
        seeds: runs per cell.
        device: for evaluations.
        trusted: packages whose code a recipe may name.
        silent: show no progress, the default from Python.

    Raises:
        UserError: invalid settings, before any training; or, after all other runs, the list of those that
            failed.
        Stopped: interrupted; everything is saved.
    """
    out = Path(out)
    planned = jobs(study, seeds)
    check_asked(study.audits)
    _check_out(study, out, planned)
    _check_weights(planned, out)
    _check_data(study, planned)
    with folder_lock(out):
        return _run(study, out, planned, options, device, trusted, silent)


def _run(
    study: Study,
    out: Path,
    planned: Sequence[Job],
    options: Options,
    device: str,
    trusted: Sequence[str],
    silent: bool,
) -> Path:
    _write_plan(study, planned, out)
    failed: dict[str, str] = {}
    began, attempted = time.monotonic(), 0
    with Display(silent=silent) as display:
        for number, job in enumerate(planned, 1):
            if _is_scored(study, out / "runs" / job.name):
                continue
            done = sum(_is_scored(study, out / "runs" / j.name) for j in planned)
            seconds = (time.monotonic() - began) / attempted if attempted else 0.0
            left = f", about {seconds * (len(planned) - done) / 60:.0f} min left" if attempted else ""
            display.finish()
            display.say(f"run {number}/{len(planned)} ({done} done{left}): {job.name}")
            try:
                needs = (*trusted, *trust_needs(job.recipe))  # equal to the run's, by ``_check_out``
                job = _with_precision(job, planned, out)
                _train(job, out / "runs" / job.name, options, silent, needs)
                _evaluate(study, out / "runs" / job.name, device, display, needs)
            except Stopped:
                tabulate(out)
                raise Stopped(
                    f"interrupted in {job.name}: {done} of {len(planned)} runs are done, everything is saved "
                    f"in {out}. Run the same command to continue"
                ) from None
            except UserError as error:
                if not (out / "runs" / job.name / "recipe.json").is_file():
                    raise  # nothing was trained: a mistake in the settings or the data
                failed[job.name] = " ".join(error.problems)
                display.say(f"{job.name} failed: {failed[job.name]}")
            attempted += 1
            tabulate(out, draw=False)
    page = tabulate(out)
    if failed:
        raise UserError([f"run {name} failed: {why}" for name, why in failed.items()])
    return page


def tabulate(out: Path | str, draw: bool = True) -> Path:
    """Write the table and, with ``draw``, the figure of the runs that are done; returns the table's path.

    Raises:
        UserError: the folder has no ``study.json``.
    """
    out = Path(out)
    if not (out / STUDY).is_file():
        raise UserError(f"out={out}: no study here ({STUDY} is missing). Run `equissl study NAME out=DIR`")
    plan = read_plan(out)
    rows = _gather(plan, out)
    write_rows(out / "scores.jsonl", rows)
    results = table.build(plan, rows)
    write_json(out / "table.json", results)
    write_text(out / "table.md", table.markdown(results))
    if draw:
        figure.draw(results, out / "figure.png")
    return out / "table.md"


def _check_out(study: Study, out: Path, planned: Sequence[Job]) -> None:
    """Raise UserError if the folder is not free or its runs have other settings or another protocol."""
    if not (out / STUDY).is_file():
        check_free(out)
        return
    before, now = read_plan(out), json.loads(json.dumps(layout(study)))
    changed = [n for n in _PROTOCOL if n in before and before[n] != now[n]]
    if changed and any(_scored_by(folder) for folder in (out / "runs").glob("*")):
        differences = "; ".join(f"{n}: {before[n]!r} there, {now[n]!r} now" for n in changed)
        raise UserError(
            f"out={out}: evaluated with other settings ({differences}). Use those, choose another out, or "
            f"delete {out}/runs/*/scores.jsonl to evaluate its runs again"
        )
    problems = []
    for job in planned:
        folder = out / "runs" / job.name
        if (folder / "recipe.json").is_file():
            changes = run_differences(Run(folder), job.recipe)
            if changes:
                problems.append(f"out={folder}: started with other settings ({'; '.join(changes[:4])})")
    if problems:
        ending = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UserError(f"{problems[0]}{ending}. Use those or choose another out")


def _check_weights(planned: Sequence[Job], out: Path) -> None:
    """Load what the runs that are still to be trained begin with; raises UserError if it does not fit."""
    configs = (j.recipe.encoder for j in planned if not (out / "runs" / j.name / "recipe.json").is_file())
    for config in {str(c): c for c in configs if c.weights}.values():
        check_weights(config)


def _check_data(study: Study, planned: Sequence[Job]) -> None:
    """Raise UserError if the test images have too few groups for the audits or no label that is needed."""
    if all(m.name.partition("/")[0] in _labelled_scores() for m in study.measures):
        for data in {str(j.recipe.data): j.recipe.data for j in planned}.values():
            if not bool((data.open("test").labels >= 0).any()):
                raise UserError(
                    "labels: every measure of the study needs labels, but no test image has one. Set "
                    "labels=folders or labels=FILE.csv"
                )
    for data in {str(j.recipe.data): j.recipe.data for j in planned}.values() if study.audits else ():
        test = data.open("test")
        groups = len(torch.unique(test.groups))
        if len(test) < MIN_IMAGES or groups < MIN_GROUPS:
            raise UserError(
                f"audits={','.join(study.audits)}: at least {MIN_IMAGES} test images of {MIN_GROUPS} groups "
                f"(objects) are needed (got {len(test)} of {groups}). Use more images"
            )


def _labelled_scores() -> set[str]:
    """Prefixes of the names of scores that need labels."""
    entries = protocol.entries(Evaluation, EncoderEvaluation)
    return {name for e in entries if e.value.needs_labels for name in e.value.scores}


def _write_plan(study: Study, planned: Sequence[Job], out: Path) -> None:
    """Write ``study.json``: the runs of an earlier plan, then the new ones."""
    cells: dict[str, Any] = {}
    if (out / STUDY).is_file():
        cells = {c["run"]: c for c in read_plan(out)["runs"]}
    for job in planned:
        cell = {"run": job.name, "labels": dict(job.labels), "seed": job.recipe.seed}
        cells[job.name] = cell | {"epochs": job.recipe.epochs, "cost": cost(job.recipe)}
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    plan = {**layout(study), "command": command, "runs": list(cells.values())}
    write_json(out / STUDY, plan)


def _with_precision(job: Job, planned: Sequence[Job], out: Path) -> Job:
    """A run whose precision, if "auto", is the one that an earlier run settled: all are compared in one."""
    if job.recipe.precision != "auto":
        return job
    settled: list[Precision] = [
        precision
        for other in planned
        if other.recipe.precision == "auto" and (path := out / "runs" / other.name / "recipe.json").is_file()
        for precision in get_args(Precision)
        if read_object(path).get("precision") == precision
    ]
    return replace(job, recipe=replace(job.recipe, precision=settled[0])) if settled else job


def _train(job: Job, folder: Path, options: Options, silent: bool, trusted: Sequence[str]) -> None:
    options = replace(options, silent=silent)
    if not (folder / "recipe.json").is_file():
        pretrain(job.recipe, folder, options, name=job.name)
    elif checkpoint.load(folder / "checkpoints")["epoch"] < job.recipe.epochs:
        resume(folder, options=options, trusted=trusted)


def _evaluate(study: Study, folder: Path, device: str, display: Display, trusted: Sequence[str]) -> None:
    if "evaluate" not in _scored_by(folder):
        evaluation = EvaluationOptions(
            evaluations=study.evaluations,
            settings=study.settings,
            count=study.images,
            strict=False,  # unavailable scores are blanks in the table
            steer=0,
            device=device,
        )
        evaluate_run(folder, options=evaluation, progress=display, trusted=trusted)
    if study.audits and "audit" not in _scored_by(folder):
        loaded = load_run(open_run(folder), trusted)
        options = AuditOptions(
            count=min(study.images, AUDITED), draws=2, untrained=4, minutes=0, factors=study.audits
        )
        audit_run(loaded, options=options, device=device, progress=display)
    for task in study.tasks:
        if task.name not in _scored_by(folder):
            _fine_tune(task, folder, device, display, trusted)


def _fine_tune(task: Downstream, folder: Path, device: str, display: Display, trusted: Sequence[str]) -> None:
    loaded = load_run(open_run(folder), trusted)
    recipe = loaded.recipe
    augment = recipe.views[next(iter([*recipe.compared, *recipe.views]))].augment
    scores = task.run(loaded.encoder, recipe.data, augment, seed=recipe.seed, device=device, progress=display)
    record_scores(loaded, scores, task.name, recipe.data)


def _scored_by(folder: Path) -> set[str]:
    return {str(r.get("by")) for r in Run(folder).scores}


def _is_scored(study: Study, folder: Path) -> bool:
    """Whether every score of the study is there; they are written only after training."""
    required = {"evaluate", *(["audit"] if study.audits else []), *(task.name for task in study.tasks)}
    return _scored_by(folder) >= required


def _gather(plan: dict[str, Any], out: Path) -> list[dict[str, Any]]:
    """Score rows of all runs, each with its run, labels and machine."""
    rows = []
    for planned in plan["runs"]:
        folder = out / "runs" / planned["run"]
        scores = Run(folder).scores
        scores += _step_time(folder) if scores else []
        machine = table.machine(read_object(folder / "environment.json")) if scores else ""
        columns = {"run": planned["run"], "labels": planned["labels"], "machine": machine}
        rows += [{**row, **columns, "seed": planned["seed"]} for row in scores]
    return rows


def _step_time(folder: Path) -> list[dict[str, Any]]:
    """Score row "cost/step": median milliseconds per optimizer step in the log."""
    logged = (r.get("images_per_second") for r in Run(folder).log if "loss" in r)
    throughput = [v for v in map(number, logged) if v is not None and v > 0]
    if not throughput:
        return []
    batch = read_object(folder / "recipe.json").get("batch_size")
    if not isinstance(batch, int) or not fits(batch, int):
        raise UserError(f"{folder / 'recipe.json'}: batch_size must be an integer, got {str(batch)[:60]!r}")
    value = 1000 * batch / statistics.median(throughput)
    return [{"name": "cost/step", "value": value, "unit": "ms", "part": "all", "baseline": "", "count": 0}]
