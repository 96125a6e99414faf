"""The audit: which factors can be read from frozen features."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from equissl.data.base import Dataset
from equissl.encoder.encoder import Encoder
from equissl.encoder.modes import eval_mode
from equissl.encoder.untrained import (
    CALIBRATION_IMAGES,
    calibrated,
    kept_names,
    untrained_copy,
    untrained_reason,
)
from equissl.errors import UserError
from equissl.evaluate.audit.asked import Asked, asked
from equissl.evaluate.audit.duplicates import distinct_images
from equissl.evaluate.audit.joint import JointEncoder, Passes
from equissl.evaluate.audit.options import FEW_IMAGES, MIN_GROUPS, MIN_IMAGES, AuditOptions
from equissl.evaluate.audit.plan import TRIAL_IMAGES, Speed, choose, measure
from equissl.evaluate.audit.reading import Reading
from equissl.evaluate.audit.readouts.chosen import with_chosen, write_chosen
from equissl.evaluate.audit.readouts.interval import resample_weights
from equissl.evaluate.audit.readouts.readout import Readout
from equissl.evaluate.audit.readouts.recorded import recorded_params
from equissl.evaluate.audit.readouts.store import Readouts, ReadoutStore
from equissl.evaluate.audit.references import REFERENCES, SMALLEST, reference
from equissl.evaluate.audit.scores import MODEL, Counts, audit_scores, row_of_untrained
from equissl.evaluate.base import Score
from equissl.evaluate.cache import fingerprint, weights_fingerprint
from equissl.evaluate.features import plain_images
from equissl.params import Params, Space
from equissl.progress import Progress, no_progress, say_nothing
from equissl.random import shuffled

REPEATED = 4  # images whose features are computed twice
_RECORDED = "recorded factors"  # what the store calls them; no augmentation has a name of two words


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

    Factors that the dataset records are read from single images as they are. Beside their score stands what
    the class of the images tells of them, and what features add to that; likewise for all other recorded
    factors.

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
        UserError: an unknown factor, a colour factor of images without colour, fewer than 40 different
            images, or the copies of the encoder with random weights are no baseline.
    """
    if batch_size is None:
        batch_size = 32 if torch.device(device).type == "cpu" else 256
    index = dataset.readable(shuffled(len(dataset), options.seed, "audit"))
    _check_count(dataset, index)
    passes = Passes(dataset, image, options.seed, batch_size, device, model)
    what = asked(options.factors, dataset.spaces[image], _shape(dataset, index, image))
    if untrained_reason(encoder):
        options = replace(options, untrained=0)
    references = _references(dataset, index, image, device)
    speed = _speed(passes, encoder, references, what, index[:TRIAL_IMAGES]) if options.minutes else None
    weights_key = weights_fingerprint(encoder)
    begun = fingerprint(weights_key, options, len(index))
    options = with_chosen(options, store, begun)
    options, seconds = choose(options, speed, len(what.audits), len(index), len(what.recorded.names))
    say(_announcement(options, min(options.count or 0, len(index)), what, seconds))
    if store is not None and speed is not None:
        write_chosen(options, store, begun)
    wanted = index[: options.count].sort().values
    index = distinct_images(dataset, wanted, image, batch_size)
    groups = _check_count(dataset, index)
    params, left_out = recorded_params(dataset, index, what.recorded, image, batch_size)
    for name, reason in left_out.items():
        say(f"audit: {name} is left out, as {reason}")
    if not what.audits and not params.space.names:
        raise UserError([f"factors: {name} cannot be read, as {reason}" for name, reason in left_out.items()])
    copies = {row_of_untrained(k, c): c for k, c in enumerate(calibrated(encoder, options.untrained or 0))}

    def networks() -> JointEncoder:
        images = plain_images(dataset, index[:CALIBRATION_IMAGES], image, device)
        _check_repeats(encoder, images[:REPEATED], model)
        untrained = {row: untrained_copy(encoder, images, k, c) for k, (row, c) in enumerate(copies.items())}
        return JointEncoder({MODEL: encoder} | untrained | references.by_name())

    weights = resample_weights(dataset.groups[index], seed=options.seed)
    reading = Reading(networks, passes, index, options, weights)
    measured = dataset.fingerprint(index), params.space  # equal numbers may be of other kinds or periods
    key = fingerprint(weights_key, *measured, replace(options, minutes=0.0))
    rows = frozenset((MODEL, *copies, *references.names))
    kept = ReadoutStore(store, f"{key} {image} {device}", rows, len(index), options.draws or 1)
    passes.progress = progress
    readouts = _read_all(reading, kept, what, params, say)
    if keep is not None:
        keep({n: f.readout for r in readouts for n, f in r.get((MODEL, "all"), {}).items()}, index)
    counts = Counts(len(index), groups, len(wanted) - len(index))
    return list(audit_scores(readouts, options, counts, kept_names(encoder) if copies else ()))


