"""What an audit keeps of every image, as a file: targets, predictions, and scores of all resamples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from equissl.data.base import Dataset
from equissl.errors import UserError
from equissl.evaluate.audit.readouts.interval import Resampled
from equissl.evaluate.audit.readouts.readout import Readout
from equissl.evaluate.checked_file import read_checked, write_checked

FILE = "audit_predictions.safetensors"
SCHEMA = 2


@dataclass(frozen=True)
class Predictions:
    """Predictions of one encoder, for comparisons with those of another on the same images.

    Args:
        images: names of the files, or a digest and a number for images without files.
        seed: of the augmentations, folds and resamples.
        scores: factor -> its score with the values in all bootstrap resamples.
        targets: factor -> (N, c) numbers, as the factor encodes them, or (N,) classes, of the first draw.
        predictions: factor -> the same, each from a probe that was not fitted on the image.
    """

    images: tuple[str, ...]
    seed: int
    scores: Mapping[str, Resampled]
    targets: Mapping[str, Tensor]
    predictions: Mapping[str, Tensor]

    @classmethod
    def of(cls, readouts: Mapping[str, Readout], dataset: Dataset, index: Tensor, seed: int) -> Predictions:
        """Of an audit of the images ``index`` (N,)."""
        return cls(
            image_names(dataset, index),
            seed,
            {name: r.score for name, r in readouts.items()},
            {name: r.targets for name, r in readouts.items()},
            {name: r.predictions for name, r in readouts.items()},
        )

    def lengths(self) -> frozenset[tuple[int, int]]:
        """How many draws and resamples stand behind the scores."""
        return frozenset((len(s.values), len(s.resamples)) for s in self.scores.values())

    def write(self, path: Path) -> None:
        """Write them as safetensors, whole or not at all."""
        tensors = {}
        for name, score in self.scores.items():
            tensors[f"{name}/values"] = score.values.float()
            tensors[f"{name}/resamples"] = score.resamples.float()
            for kind, values in (("targets", self.targets[name]), ("predictions", self.predictions[name])):
                tensors[f"{name}/{kind}"] = values.float() if values.is_floating_point() else values
        regress = {name: score.regress for name, score in self.scores.items()}
        facts = {"schema": SCHEMA, "seed": self.seed, "images": self.images, "regress": regress}
        write_checked(path, facts, tensors)


def image_names(dataset: Dataset, index: Tensor) -> tuple[str, ...]:
    """What tells the images ``index`` (N,) apart from others, whatever encoder they are resized for."""
    if files := dataset.files:
        return tuple(files[k] for k in index.tolist())
    digest = dataset.fingerprint(index)
    return tuple(f"{digest}/{k}" for k in index.tolist())


def read_predictions(path: Path) -> Predictions:
    """Predictions as ``Predictions.write`` leaves them.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    try:
        return _checked(*read_checked(path))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} holds no predictions of an audit ({error}); audit again") from error


def _checked(facts: Mapping[str, object], tensors: Mapping[str, Tensor]) -> Predictions:
    if facts["schema"] != SCHEMA:
        raise ValueError(f"schema {facts['schema']!r}, expected {SCHEMA}")
    images, regress, seed = (facts[k] for k in ("images", "regress", "seed"))
    if not isinstance(images, list) or not isinstance(regress, dict) or not isinstance(seed, int):
        raise ValueError("images, regress or seed are of another type")
    scores = {}
    for name, numbers in regress.items():
        values, resamples = (tensors[f"{name}/{k}"] for k in ("values", "resamples"))
        scores[name] = Resampled.stored(values, resamples, bool(numbers))
        if any(tensors[f"{name}/{k}"].shape[:1] != (len(images),) for k in ("targets", "predictions")):
            raise ValueError(f"{name} has another number of images")
    return Predictions(
        tuple(map(str, images)),
        seed,
        scores,
        *({n: tensors[f"{n}/{kind}"] for n in scores} for kind in ("targets", "predictions")),
    )


def same_images(audits: Sequence[Predictions]) -> bool:
    """Whether audits read the same images with the same draws of changes, folds and resamples."""
    return len({(a.images, a.seed, a.lengths()) for a in audits}) == 1
