"""Published weights by name: of timm, of a repository on the Hugging Face Hub, of torchvision."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from equissl.encoder.weight_files import read_tensors
from equissl.errors import UserError, nearest
from equissl.storage import read_object

HUB, TIMM, TORCHVISION, PRETRAINED = "hf-hub:", "timm/", "torchvision/", "pretrained"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HUB_WEIGHTS = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Inputs:
    """How a model's images were made when it was trained.

    Args:
        mean, std: per channel, of images in [0, 1].
        size: side in pixels.
        interpolation, crop: of its evaluation; crop is the fraction of the side that is kept.
    """

    mean: tuple[float, ...] = IMAGENET[0]
    std: tuple[float, ...] = IMAGENET[1]
    size: int = 224
    interpolation: str = ""
    crop: float = 0.0


@dataclass(frozen=True)
class Published:
    """Weights that their authors offer for download.

    Args:
        name: with the tag, "timm/resnet18.a1_in1k@pretrained".
        architecture: the model's name in timm or torchvision.
        site: where they come from.
        licence: as stated by their authors, "" if they do not.
        cached: they are on this machine.
        read: fetches them unless they are cached, and reads them.
        options: of ``timm.create_model``.
    """

    name: str
    architecture: str
    site: str
    licence: str
    cached: bool
    read: Callable[[], Mapping[str, Any]]
    inputs: Inputs = Inputs()
    options: Mapping[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """What is fetched, from whom, under which licence."""
        action = "from the cache, first fetched from" if self.cached else "downloading from"
        return f"{self.name}: {action} {self.site} (licence: {self.licence or 'not stated'})"


def is_published(source: str) -> bool:
    """Whether ``source`` is a name rather than a path; an existing path wins.

    >>> is_published("timm/resnet18@pretrained"), is_published("pretrained"), is_published("resnet18.pt")
    (True, True, False)
    """
    if Path(source).exists() or _names_file(source):
        return False
    return source == PRETRAINED or source.startswith((HUB, TIMM, TORCHVISION))


def find_published(source: str, name: str = "") -> Published:
    """Published weights; only a repository's ``config.json`` is fetched here.

    Args:
        source: "timm/NAME@pretrained" (NAME with or without a tag), "hf-hub:OWNER/NAME",
            "torchvision/NAME@WEIGHTS" (or ``pretrained``), or "pretrained" for ``name``.
        name: a model of timm.

    Raises:
        UserError: there is none of that name, or the hub cannot be reached.
    """
    if source == PRETRAINED:
        if not name:
            raise UserError("weights=pretrained is for timm's models; name a file, or timm/NAME@pretrained")
        source = f"{TIMM}{name}@{PRETRAINED}"
    if source.startswith(HUB):
        return _hub(source)
    kind, _, rest = source.partition("/")
    model, _, weights = rest.partition("@")
    if kind == "torchvision":
        return _torchvision(model, weights or PRETRAINED)
    if weights != PRETRAINED:
        raise UserError(f"weights: no file {weights!r}; for published ones write timm/{model}@pretrained")
    return _timm(model)


def timm_inputs(stated: Mapping[str, Any]) -> Inputs:
    """What a ``pretrained_cfg`` of timm says of its images."""
    return Inputs(
        tuple(stated.get("mean") or IMAGENET[0]),
        tuple(stated.get("std") or IMAGENET[1]),
        int((stated.get("input_size") or (3, 224, 224))[-1]),
        str(stated.get("interpolation") or ""),
        float(stated.get("crop_pct") or 0.0),
    )


def check_timm_name(name: str) -> None:
    """Raises UserError unless timm has a model ``name``, with or without a tag; it names the nearest."""
    import timm
    from timm.models import get_pretrained_cfg

    model, _, tag = name.partition(".")
    if not timm.is_model(model):
        raise UserError(f"timm has no model {model!r}; {nearest(model, timm.list_models())}")
    try:
        get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = [n.partition(".")[2] for n in timm.list_pretrained(f"{model}.*")]
        raise UserError(f"timm has no weights {tag!r} of {model!r}; {nearest(tag, tags)}") from error


@contextmanager
def fetching(name: str, site: str) -> Iterator[None]:
    """Within, any error is one of ours that says what could not be fetched from where."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the hub's client, urllib and torch have their own for each case
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise UserError(
            f"{name}: cannot be fetched from {site} ({reason}). Without a connection, fetch it elsewhere "
            "into the cache (HF_HOME, TORCH_HOME), or name a file: MODEL@FILE"
        ) from error


def _names_file(source: str) -> bool:
    return "@" in source and Path(source.partition("@")[2]).exists()


