"""Repair an encoder: fine-tune it until forgotten factors can be read again, and measure what that cost."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from equissl import report
from equissl.api.audit import audit
from equissl.api.pretrain import pretrain, resume
from equissl.auto.repair import Repair, plan_repair
from equissl.auto.requirements import change_targets, kept_factors
from equissl.config.serialize import to_dict, trust_needs
from equissl.data.base import Dataset
from equissl.data.given_images import Images
from equissl.distributed import limit_threads, resolve_device
from equissl.encoder.backbone import is_timm
from equissl.encoder.encoder import Encoder
from equissl.encoder.untrained import CALIBRATION_IMAGES, untrained_copy
from equissl.errors import UserError
from equissl.evaluate.audit.options import AuditOptions
from equissl.evaluate.base import Score
from equissl.evaluate.classification.knn import KNN
from equissl.evaluate.classification.linear_probe import LinearProbe
from equissl.evaluate.features import extract, plain_images
from equissl.evaluate.retention import Tables, retention
from equissl.locks import folder_lock
from equissl.progress import Progress, ShowProgress, no_progress, say_nothing, shown
from equissl.random import shuffled
from equissl.recipe import Recipe
from equissl.runs.changes import run_differences
from equissl.runs.export import export_timm
from equissl.runs.folder import Run, check_free
from equissl.runs.load import Loaded, LoadedRun, inputs_and_weights, load_run
from equissl.runs.scores import record_scores
from equissl.storage import read_rows, write_rows
from equissl.training.options import Options

ORIGINAL, REPAIRED = "original", "repaired"  # folders in out
AUDIT = AuditOptions(count=400, draws=1, untrained=3)
MAX_PROBED = 2000  # images of each split that retention is measured on


def repair(
    model: Loaded | Path | str,
    data: Images,
    out: Path | str,
    keep: Sequence[str],
    audit_options: AuditOptions = AUDIT,
    options: Options = Options(loggers=()),
    *,
    test: Images | None = None,
    labels: str = "none",
    limit: int | None = None,
    settings: Mapping[str, str] | None = None,
    seed: int = 0,
    trusted: Sequence[str] = (),
    progress: ShowProgress = False,
    say: Callable[[str], object] = say_nothing,
) -> Run:
    """Fine-tune an encoder so that factors can be read from its features, audited before and after.

    Into ``out``: ``original`` (its scores), ``repaired`` (a run folder with its scores, and ``export`` for
    timm), ``report.html`` of both. The same call goes on where it was stopped.

    Args:
        model: what ``load_encoder`` returned, or a name as it takes; with trained weights.
        data: a folder, a table, a torch ``Dataset`` or other images; labels are used for accuracies alone.
        keep: factors, as of ``auto.resolve``.
        audit_options: of both audits; ``minutes`` counts for nothing, so that they are alike.
        test: where held-out images come from, if from elsewhere; else the test split of ``data`` (a fifth).
        labels: of folders: "none", "folders" or a ``.csv`` file.
        limit: images of each split of a folder, always the same ones; ``None`` for all.
        settings: of the recipe, as text: "epochs" -> "5", "modules.kept.weight" -> "0.5".
        seed: of the fine-tuning.
        progress: True for a live bar, or a function (what, done, total).
        say: called with lines on what is done.

    Returns:
        The run folder of the repaired encoder.

    Raises:
        UserError: unknown factors, or such as cannot vary on these images; a model without trained weights;
            too few images; ``out`` holds something else.
    """
    out = Path(out)
    with shown(progress) as show:
        planned = plan_repair(
            model,
            data,
            keep,
            test=test,
            labels=labels,
            limit=limit,
            settings=settings,
            seed=seed,
            trusted=trusted,
            progress=show,
        )
        return carry_out(planned, out, audit_options, options, progress=show, say=say)


def carry_out(
    planned: Repair,
    out: Path,
    audit_options: AuditOptions = AUDIT,
    options: Options = Options(loggers=()),
    *,
    progress: Progress = no_progress,
    say: Callable[[str], object] = say_nothing,
) -> Run:
    """Train, audit, export and report a planned repair, or go on with it; see ``repair``."""
    if options.devices > 1:
        raise UserError(f"devices={options.devices}: a repair runs in one process; leave it out")
    check_out(out, planned.recipe)
    limit_threads()
    with folder_lock(out):
        run = _train(planned, out / REPAIRED, options, say)
        needs = tuple(trust_needs(planned.recipe))
        repaired = load_run(run, needs, backbone=_own_module(planned.original))
        facts = {"audit": to_dict(audit_options), "repaired_step": repaired.step}
        if not any(facts.items() <= row.items() for row in read_rows(_rows_of(out))):
            device = resolve_device(options.accelerator)
            _score(planned, repaired, out, audit_options, facts, device, progress)
        if is_timm(repaired.config) and repaired.backbone is None:
            export_timm(repaired, run.path / "export", run.scores)
        report.write([out / ORIGINAL, out / REPAIRED], out / "report.html")
    return run


def check_out(out: Path, recipe: Recipe | None = None) -> None:
    """Raises UserError if the folder holds something that is not this repair, or none at all."""
    run = Run(out / REPAIRED)
    if not (run.path / "recipe.json").is_file():
        check_free(out)
    elif recipe is not None and (lines := run_differences(run, recipe)):
        raise UserError(f"out={out} holds another repair ({'; '.join(lines)[:500]}); choose another folder")


def _own_module(loaded: Loaded) -> nn.Module | None:
    """A copy of the user's own module, with its weights, where ``config`` does not build it."""
    return None if loaded.backbone is None else copy.deepcopy(loaded.encoder.backbone)