def _read_all(
    reading: Reading, kept: ReadoutStore, what: Asked, params: Params, say: Callable[[str], None]
) -> list[Readouts]:
    """What was read of each audit: before, as far as it is kept, or now."""
    found = {item.name: kept.read(item.name, item.augment.space) for item in what.audits}
    recorded = kept.read(_RECORDED, params.space) if params.space.names else {}
    missing = [item for item in what.audits if found[item.name] is None]
    if before := len(what.audits) - len(missing) + bool(recorded):
        say(f"audit: {before} of {len(what.audits) + bool(params.space.names)} readouts are kept from before")
    unread = Asked(missing, params.space if recorded is None else Space())
    passes, draws = reading.passes, reading.options.draws or 1
    passes.total, passes.done = unread.passes(draws) * len(reading.index), 0
    for item in missing:
        found[item.name] = read = reading.read(item)
        kept.write(item.name, read)
    if recorded is None:
        recorded = reading.read_recorded(params)
        kept.write(_RECORDED, recorded)
    return [f for f in (*found.values(), recorded) if f]


def _shape(dataset: Dataset, index: Tensor, image: str) -> tuple[int, ...]:
    shape = tuple(dataset.batch(index[:1]).images[image].shape[1:])
    if min(shape[1:]) < SMALLEST:
        raise UserError(
            f"images of {shape[1]} x {shape[2]} px cannot be audited: "
            f"they need at least {SMALLEST} px on each side"
        )
    return shape


def _check_count(dataset: Dataset, index: Tensor) -> int:
    """The number of groups."""
    groups = len(torch.unique(dataset.groups[index]))
    if len(index) < MIN_IMAGES:
        raise UserError(
            f"audit: it needs at least {MIN_IMAGES} different images, but there are {len(index)}"
            " among those that were read: add images, or raise count="
        )
    if groups < MIN_GROUPS:
        raise UserError(
            f"audit: its {len(index)} images are of {groups} groups (objects), but it needs {MIN_GROUPS}, as "
            "probes are scored on groups that they were not fitted on"
        )
    return groups


def _check_repeats(encoder: Encoder, images: Tensor, model: str) -> None:
    """Refuse an encoder whose features of the same images differ by more than rounding each time."""
    with eval_mode(encoder), torch.inference_mode():
        first, second = (encoder(images).vector.double() for _ in range(2))
    if first.shape != second.shape or not bool(torch.stack([first, second]).isfinite().all()):
        return  # said later, with what causes it
    if bool((first - second).abs().max() > 1e-3 * first.abs().max()):
        raise UserError(
            f"{model or 'the encoder'} gives other features of the same images each time, so that nothing "
            "can be said of them; switch off what is random in it (dropout, sampling)"
        )


def _references(dataset: Dataset, index: Tensor, image: str, device: torch.device | str) -> JointEncoder:
    shape = _shape(dataset, index, image)
    return JointEncoder({name: reference(name, shape).to(device) for name in REFERENCES})


def _speed(passes: Passes, encoder: Encoder, references: JointEncoder, what: Asked, index: Tensor) -> Speed:
    joint = JointEncoder({MODEL: encoder})
    images = plain_images(passes.dataset, index, passes.image, passes.device)
    with eval_mode(joint), torch.inference_mode():
        parts = joint(images[:1]).parts.values()
    return measure(
        lambda count: passes.features(joint, index[:count]),
        lambda item, count: passes.features(references, index[:count], item.augment),
        what.audits,
        [columns.stop - columns.start for columns in parts],
    )


def _announcement(options: AuditOptions, count: int, what: Asked, seconds: float) -> str:
    draws, untrained = options.draws or 1, options.untrained or 0
    passes = count * what.passes(draws) * (1 + untrained)
    parts = [f"{count} images"]
    if recorded := len(what.recorded.names):
        parts.append(_numbered(recorded, "recorded factor"))
    if what.audits:
        parts += [_numbered(len(what.audits), "augmentation"), f"{_numbered(draws, 'time')} each"]
    parts += [
        f"{_numbered(untrained, 'network')} with random weights: {passes:,} forward passes",
    ]
    if seconds:
        amount, unit = (seconds / 60, "minute") if seconds >= 90 else (seconds, "second")
        parts.append(f"about {_numbered(round(amount), unit)} (count=N, draws=1 or fewer factors= take less)")
    line = f"audit: {', '.join(parts)}"
    if seconds and count < FEW_IMAGES:
        minutes = math.ceil(FEW_IMAGES / count * seconds / 60) + 1
        line += f"; minutes={minutes} would be enough for {FEW_IMAGES} images, below which scores say little"
    return line + ("; then equivariance, which takes about as long" if options.equivariance else "")


def _numbered(count: int, word: str) -> str:
    return f"{count} {word}" + ("" if count == 1 else "s")