def _timm(name: str) -> Published:
    from timm.models import get_pretrained_cfg
    from torch.hub import load_state_dict_from_url

    check_timm_name(name)
    stated = get_pretrained_cfg(name)
    model = name.partition(".")[0]
    if stated is None or not stated.has_weights:
        raise UserError(f"timm has no published weights of {model!r}; name a file: timm/{model}@FILE")
    full = f"{TIMM}{model}{'.' if stated.tag else ''}{stated.tag or ''}@{PRETRAINED}"
    repository, url = stated.hf_hub_id, str(stated.url)
    inputs, licence = timm_inputs(vars(stated)), stated.license or ""
    if repository:
        site, cached = _hub_site(repository), _in_hub_cache(repository, _HUB_WEIGHTS) is not None
        return Published(full, model, site, licence, cached, lambda: _read_hub(full, repository), inputs)
    site = url.partition("://")[2].partition("/")[0]

    def read() -> Mapping[str, Any]:
        with fetching(full, site):
            options: dict[str, Any] = {"map_location": "cpu", "progress": False, "weights_only": True}
            return dict(load_state_dict_from_url(url, check_hash=True, **options))

    return Published(full, model, site, licence, _in_torch_cache(url), read, inputs)


def _hub(source: str) -> Published:
    from timm.models import load_model_config_from_hf
    from timm.models._hub import load_model_config_from_path

    repository = source.removeprefix(HUB)
    site = _hub_site(repository)
    with fetching(source, site):
        if (config := _in_hub_cache(repository, ("config.json",))) is None:
            stated, model, arguments = load_model_config_from_hf(repository)
    if config is not None:
        read_object(config)
        try:
            stated, model, arguments = load_model_config_from_path(config.parent)
        except Exception as error:  # timm reads its fields without checking them
            raise UserError(f"{source}: {config} is not what timm writes ({error!r:.200})") from error
    check_timm_name(str(model))
    licence, cached = str(stated.get("license") or ""), _in_hub_cache(repository, _HUB_WEIGHTS) is not None
    try:
        inputs = timm_inputs(stated)
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise UserError(f"{source}: its config.json does not say how images are made ({error})") from error
    return Published(
        source, model, site, licence, cached, lambda: _read_hub(source, repository), inputs, arguments or {}
    )


def _read_hub(name: str, repository: str) -> Mapping[str, Any]:
    from timm.models import load_state_dict_from_hf

    if (file := _in_hub_cache(repository, _HUB_WEIGHTS)) is not None:
        return read_tensors(file)
    with fetching(name, _hub_site(repository)):
        return dict(load_state_dict_from_hf(repository, weights_only=True))


def _hub_site(repository: str) -> str:
    return f"huggingface.co/{repository}"


def _torchvision(model: str, weights: str) -> Published:
    from torchvision import models

    known = torchvision_models()
    if model not in known:
        raise UserError(f"torchvision has no classification model {model!r}; {nearest(model, known)}")
    offered = {w.name: w for w in models.get_model_weights(model)}
    if weights == PRETRAINED:
        weights = models.get_model_weights(model).DEFAULT.name
    if weights not in offered:
        raise UserError(f"torchvision has no weights {weights!r} of {model!r}; {nearest(weights, offered)}")
    chosen, full = offered[weights], f"{TORCHVISION}{model}@{weights}"
    site = chosen.url.partition("://")[2].partition("/")[0]

    def read() -> Mapping[str, Any]:
        with fetching(full, site):
            return dict(chosen.get_state_dict(progress=False, check_hash=True, weights_only=True))

    made = chosen.transforms()
    side, resized = made.crop_size[0], made.resize_size[0]
    inputs = Inputs(
        tuple(made.mean), tuple(made.std), side, made.interpolation.value, round(side / resized, 3)
    )
    licence = str(chosen.meta.get("license") or "")
    return Published(full, model, site, licence, _in_torch_cache(chosen.url), read, inputs)


def torchvision_models() -> Sequence[str]:
    """Names of torchvision's classification models."""
    from torchvision import models

    return [str(n) for n in models.list_models(module=models)]


def _in_hub_cache(repository: str, files: Sequence[str]) -> Path | None:
    """The first of these files of a repository that is on this machine."""
    from huggingface_hub import try_to_load_from_cache

    name, _, revision = repository.partition("@")
    found = (try_to_load_from_cache(name, file, revision=revision or None) for file in files)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def _in_torch_cache(url: str) -> bool:
    from torch.hub import get_dir

    return (Path(get_dir()) / "checkpoints" / url.rpartition("/")[2]).is_file()
