"""The audit: which augmentation factors can be read from frozen features, without labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from equissl.data.base import Dataset
from equissl.encoder.encoder import Encoder
from equissl.encoder.untrained import CALIBRATION_IMAGES, untrained_copy
from equissl.errors import UserError
from equissl.evaluate.audit.duplicates import distinct_images
from equissl.evaluate.audit.factors import AUDITS, NEEDS_COLOR, NEEDS_SQUARE, audited_augmentation, factors_of
from equissl.evaluate.audit.interval import Resampled, resample_weights
from equissl.evaluate.audit.options import MIN_IMAGES, AuditOptions, check_names
from equissl.evaluate.audit.readout import Readout, read_factors
from equissl.evaluate.audit.references import REFERENCES, reference
from equissl.evaluate.audit.verdict import Evidence, Verdict, verdicts
from equissl.evaluate.base import FeatureTable, Score
from equissl.evaluate.features import extract, plain_images
from equissl.evaluate.statistics import Estimate
from equissl.evaluate.titles import AUDIT, title
from equissl.progress import Progress, no_progress
from equissl.random import shuffled

__all__ = ["AUDITS", "MIN_IMAGES", "AuditOptions", "audit", "check_names", "suitable_audits"]


def audit(
    encoder: Encoder,
    dataset: Dataset,
    options: AuditOptions = AuditOptions(),
    *,
    image: str = "image",
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    progress: Progress = no_progress,
    model: str = "",
    keep: Callable[[Mapping[str, Readout], Tensor], object] | None = None,
) -> list[Score]:
    """How well the parameters of each augmentation, applied alone, can be read from both images' features.

    Probes are fitted on four fifths of the images and score the others, until each image is scored once; the
    whole is repeated with new parameters and new folds. R2 for numbers, with angles and hues as cosine and
    sine, balanced accuracy for yes or no. Intervals are for the score that other images, draws and folds
    would give with as many images. Baselines: "constant", "random" (the mean over copies of the encoder with
    random weights), "shuffled" (targets of other images), and features that are computed from pixels
    (``audit.references``).

    Each named part of the features has rows of its own, whose references are those of the whole.

    Args:
        device: where the encoder is.
        model: what messages call the encoder.
        keep: called with what was read from the encoder's features, by factor, and the audited images (N,).

    Raises:
        UserError: a colour factor of images without colour, fewer than 40 different images, or the copies of
            the encoder with random weights are no baseline.
    """
    seed = options.seed
    index = dataset.readable(shuffled(len(dataset), seed, "audit")[: options.count].sort().values)
    index = distinct_images(dataset, index, image, batch_size)
    groups = dataset.groups[index]
    if (distinct := len(torch.unique(groups))) < MIN_IMAGES:
        raise UserError(f"audit: it needs at least {MIN_IMAGES} different images, but there are {distinct}")
    shape = tuple(dataset.batch(index[:1]).images[image].shape[1:])
    names = suitable_audits(options.factors, shape, cropped=True)
    # Of an encoder without weights all copies would be itself.
    copies = options.untrained if any(p.is_floating_point() for p in encoder.parameters()) else 0
    passes = _Passes(dataset, index, image, seed, batch_size, progress)
    passes.total = (1 + copies + len(REFERENCES)) * (len(names) * options.draws + 1) * len(index)
    weights = resample_weights(groups, seed=seed)
    # Part of the features -> row -> factor -> what was read. References are features as a whole.
    readouts: dict[str, dict[str, dict[str, Readout]]] = {part: {} for part in ("all", *encoder.parts)}
    kept: tuple[str, ...] = ()
    for row in ("", *(f"random {k}" for k in range(copies)), *REFERENCES):
        network, called, where = encoder, model, device
        if row in REFERENCES:
            network, called, where = reference(row, shape), row, "cpu"
        elif row:
            calibration = plain_images(dataset, index[:CALIBRATION_IMAGES], image, device)
            copied = untrained_copy(encoder, calibration, int(row.split()[1]))
            network, called = copied.encoder, f"the untrained baseline, {row}"
            kept = copied.kept
        plain = passes.features(network, called, where)
        for name in names:
            changed = [passes.features(network, called, where, name, k) for k in range(options.draws)]
            for part, found in readouts.items():
                if row in REFERENCES and part != "all":
                    found[row] = readouts["all"][row]
                    continue
                own = [view.part(part) for view in changed]
                read = read_factors(plain.part(part), own, factors_of(name), weights, options.precision, seed)
                found.setdefault(row, {}).update({r.factor.name: r for r in read})
    if keep is not None:
        keep(readouts["all"][""], index)
    return [
        score
        for part, found in readouts.items()
        for score in _scores(found, options, len(index), distinct, kept, part)
    ]


def suitable_audits(factors: Sequence[str], shape: tuple[int, ...], cropped: bool = False) -> Sequence[str]:
    """The audits ``factors``, or all that images (C, H, W) allow.

    Args:
        cropped: the images become square first, as in the audit of discrete factors.

    Raises:
        UserError: an unknown name, a colour factor of images without colour, or a quarter turn of images that
            are not square.
    """
    check_names(tuple(factors))
    channels, height, width = shape
    reasons = {f: f"colour images, but these have {channels} channels" for f in NEEDS_COLOR if channels != 3}
    if height != width and not cropped:
        reasons |= dict.fromkeys(NEEDS_SQUARE, f"square images, but these are {height} x {width}")
    if problems := [f"factors: {f!r} needs {reasons[f]}" for f in factors if f in reasons]:
        raise UserError(problems)
    return factors or tuple(f for f in AUDITS if f not in reasons)


@dataclass
class _Passes:
    """Passes over the images, with progress over all of them."""

    dataset: Dataset
    index: Tensor
    image: str
    seed: int
    batch_size: int
    progress: Progress
    total: int = 0
    done: int = 0

    def features(
        self, network: Encoder, model: str, device: torch.device | str, audit: str = "", draw: int = 0
    ) -> FeatureTable:
        """Features of the plain images, or of those that an audit's augmentation changed."""

        def report(what: str, done: int, of: int) -> None:
            self.progress("audit", self.done + done, self.total)

        table = extract(
            network,
            self.dataset,
            index=self.index,
            augment=audited_augmentation(audit) if audit else None,
            image=self.image,
            dataset_params=False,
            view_index=draw,
            seed=self.seed,
            batch_size=self.batch_size,
            device=device,
            progress=report,
            model=model,
        )
        self.done += len(self.index)
        return table


