"""The audit: which augmentation factors can be read from frozen features, without labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.data.base import Dataset
from equissl.encoder.encoder import Encoder
from equissl.encoder.modes import eval_mode
from equissl.encoder.untrained import CALIBRATION_IMAGES, untrained_copies, untrained_reason
from equissl.errors import UserError
from equissl.evaluate.audit.duplicates import distinct_images
from equissl.evaluate.audit.factors import AUDITS, NEEDS_COLOR, NEEDS_SQUARE, Audited, audited_once
from equissl.evaluate.audit.interval import resample_weights
from equissl.evaluate.audit.joint import JointEncoder, Passes
from equissl.evaluate.audit.options import MIN_IMAGES, AuditOptions, check_names
from equissl.evaluate.audit.plan import TRIAL_IMAGES, Speed, choose, measure
from equissl.evaluate.audit.readout import (
    Readout,
    Views,
    learning_curve,
    read_absolute,
    read_factors,
    read_together,
)
from equissl.evaluate.audit.references import REFERENCES, SMALLEST, reference
from equissl.evaluate.audit.scores import MODEL, audit_scores, row_of_untrained
from equissl.evaluate.audit.store import Finding, Readouts, ReadoutStore
from equissl.evaluate.base import FeatureTable, Score
from equissl.evaluate.cache import fingerprint, weights_fingerprint
from equissl.evaluate.features import plain_images
from equissl.evaluate.probes.pair_kernels import PairFeatures
from equissl.progress import Progress, no_progress, say_nothing
from equissl.random import shuffled

__all__ = ["AUDITS", "MIN_IMAGES", "AuditOptions", "audit", "check_names", "suitable_audits"]

_SOURCE_VIEW = 1_000_000  # the view of the plain images where they are cropped: no draw has this number


def audit(
    encoder: Encoder,
    dataset: Dataset,
    options: AuditOptions = AuditOptions(),
    *,
    image: str = "image",
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = no_progress,
    say: Callable[[str], None] = say_nothing,
    store: Path | None = None,
    keep: Callable[[Mapping[str, Readout], Tensor], object] | None = None,
    model: str = "",
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
        batch_size: images that pass the network at once. If None, 32 on a CPU, whose caches then hold what
            layers make of them (at 96 px 1.5 times as fast as 256 with ResNet-50, twice with
            EfficientNet-Lite0), otherwise 256.
        device: where the encoder is.
        say: gets one line that says what will be done and how long it takes.
        store: a folder that keeps what was read after each augmentation, from which the same audit goes on.
        keep: called with what was read from the encoder's features, by factor, and the audited images (N,).
        model: what messages call the encoder.

    Raises:
        UserError: a colour factor of images without colour, fewer than 40 different images, or the copies of
            the encoder with random weights are no baseline.
    """
    seed = options.seed
    if batch_size is None:
        batch_size = 32 if torch.device(device).type == "cpu" else 256
    index = dataset.readable(shuffled(len(dataset), seed, "audit"))
    passes = Passes(dataset, image, seed, batch_size, device, model)
    shape = tuple(dataset.batch(index[:1]).images[image].shape[1:])
    if min(shape[1:]) < SMALLEST:
        raise UserError(
            f"images of {shape[1]} x {shape[2]} px cannot be audited: "
            f"they need at least {SMALLEST} px on each side"
        )
    named = suitable_audits([f for f in options.factors if isinstance(f, str)], shape, cropped=True)
    audits = audited_once(options.factors or named)
    _check_sizes(options.factors, shape[1:])
    if untrained_reason(encoder):
        options = replace(options, untrained=0)
    references = JointEncoder({name: reference(name, shape).to(device) for name in REFERENCES})
    speed = _speed(passes, encoder, references, audits, index[:TRIAL_IMAGES]) if options.minutes else None
    options, seconds = choose(options, speed, len(audits), len(index))
    say(_announcement(options, min(options.count or 0, len(index)), len(audits), seconds))
    asked = index[: options.count].sort().values
    index = distinct_images(dataset, asked, image, batch_size)
    groups = dataset.groups[index]
    if (distinct := len(torch.unique(groups))) < MIN_IMAGES:
        raise UserError(f"audit: it needs at least {MIN_IMAGES} different images, but there are {distinct}")
    calibration = plain_images(dataset, index[:CALIBRATION_IMAGES], image, device)
    copies = untrained_copies(encoder, calibration, options.untrained or 0)
    networks = {MODEL: encoder} | {
        row_of_untrained(k, copied.calibrated): copied.encoder for k, copied in enumerate(copies)
    }
    joint = JointEncoder(networks | references.by_name())
    key = fingerprint(weights_fingerprint(encoder), dataset.fingerprint(index), replace(options, minutes=0.0))
    rows = frozenset(networks | references.by_name())
    kept = ReadoutStore(store, f"{key} {image} {device}", rows, len(index), options.draws or 1)
    reading = _Reading(joint, passes, index, options, resample_weights(groups, seed=seed))
    found = {item.name: kept.read(item.name, item.augment.space) for item in audits}
    missing = [item for item in audits if found[item.name] is None]
    passes.progress, passes.total, passes.done = progress, reading.images(missing), 0
    for item in missing:
        found[item.name] = read = reading.read(item)
        kept.write(item.name, read)
    trained = copies[0].kept if copies else ()
    readouts = [f for f in found.values() if f is not None]
    if keep is not None:
        keep({n: f.readout for r in readouts for n, f in r.get((MODEL, "all"), {}).items()}, index)
    return list(audit_scores(readouts, options, len(index), len(asked) - len(index), trained))


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
class _Reading:
    """What is read from all encoders' features of the same images."""

    network: JointEncoder
    passes: Passes
    index: Tensor
    options: AuditOptions
    weights: Tensor
    plain: dict[Augmentation | None, FeatureTable] = field(default_factory=dict)

    def images(self, audits: Sequence[Audited]) -> int:
        """How many images all passes have."""
        sources = len({item.source for item in audits})
        return (len(audits) * (self.options.draws or 1) + sources) * len(self.index)

    def read(self, item: Audited) -> Readouts:
        if item.source not in self.plain:
            self.plain[item.source] = self.passes.features(
                self.network, self.index, item.source, _SOURCE_VIEW, "plain images"
            )
            _check_alive(self.plain[item.source].part(f"{MODEL}/all"), self.passes.model)
        plain = self.plain[item.source]
        changed = [
            self.passes.features(self.network, self.index, item.augment, k, item.name)
            for k in range(self.options.draws or 1)
        ]
        if any(view.parts != plain.parts for view in changed):
            raise UserError(
                f"{self.passes.model or 'the encoder'} gives another number of features each time; "
                "an encoder gives the same for the same images"
            )
        views = Views.of(plain, changed, item.factors, self.options.precision, self.options.seed)
        if not views.factors:
            raise UserError(
                f"factors: no parameter of {item.name} differs between images, so that there is "
                "nothing to read; give it wider ranges, or p= above 0"
            )
        found: dict[tuple[str, str], dict[str, Finding]] = {}
        for name in plain.parts:
            row, _, part = name.partition("/")
            found[row, part] = self._findings(views.of_part(name), row)
        together = read_together(views.of_part(f"{MODEL}/all"), views.of_part("statistics/all"), self.weights)
        own = found[MODEL, "all"]
        found[MODEL, "all"] = {n: replace(f, together=together[n]) for n, f in own.items()}
        return found

    def _findings(self, views: Views, row: str) -> dict[str, Finding]:
        absolute = {} if row in REFERENCES else read_absolute(views, self.weights)
        curves = learning_curve(views) if row == MODEL else {}
        return {
            r.factor.name: Finding(r, absolute.get(r.factor.name), curves.get(r.factor.name))
            for r in read_factors(views, self.weights, control=row == MODEL)
        }


