"""Audit an encoder: which augmentation factors can be read from its features, without labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from equissl.api.given import load_with_images
from equissl.api.scores import Scores
from equissl.augment.base import Augmentation
from equissl.data.base import Data, Dataset
from equissl.data.folder import open_data
from equissl.data.given_images import Images, image_shape
from equissl.data.items.sample import has_items
from equissl.distributed import limit_threads, resolve_device
from equissl.encoder.layers import with_layers
from equissl.encoder.named import describe_inputs
from equissl.errors import UserError, nearest
from equissl.evaluate.audit import audit as readability
from equissl.evaluate.audit.asked import check_asked
from equissl.evaluate.audit.equivariance import audit_equivariance
from equissl.evaluate.audit.options import MOST_IMAGES, AuditOptions
from equissl.evaluate.audit.readouts.readout import Readout
from equissl.evaluate.audit.record import AuditRecord
from equissl.objective import Predictive
from equissl.params import Space
from equissl.progress import ShowProgress, say_nothing, shown
from equissl.runs.given import Given
from equissl.runs.load import LoadedEncoder, LoadedRun, inputs_and_weights
from equissl.runs.scores import record_scores


def audit(
    model: Given,
    images: Images,
    options: AuditOptions = AuditOptions(),
    *,
    layer: str | Sequence[str] = (),
    size: int = 0,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    preprocess: object = None,
    trusted: Sequence[str] = (),
    device: str = "cpu",
    progress: ShowProgress = False,
    say: Callable[[str], None] = say_nothing,
    store: Path | None = None,
    keep: Callable[[AuditRecord], object] | None = None,
    **settings: Any,
) -> Scores:
    """Which augmentation factors can be read from an encoder's features; needs no labels.

    What a dataset records of its images (a pose, a measured size) is read too.

    Args:
        model: a module or a function (B, C, H, W) -> features, or a name as on the command line.
        images: (N, C, H, W) uint8 or float in [0, 1], as a tensor, an array or a list; a list of images of
            Pillow or of paths; a folder; a torch ``Dataset`` of images, (image, label), (image, label,
            factors) or mappings. What has no fixed size becomes squares as those that the model was
            trained on.
        layer: names of the backbone's modules, "tokens" (its feature map at 4 x 4 places), or "all", four to
            six depths. Each has rows of its own, by ``part`` of the scores; "all" there is the output.
        size: side at which images are read; 0 for the model's own, or 224 for a module that states none.
        mean, std: per channel, of images in [0, 1]; the model's own if empty, or 0 and 1 if it states none.
        preprocess: what states size, mean and std of a module or function: an image processor of Hugging
            Face, torchvision's ``weights.transforms()``, or timm's data configuration.
        trusted: packages whose code a stored file may run, as ``trust=``.
        progress: True for a live bar on a terminal or in a notebook; or a function (what, done, total).
        say: gets a line on how images are made, and one on what will be done and how long it takes.
        store: a folder that keeps what was read, so that the same audit goes on after an interruption.
        keep: called with predictions and images, for ``write_audit``.
        settings: fields of ``AuditOptions`` by name, instead of ``options``.

    Returns:
        Scores "audit/<factor>", with the baselines of ``evaluate.audit.audit``; with ``equivariance=True``
        those of ``evaluate.audit.equivariance`` too. They print as the command does, and have ``to_pandas()``
        and ``plot()``. ``extra["inputs"]`` says how the images were made and where the weights come from.

    Raises:
        UserError: an unknown factor, setting or layer, the model cannot be loaded or reads no such images, or
            the images are none.

    Example:
        >>> import torch, equissl
        >>> images = torch.rand(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 16))
        >>> scores = equissl.audit(network, images, factors=("brightness",))
        >>> scores["audit/brightness"].unit
        'R2'
    """
    limit_threads()
    options = with_settings(options, settings)
    if not has_items(images):  # whose factors are known when they are read
        check_asked(options.factors, _recorded(images))
    layers = tuple(_several(layer))
    if not all(isinstance(name, str) for name in layers):
        raise UserError(f"layer={layer!r}: expected names of modules, such as 'layer4'")
    with shown(progress) as show:
        loaded, dataset = load_with_images(
            model,
            images,
            size,
            show,
            limit=options.count or MOST_IMAGES,  # the same images as on the command line
            mean=mean,
            std=std,
            preprocess=preprocess,
            seed=options.seed,
            trusted=trusted,
        )
        encoder = loaded.encoder
        if not isinstance(model, LoadedEncoder | LoadedRun):  # of which it was said when they were loaded
            say(describe_inputs(loaded.name, loaded.config))
        if layers:
            encoder = with_layers(encoder, layers, image_shape(dataset))
        device = resolve_device(device)
        encoder.to(device)

        def record(readouts: Mapping[str, Readout], index: Tensor) -> None:
            if keep is not None:
                keep(AuditRecord(readouts, dataset, index, options))

        shared: Any = {"device": device, "progress": show, "model": loaded.name}
        scores = readability.audit(encoder, dataset, options, say=say, store=store, keep=record, **shared)
        if options.equivariance:
            more: Any = {"modules": _predictors(loaded, device), "say": say}
            scores += audit_equivariance(loaded.encoder, dataset, scores, **more, **shared)
    inputs = inputs_and_weights(loaded)
    own = [s if s.baseline else replace(s, extra={**s.extra, "inputs": inputs}) for s in scores]
    return Scores(own, {"model": loaded.name, **inputs})


def audit_run(
    loaded: LoadedRun,
    data: Data | None = None,
    split: Literal["test", "all"] = "test",
    options: AuditOptions = AuditOptions(),
    *,
    layer: str | Sequence[str] = (),
    device: str = "cpu",
    progress: ShowProgress = False,
    say: Callable[[str], None] = say_nothing,
    store: Path | None = None,
    keep: Callable[[AuditRecord], object] | None = None,
) -> Scores:
    """Audit a run and record scores, predictions and example images in it; arguments as of ``audit``.

    Args:
        data: the recipe's own if absent.
        split: "all" for every image of a folder.
    """
    data = data or loaded.data
    kept: list[AuditRecord] = []
    with shown(progress) as show:
        dataset = data.open_all(show) if split == "all" else data.open(split, show)
        how: Any = {"device": device, "progress": show, "say": say, "store": store, "keep": kept.append}
        scores = audit(loaded, dataset, options, layer=layer, **how)
    for record in kept:
        record.write(loaded.run.path)
        if keep is not None:
            keep(record)
    record_scores(loaded, scores, "audit", data, data.whole if split == "all" else split)
    return scores


def _recorded(images: Images) -> Space:
    """Factors that a dataset or a folder records of its images, as far as that is known unopened."""
    known = open_data(images, 1) if isinstance(images, Path | str) else images
    return known.spaces.get("image", Space()) if isinstance(known, Data | Dataset) else Space()


def _predictors(loaded: object, device: str) -> dict[str, Predictive]:
    if not isinstance(loaded, LoadedRun):
        return {}
    loaded.model.to(device)
    return {n: m for n, m in loaded.model.modules_by_name.items() if isinstance(m, Predictive)}


def _several(given: Any) -> Sequence[Any]:
    """What is given one by one or in a sequence; None and numbers are left to the checks of types."""
    one = isinstance(given, (str, Augmentation)) or not isinstance(given, Iterable)
    return (given,) if one else tuple(given)


def with_settings(options: AuditOptions, settings: Mapping[str, Any]) -> AuditOptions:
    """The options with other values in some fields.

    Raises:
        UserError: a field does not exist.
    """
    known = [f.name for f in fields(options)]
    if unknown := [n for n in settings if n not in known]:
        raise UserError([f"an audit has no setting {n!r}; {nearest(n, known)}" for n in unknown])
    if "factors" in settings:
        settings = {**settings, "factors": tuple(_several(settings["factors"]))}
    return replace(options, **settings)