def _train(planned: Repair, folder: Path, options: Options, say: Callable[[str], object]) -> Run:
    own = _own_module(planned.original)
    if (folder / "recipe.json").is_file():
        needs = tuple(trust_needs(planned.recipe))
        return resume(folder, options=options, backbone=own, trusted=needs, say=say)
    return pretrain(planned.recipe, folder, options, backbone=own, name="repair")


def _rows_of(out: Path) -> Path:
    """The original's scores, which are written last."""
    return out / ORIGINAL / "scores.jsonl"


def _score(
    planned: Repair,
    repaired: LoadedRun,
    out: Path,
    options: AuditOptions,
    facts: Mapping[str, Any],
    device: str,
    progress: Progress,
) -> None:
    """Audit both encoders, measure what is retained, and write the rows of both."""
    original = planned.original

    def audited(loaded: Loaded, name: str) -> list[Score]:
        chosen = replace(options, minutes=0.0)  # alike for both, however fast the machine is at the time
        return audit(
            loaded, planned.test, chosen, device=device, progress=progress, store=out / name / "readouts"
        )

    rows = _sample(planned.train, options.seed), _sample(planned.test, options.seed)

    def tables(encoder: Encoder) -> Tables:
        fit, test = (
            extract(encoder.to(device), dataset, index=index, device=device, progress=progress)
            for dataset, index in zip((planned.train, planned.test), rows, strict=True)
        )
        return Tables(fit, test)

    original.encoder.to(device)
    calibration = plain_images(planned.train, rows[0][:CALIBRATION_IMAGES], "image", device)
    before, after = tables(original.encoder), tables(repaired.encoder)
    untrained = {"random": tables(untrained_copy(original.encoder, calibration, options.seed))}
    found = [*audited(repaired, REPAIRED), *_probed(after), *retention(before, after, untrained)]
    record_scores(repaired, found, "repair", planned.recipe.data, "test", planned.source)
    found = [*audited(original, ORIGINAL), *_probed(before)]
    named: dict[str, Any] = {
        "model": ORIGINAL,
        "encoder": original.name,
        "data": planned.source,
        "split": "test",
    }
    named |= {**inputs_and_weights(original), **facts, "step": original.step}
    write_rows(_rows_of(out), [{**s.row(), **named} for s in found])


def _probed(tables: Tables) -> Iterator[Score]:
    """Accuracies, where the images have labels."""
    for evaluation in (KNN(), LinearProbe()):
        yield from evaluation.run(tables.fit, tables.test)


def _sample(dataset: Dataset, seed: int) -> Tensor:
    return dataset.readable(shuffled(len(dataset), seed, "repair")[:MAX_PROBED].sort().values)


def outcome(out: Path, keep: Sequence[str]) -> list[str]:
    """What a repair did, in sentences: the kept factors, what is retained, and accuracies.

    Args:
        out: as of ``repair``.
        keep: likewise.
    """
    before, after = (_values(out / name / "scores.jsonl") for name in (ORIGINAL, REPAIRED))
    kept = kept_factors(keep)[0]
    names = [f"audit/{n}" for target in change_targets(kept).values() for n in target.names]
    lines = [
        f"{n.partition('/')[2]}: {before[n]:.2f} before, {after[n]:.2f} after" for n in names if n in after
    ]
    left_out = [n for n in names if n not in after]
    if left_out:
        lines.append(f"not audited: {', '.join(n.partition('/')[2] for n in left_out)}")
    lost = 1 - after["retained/features"]
    if lost < 1:
        lines.append(f"lost of the original's features: {100 * lost:.1f} % of their variance between images")
    else:
        lines.append(
            f"lost of the original's features: all that a probe can read (R2 {1 - lost:.2f}); either nothing "
            "of them is left, or the images are too few to tell"
        )
    titles = {"knn/top1": "kNN accuracy", "linear/top1": "linear accuracy"}
    lines += [f"{t}: {before[n]:.3f} before, {after[n]:.3f} after" for n, t in titles.items() if n in after]
    return lines


def _values(path: Path) -> dict[str, float]:
    """The model's own scores of all features, by name."""
    return {r["name"]: r["value"] for r in read_rows(path) if not r["baseline"] and r["part"] == "all"}
