"""Example images of an audit: each factor's change on one image, and the images it is read worst from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.augment.batched import as_float
from equissl.data.base import Dataset
from equissl.evaluate.audit.factors import Audited
from equissl.evaluate.audit.readouts.predictions import image_names
from equissl.evaluate.audit.readouts.readout import Readout
from equissl.evaluate.explorer.neighbors import data_uri
from equissl.evaluate.features import plain_images, sample_params, whole_batch
from equissl.params import Binary, Circular, Cyclic, Factor
from equissl.storage import write_json

FILE = "audit_examples.json"
SCHEMA = 1
SIDE = 112  # pixels of a thumbnail
CANDIDATES = 8  # images of which the most visible change is shown
WORST = 3  # images per factor


def write_examples(
    path: Path,
    readouts: Mapping[str, Readout],
    audits: Sequence[Audited],
    dataset: Dataset,
    index: Tensor,
    image: str = "image",
    seed: int = 0,
) -> None:
    """Write example images as data URIs, one entry per factor, for the page.

    Args:
        audits: what changed the images.
        index: (N,) the audited images.
    """
    content = {
        name: _entry(audit, readouts[name], dataset, index, image, seed)
        for audit in audits
        for name in audit.factors
        if name in readouts
    }
    for name, readout in readouts.items():
        if readout.recorded:
            content[name] = _recorded_entry(readout, dataset, index, image)
    write_json(path, {"schema": SCHEMA, "factors": content}, indent=None)


def _entry(
    audit: Audited, readout: Readout, dataset: Dataset, index: Tensor, image: str, seed: int
) -> dict[str, object]:
    true, read = natural(readout.read, readout.targets), natural(readout.read, readout.predictions)
    order = true.abs().argsort(descending=True, stable=True)
    visible = _views(audit, dataset, index[order[:CANDIDATES]], image, seed)
    best = int((visible[0] - visible[1]).abs().flatten(1).mean(1).argmax())
    worst = _worst(readout)
    wrong = _views(audit, dataset, index[worst], image, seed) if len(worst) else ((), ())
    names = image_names(dataset, index)
    return {
        "augmentation": audit.name,
        "image": names[int(order[best])],
        "change": describe(readout.factor, float(true[order[best]])),
        "original": data_uri(visible[0][best]),
        "changed": data_uri(visible[1][best]),
        "worst": [
            {
                "image": names[k],
                "true": describe(readout.factor, float(true[k])),
                "read": describe(readout.factor, float(read[k])),
                "original": data_uri(plain),
                "changed": data_uri(changed),
            }
            for k, plain, changed in zip(worst.tolist(), *wrong, strict=True)
        ],
    }


def _recorded_entry(readout: Readout, dataset: Dataset, index: Tensor, image: str) -> dict[str, object]:
    """Two images between which a recorded factor differs most, and those that it is read worst from."""
    factor, names = readout.read, image_names(dataset, index)
    targets = readout.targets.double().reshape(len(index), -1)
    first = int((targets - targets.mean(0)).square().sum(1).argmax())
    second = int((targets - targets[first]).square().sum(1).argmax())
    worst = _worst(readout)
    shown = _small(
        plain_images(dataset, index[torch.cat([torch.tensor([first, second]), worst])], image, "cpu")
    )
    return {
        "augmentation": readout.factor.name,
        "image": names[first],
        "first": value_in_words(factor, readout.targets[first]),
        "change": value_in_words(factor, readout.targets[second]),
        "original": data_uri(shown[0]),
        "changed": data_uri(shown[1]),
        "worst": [
            {
                "image": names[k],
                "true": value_in_words(factor, readout.targets[k]),
                "read": value_in_words(factor, readout.predictions[k]),
                "original": data_uri(shown[2 + n]),
            }
            for n, k in enumerate(worst.tolist())
        ],
    }


def natural(factor: Factor, encoded: Tensor) -> Tensor:
    """Values in the factor's own units, (N,): of numbers (N, c) as they are encoded, or of classes (N,)."""
    if not encoded.is_floating_point():
        return encoded.double()
    return factor.decode(encoded.double())[:, 0]


def value_in_words(factor: Factor, encoded: Tensor) -> str:
    """A recorded value for people, "120°", "0.31 m", "yes"; of encoded numbers (c,), or of a class."""
    if factor.discrete:
        found = int(encoded)
        if isinstance(factor, Cyclic) and factor.levels:
            return factor.levels[found]
        return ("yes" if found else "no") if isinstance(factor, Binary) else f"{found}"
    values = factor.decode(encoded.double()[None])[0].tolist()
    if isinstance(factor, Circular):
        values = [v % factor.period for v in values]
    match factor.unit:
        case "radians":
            return f"{math.degrees(values[0]):.0f}°"
        case "turns":
            return f"{values[0] * 360:.0f}°"
        case "degrees":
            return f"{values[0]:.0f}°"
    return f"{', '.join(f'{v:.3g}' for v in values)} {factor.unit}".rstrip()


def describe(factor: Factor, change: float) -> str:
    """A change for people: "+120°", "\N{MULTIPLICATION SIGN} 1.23", "yes"."""
    if factor.discrete:
        count = len(factor.elements())
        return ("yes" if change else "no") if count == 2 else f"{change * 360 / count:.0f}°"
    match factor.unit:
        case "radians":
            return f"{float(torch.rad2deg(torch.tensor(change))):+.0f}°"
        case "turns":
            return f"{change * 360:+.0f}°"
        case "factor":
            return f"\N{MULTIPLICATION SIGN} {1 + change:.2f}"
        case "fraction":
            return f"{100 * change:+.0f} %"
        case "pixels":
            return f"{change:+.1f} px"
    return f"{change:+.2f} {factor.unit}".rstrip()


def _worst(readout: Readout) -> Tensor:
    """The images with the largest errors, or the first wrong classes: at most ``WORST``, (n,)."""
    targets, predictions = readout.targets, readout.predictions
    if not targets.is_floating_point():
        return (targets != predictions).nonzero()[:WORST, 0]
    return (targets - predictions).square().sum(1).argsort(descending=True, stable=True)[:WORST]


def _views(audit: Audited, dataset: Dataset, index: Tensor, image: str, seed: int) -> tuple[Tensor, Tensor]:
    """Thumbnails of the plain and the changed images of the first draw, (n, C, h, w) in [0, 1] each."""
    batch = whole_batch(dataset, index)
    plain = as_float(batch.images[image])
    params = sample_params(batch, audit.augment, image, 0, seed, batch.index)
    first, second = _small(plain), _small(audit.augment.apply(plain, params))
    return first, second if second.shape == first.shape else F.interpolate(second, first.shape[-2:])


def _small(images: Tensor) -> Tensor:
    scale = SIDE / max(images.shape[-2:])
    if scale >= 1:
        return images
    size = [max(1, round(s * scale)) for s in images.shape[-2:]]
    return F.interpolate(images, size, mode="bilinear", antialias=True).clamp(0, 1)
