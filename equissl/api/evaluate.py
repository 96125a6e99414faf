"""Evaluate a run: scores beside its random-init baseline, and the data of the report's explorers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equissl.api.explorers import write_explorers
from equissl.api.scores import Scores
from equissl.config.validation import Checked, check_bounds
from equissl.data.base import Data, Dataset, Split
from equissl.data.folder import data_settings, open_data, split_of_tests
from equissl.data.given_images import Images
from equissl.distributed import limit_threads, resolve_device
from equissl.encoder.untrained import CALIBRATION_IMAGES, untrained_copy
from equissl.errors import UserError
from equissl.evaluate import protocol
from equissl.evaluate.base import Evaluation, Score
from equissl.evaluate.cache import FeatureCache
from equissl.evaluate.classification.relabeled import RelabeledDataset
from equissl.evaluate.context import SPLITS, EvaluationContext
from equissl.evaluate.cost import cost
from equissl.evaluate.factors.verdicts import with_verdicts
from equissl.evaluate.features import plain_images
from equissl.evaluate.remarks import remarks
from equissl.evaluate.titles import FACTORS
from equissl.objective import Predictive
from equissl.progress import Progress, ShowProgress, named, no_progress, say_nothing, shown
from equissl.random import shuffled
from equissl.runs.folder import Run, open_run
from equissl.runs.load import LoadedRun, inputs_and_weights, load_run
from equissl.runs.scores import describe_data, record_scores
from equissl.text import shell_path

MAX_TRAIN_IMAGES = 10_000


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(Checked):
    """What is computed of a run, and on how many images.

    Args:
        evaluations: names (``equissl list evaluations``), "usual", "all", or protocols of papers (keys of
            ``evaluate.protocol.PROTOCOLS``).
        settings: of the evaluations, as text: "knn.k" -> "200"; and of the data in a folder or a table that
            are named, "data.group" -> "object".
        count: test images at most; 0 for all images of both splits.
        train_count: training images at most, 0 for all; ten times ``count``, at most 10,000, if absent.
        strict: refuse an evaluation that is named but impossible here, instead of leaving it out.
        steer: images of the steering explorer; 0 for none, which saves about 125 renderings for each.
        seed: of the choice of images and of every evaluation that has one.

    Raises:
        UserError: ``count``, ``train_count`` or ``steer`` is too small.
    """

    evaluations: Sequence[str] = ("usual",)
    settings: Mapping[str, str] = field(default_factory=dict)
    count: int = 1000
    train_count: int | None = None
    strict: bool = True
    steer: int = 12
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_bounds(self, "count", "train_count", "steer", low=0)
        object.__setattr__(self, "device", resolve_device(self.device))

    @property
    def max_train_images(self) -> int:
        """0 for all."""
        return min(10 * self.count, MAX_TRAIN_IMAGES) if self.train_count is None else self.train_count


def evaluate_run(
    run: Path | str,
    data: Images | None = None,
    options: EvaluationOptions = EvaluationOptions(),
    *,
    test: Images | None = None,
    labels: str = "none",
    limit: int | None = None,
    progress: ShowProgress = False,
    trusted: Sequence[str] = (),
    backbone: nn.Module | None = None,
    say: Callable[[str], object] = say_nothing,
) -> Scores:
    """Score a run, and write its scores and explorers into its folder.

    Features are kept in the folder ``features`` of the run and read again as long as weights, images and
    code are the same.

    Args:
        data: a folder, a table, a torch ``Dataset`` of (image, label) or other images; the recipe's own data
            if absent.
        test: where the test images come from, if from elsewhere; classes are matched by name.
        labels: of folders: "none", "folders" or a ``.csv`` file with columns ``file`` and ``label``.
        limit: images of each split of a folder, always the same ones; ``None`` for all.
        progress: True for a live bar, or a function (what, done, total).
        backbone: a module like the one the run was trained with, if that was your own.
        say: called with a line about what will be measured and how long that takes, what is left out and
            why, images in both splits, features that are collapsed, classes without training images, and
            factors that do not vary.

    Returns:
        The scores, which print as a table and have ``to_pandas()`` and ``plot()``.

    Raises:
        UserError: an unknown name or setting, or an evaluation asked for by name that is impossible here.
    """
    of_data, of_evaluations = data_settings(options.settings)
    check_data_settings(of_data, data)
    evaluations = protocol.select_evaluations(options.evaluations, of_evaluations, options.seed)
    if threads := limit_threads():
        say(threads)
    loaded = load_run(open_run(Path(run)), trusted, backbone=backbone)
    how: Any = {"labels": labels, "limit": limit, "settings": of_data}
    with shown(progress) as show:
        data, train_set, test_data, test_set = _opened(loaded, data, test, show, **how)
        if shared := len(_files(data, train_set) & _files(test_data, test_set)):
            say(
                f"warning: {shared:,} of {len(test_set):,} test images are training images too, so scores "
                "are of images that probes were fitted on; name other images as test=, or leave it out to "
                "hold some of data= out"
            )
        if test is not None and test_set.classes != train_set.classes:
            test_set = RelabeledDataset(test_set, train_set.classes)
        context = evaluation_context(loaded, train_set, test_set, options, show)
        if left_out := _left_out(context):
            say(left_out)
        say(cost(context, evaluations, options.steer))
        strict = protocol.named_evaluations(options.evaluations) if options.strict else ()
        scores = score_run(loaded, context, evaluations, strict, say)
        if not any(s.group == FACTORS for s in scores):
            say(_audit_hint(loaded.run, data))
        if any(isinstance(e, Evaluation) for e in evaluations.values()):  # the features are there
            for sentence in remarks(context.features("train"), context.features("test")):
                say(f"warning: {sentence}")
        write_explorers(loaded, context, options.steer)
    source = describe_data(data, None if test is None else test_data)
    record_scores(loaded, scores, "evaluate", data, source=source)
    return Scores(scores, {"model": loaded.name, "data": source, **inputs_and_weights(loaded)})


def _opened(
    loaded: LoadedRun, data: Any, test: Any, progress: Progress, **how: Any
) -> tuple[Data, Dataset, Data, Dataset]:
    """The data of training and test images, each with its opened split.

    Args:
        how: "labels", "limit" and "settings" of ``open_data``.
    """
    how |= {"fit": loaded.fit, "intensity": loaded.intensity}
    size = loaded.config.size
    split: Split = "test"
    if data is not None and not isinstance(data, Data):
        # Nothing needs to be held out where test images come from elsewhere.
        data = open_data(data, size, test_fraction=0.1 if test is None else 0.0, **how)
    data = (data or loaded.data).like(loaded.data)
    train_set = data.open("train", named(progress, SPLITS["train"]))
    if test is not None and not isinstance(test, Data):
        test = open_data(test, size, test_fraction=0.0, **how).like(data)
        split = split_of_tests(test)
    test_data = test or data
    return data, train_set, test_data, test_data.open(split, named(progress, SPLITS["test"]))


def check_data_settings(settings: Mapping[str, str], data: object) -> None:
    """Raises UserError if there are settings of data, but neither a folder, a table nor passed images."""
    if settings and (data is None or isinstance(data, Data)):
        raise UserError(
            f"data.{next(iter(settings))}=... is about data=DIR, which is missing: a run's own data stay as "
            "they are"
        )


def _files(data: Data, dataset: Dataset) -> set[str]:
    """The paths of a dataset's images, links of the folder resolved; none for images that are not files."""
    root = os.path.realpath(data.root)
    return {f"{root}/{file}" for file in dataset.files}