def _check_sizes(factors: Sequence[str | Augmentation], size: tuple[int, ...]) -> None:
    """Refuse augmentations after which the encoder would read images of another size."""
    height, width = size
    made = {type(f).__name__: f.output_size((height, width)) for f in factors if not isinstance(f, str)}
    if wrong := {name: new for name, new in made.items() if new != (height, width)}:
        raise UserError(
            [
                f"factors: {name} makes images of {new[0]} x {new[1]} px, but they are of "
                f"{height} x {width}; give it their size"
                for name, new in wrong.items()
            ]
        )


def _check_alive(table: FeatureTable, model: str) -> None:
    if not PairFeatures.of(table.vectors, table.vectors).live:
        raise UserError(
            f"{model or 'the encoder'} gives the same features for all {len(table)} images: the network is "
            "dead, or mean= and std= are not those that it was trained with"
        )


def _speed(
    passes: Passes, encoder: Encoder, references: JointEncoder, audits: Sequence[Audited], index: Tensor
) -> Speed:
    joint = JointEncoder({MODEL: encoder})
    images = plain_images(passes.dataset, index, passes.image, passes.device)
    with eval_mode(joint), torch.inference_mode():
        parts = joint(images[:1]).parts.values()
    return measure(
        lambda count: passes.features(joint, index[:count]),
        lambda item, count: passes.features(references, index[:count], item.augment),
        audits,
        [columns.stop - columns.start for columns in parts],
    )


def _announcement(options: AuditOptions, count: int, audits: int, seconds: float) -> str:
    draws, untrained = options.draws or 1, options.untrained or 0
    passes = count * (audits * draws + 2) * (1 + untrained)
    parts = [
        f"{count} images",
        _numbered(audits, "augmentation"),
        f"{_numbered(draws, 'time')} each",
        f"{_numbered(untrained, 'network')} with random weights: {passes:,} forward passes",
    ]
    if seconds:
        parts.append(f"about {seconds / 60:.0f} minutes" if seconds >= 90 else f"about {seconds:.0f} seconds")
    return f"audit: {', '.join(parts)}"


def _numbered(count: int, word: str) -> str:
    return f"{count} {word}" + ("" if count == 1 else "s")
