"""The directions of an encoder's features that carry a factor, written to a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from equissl.api.given import load_with_images
from equissl.augment.factor_names import named_factors
from equissl.data.base import Dataset
from equissl.data.folder import open_data
from equissl.data.given_images import Images
from equissl.distributed import limit_threads, resolve_device
from equissl.errors import UserError
from equissl.evaluate.audit.asked import check_asked
from equissl.evaluate.audit.duplicates import distinct_images
from equissl.evaluate.audit.options import MIN_IMAGES, MOST_IMAGES
from equissl.evaluate.audit.subspace import FactorSubspace, erase_factor
from equissl.evaluate.base import Score
from equissl.evaluate.context import EvaluationContext
from equissl.progress import Progress, ShowProgress, shown
from equissl.random import shuffled
from equissl.runs.given import Given, load_given
from equissl.runs.load import Loaded, inputs_and_weights
from equissl.storage import atomic_open


def subspace(
    model: Given,
    data: Images,
    factor: str,
    out: Path | str | None = None,
    *,
    factors: Sequence[str] = (),
    labels: str = "none",
    settings: Mapping[str, str] | None = None,
    count: int = MOST_IMAGES,
    size: int = 0,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    preprocess: object = None,
    trusted: Sequence[str] = (),
    seed: int = 0,
    device: str = "cpu",
    progress: ShowProgress = False,
) -> tuple[FactorSubspace, list[Score]]:
    """The directions that carry a factor in half of the images, and what is read in the others without them.

    Args:
        model: as of ``audit``.
        data: a folder of images or a table, or images as of ``audit``.
        factor: an audit, such as "hue".
        out: also write ``basis`` (D, k), ``readers`` (D, k), ``mean`` (D,), ``factor`` and ``model`` (JSON
            with the weights and the normalisation) to this ``.npz`` file.
        factors: other audits, to see what they lose.
        labels, settings: as of ``open_data``, for a folder or table; with labels the accuracy of nearest
            neighbours is scored too.
        count: images at most, the same as those of an audit.
        size, mean, std, preprocess, trusted, progress: as of ``audit``.

    Raises:
        UserError: an unknown factor or one that does not vary, fewer than 40 different images, labels or
            settings for images that are no folder, or ``out`` has another ending.

    Example:
        >>> import tempfile
        >>> from equissl.data.image_folder import write_images
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_images(folder, {"cats": 30, "dogs": 30})
        >>> found, scores = subspace("timm/test_resnet", folder, "brightness", folder / "brightness.npz")
        >>> found.basis.shape[1], [s.name for s in scores]
        (1, ['erased/brightness'])
    """
    path = None if out is None else Path(out)
    check_file(path)
    factor, factors = check_factors(factor, (factors,) if isinstance(factors, str) else factors)
    limit_threads()
    with shown(progress) as show:
        given: Any = {"mean": mean, "std": std, "preprocess": preprocess, "trusted": trusted, "seed": seed}
        loaded, dataset = _opened(model, data, labels, settings, count, size, show, given)
        index = dataset.readable(shuffled(len(dataset), seed, "audit")[:count].sort().values)
        index = distinct_images(dataset, index)
        if len(index) < MIN_IMAGES:
            where = f"{data}: it" if isinstance(data, Path | str) else "it"
            raise UserError(
                f"{where} needs at least {MIN_IMAGES} different images, but there are {len(index)} among "
                "those that were read: add images, or raise count="
            )
        device = resolve_device(device)
        loaded.encoder.to(device)
        context = EvaluationContext(
            loaded.encoder,
            {"test": dataset},
            {"test": index},
            seed=seed,
            device=device,
            progress=show,
            model=loaded.name,
        )
        found, scores = erase_factor(context, factor, factors)
    if path is not None:
        facts = json.dumps({"name": loaded.name, **inputs_and_weights(loaded)})
        with atomic_open(path, "wb") as file:
            np.savez(
                file,
                basis=found.basis.numpy(),
                readers=found.readers.numpy(),
                mean=found.mean.numpy(),
                factor=np.array(factor),
                model=np.array(facts),
            )
    return found, scores


def _opened(
    model: Given,
    data: Images,
    labels: str,
    settings: Mapping[str, str] | None,
    count: int,
    size: int,
    progress: Progress,
    given: Mapping[str, Any],
) -> tuple[Loaded, Dataset]:
    if not isinstance(data, Path | str):
        if labels != "none" or settings:
            raise UserError("labels and settings are for a folder or a table, not for images")
        return load_with_images(model, data, size, progress, limit=count, **given)
    loaded = load_given(model, size=size, **given)
    as_trained: dict[str, Any] = {"fit": loaded.fit, "intensity": loaded.intensity, "limit": count}
    opened = open_data(data, loaded.config.size, labels, settings=settings, **as_trained)
    # A folder that is opened as a whole has no labels.
    return loaded, opened.open_all(progress) if labels == "none" else opened.open("train", progress)


def check_factors(factor: str, factors: Sequence[str] = ()) -> tuple[str, tuple[str, ...]]:
    """The names of a factor and of others as an audit has them.

    Raises:
        UserError: one is unknown, or the first stands for several.
    """
    check_asked((factor, *factors))
    own = named_factors((factor,))
    if len(own) > 1:
        raise UserError(f"factor={factor} stands for {', '.join(own)}; name one of them")
    return own[0], named_factors(factors)


def check_file(out: Path | None) -> None:
    """Raises UserError unless ``out`` ends in .npz."""
    if out is not None and out.suffix != ".npz":
        raise UserError(f"out={out}: expected a file that ends in .npz")