def evaluation_context(
    loaded: LoadedRun,
    train: Dataset,
    test: Dataset,
    options: EvaluationOptions = EvaluationOptions(),
    progress: Progress = no_progress,
) -> EvaluationContext:
    """A run's encoder and predictive modules on a device, with the images that evaluations look at."""
    loaded.model.to(options.device)
    train_rows = _sample(train, options.max_train_images, options.seed)
    return EvaluationContext(
        loaded.encoder,
        {"train": train, "test": test},
        {"train": train_rows, "test": _sample(test, options.count, options.seed)},
        {n: m for n, m in loaded.model.modules_by_name.items() if isinstance(m, Predictive)},
        FeatureCache(loaded.run.path / "features"),
        options.seed,
        options.device,
        named(progress, loaded.name),
        model=loaded.name,
    )


def score_run(
    loaded: LoadedRun,
    context: EvaluationContext,
    evaluations: Mapping[str, protocol.EvaluationLike],
    strict: Sequence[str] = (),
    say: Callable[[str], object] = say_nothing,
) -> list[Score]:
    """Scores of a run, those of factors with verdicts, then those of its random-init baseline ("random").

    Args:
        strict: names of evaluations that must be available.
        say: called with a line for each reason why something is left out.

    Raises:
        UserError: why any of ``strict`` is not available, before anything long is computed.
    """
    must = [n for n in strict if n in evaluations]
    scores = protocol.run_evaluations(evaluations, context, strict=must, say=say)
    dataset, rows = context.datasets["train"], context.rows["train"]
    calibration = plain_images(dataset, rows[:CALIBRATION_IMAGES], context.image, context.device)
    encoder = untrained_copy(loaded.encoder, calibration, context.seed)
    show = named(context.progress, "untrained network")
    baseline = replace(context, encoder=encoder, modules={}, model="the untrained baseline", progress=show)
    untrained = protocol.run_evaluations(evaluations, baseline)
    # This is itself a baseline: what is compared with it is not repeated.
    plain = [s for s in untrained if not s.baseline and s.part == "all"]
    return with_verdicts(scores, plain) + [replace(s, baseline="random") for s in plain]


def _sample(dataset: Dataset, count: int, seed: int) -> Tensor:
    """Up to ``count`` random samples, 0 for all, of the labelled ones if there are any: (n,) int64."""
    order = shuffled(len(dataset), seed, "evaluate")
    order = order[_eligible(dataset)[order]]
    return dataset.readable(order[: count or None])


def _eligible(dataset: Dataset) -> Tensor:
    """Which samples may be evaluated, bool (N,): the labelled ones, or all if none is labelled."""
    labelled = dataset.labels >= 0
    return labelled if bool(labelled.any()) else torch.ones_like(labelled)


def _audit_hint(run: Run, data: Data) -> str:
    """Where no factor could be measured: what can be without labels."""
    path = getattr(data, "path", None)
    where = shell_path(Path(path)) if path else "DIR"
    return (
        f"for crop, hue and whatever else views differ in: equissl audit {shell_path(run.path)} data={where}"
    )


def _left_out(context: EvaluationContext) -> str:
    """A line about images that a limit leaves out; "" if there are none."""
    parts = []
    for split, noun in SPLITS.items():
        used, total = len(context.rows[split]), int(_eligible(context.datasets[split]).sum())
        if used < total:
            parts.append(f"{used} of {total} {noun} images")
    return f"evaluated on {' and '.join(parts)}; count=0 takes all of both splits" if parts else ""