def _scores(
    readouts: Mapping[str, Mapping[str, Readout]],
    options: AuditOptions,
    count: int,
    distinct: int,
    kept: Sequence[str],
    part: str,
) -> Iterator[Score]:
    of = partial(_score, count=count, seed=options.seed, part=part)
    random = [rows for name, rows in readouts.items() if name.startswith("random")]
    own = readouts[""]
    found = _verdicts(readouts, random)
    for factor, readout in own.items():
        extra = {
            "probe": readout.chosen,
            "probes": dict(readout.probes),
            "amplitude": readout.amplitude,
            "live": readout.live,
            "width": readout.width,
            "precision": options.precision,
            "draws": options.draws,
            "distinct": distinct,
            "bits": bits(readout),
            "unit": readout.factor.unit,
        }
        if factor in found:
            verdict = found[factor]
            extra |= {"verdict": verdict.word}
            for name, d in (("untrained", verdict.to_untrained), ("statistics", verdict.to_statistics)):
                interval = d.interval()
                extra[f"to_{name}"] = [interval.value, interval.low, interval.high]
        yield of(readout, readout.score.interval(), "", extra=extra)
        chance = readout.chance
        yield of(readout, Estimate(chance, chance, chance), "constant")
        yield of(readout, readout.shuffled.interval(), "shuffled")
        for row, rows in readouts.items():
            if row in REFERENCES and factor in rows and part == "all":
                yield of(rows[factor], rows[factor].score.interval(), row)
        if networks := [r[factor] for r in random if factor in r]:
            each = [n.score.value for n in networks]
            more = {"each": each, "kept": list(kept)}
            yield of(networks[0], _mean([n.score for n in networks]), "random", extra=more)


def _verdicts(
    readouts: Mapping[str, Mapping[str, Readout]], random: Sequence[Mapping[str, Readout]]
) -> Mapping[str, Verdict]:
    if len(random) < 2:  # no spread over initialisations
        return {}
    return verdicts(
        {
            factor: Evidence(
                readout.score,
                [rows[factor].score for rows in random],
                readouts["statistics"][factor].score,
                [readouts["pixels"][factor].score],
                readout.chance,
            )
            for factor, readout in readouts[""].items()
            if all(factor in rows for rows in readouts.values())
        }
    )


def bits(readout: Readout) -> float:
    """Usable information in bits: -1/2 log2(1 - R2) for each number, as of Gaussians; classes by accuracy."""
    value = readout.score.value
    if readout.score.regress:
        return -0.5 * math.log2(1 - min(max(value, 0.0), 1 - 1e-6)) * readout.targets.shape[1]
    classes = round(1 / readout.chance)
    p = min(max(value, readout.chance), 1.0)
    other = (1 - p) * math.log2((1 - p) / (classes - 1)) if p < 1 else 0.0
    return math.log2(classes) + p * math.log2(p) + other


def _mean(scores: Sequence[Resampled]) -> Estimate:
    """The mean of several networks' scores, with the interval of images and initialisations together."""
    mean = Resampled(
        torch.stack([s.values for s in scores]).mean(0),
        torch.stack([s.resamples for s in scores]).mean(0),
        scores[0].regress,
    )
    spread = (
        float(torch.tensor([s.value for s in scores]).double().var()) / len(scores) if len(scores) > 1 else 0
    )
    half = 1.96 * math.sqrt(mean.variance() + spread)
    return Estimate(mean.value, mean.value - half, min(1.0, mean.value + half))


def _score(
    readout: Readout,
    result: Estimate,
    baseline: str,
    *,
    count: int,
    seed: int,
    part: str,
    extra: Mapping[str, object] | None = None,
) -> Score:
    return Score.of(
        f"audit/{readout.factor.name}",
        result,
        unit="R2" if readout.score.regress else "balanced accuracy",
        count=count,
        part=part,
        baseline=baseline,
        seed=seed,
        extra=extra or {},
        title=title(readout.factor.name),
        group=AUDIT,
        higher_is_better=True,
    )
