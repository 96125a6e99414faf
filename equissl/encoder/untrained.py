"""Untrained copies of an encoder: the same architecture with random weights, alive on given images."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrize import ParametrizationList

from equissl.encoder.encoder import Encoder
from equissl.encoder.layers import LayerOutputs
from equissl.encoder.modes import eval_mode
from equissl.errors import UserError
from equissl.random import Stream

CALIBRATION_IMAGES = 256  # that statistics of untrained networks are of
BATCH = 64  # of them at a time, and of those that must give different features
_ALIVE = 1e-5  # deviation of features between images, relative to their size


def untrained_reason(encoder: Encoder) -> str:
    """Why no untrained copy of an encoder can be made, as a clause; "" if one can."""
    if any(isinstance(m, torch.jit.ScriptModule) for m in encoder.modules()):
        return "a program of TorchScript does not say what its parameters are of"
    if not any(p.is_floating_point() for p in encoder.parameters()):
        return "it has no weights that torch could draw anew"
    return ""


def calibrated(encoder: Encoder, count: int) -> list[bool]:
    """Of the copies with seeds 0 ... count - 1, which take running statistics from images.

    Every second one is as networks are when they are built, with running means of 0 and variances of 1, if
    the encoder has normalisation layers with running statistics at all. What can be read from an untrained
    network depends on them: of ResNet-18 on CIFAR-10 at 64 px, rotation at R2 0.18 as built and -0.01 with
    statistics of the images.
    """
    both = any(_has_statistics(m) for m in encoder.modules())
    return [not both or k % 2 == 0 for k in range(count)]


def kept_names(encoder: Encoder) -> tuple[str, ...]:
    """Names of the parameters and buffers that untrained copies of an encoder keep as they were trained."""
    backbone = _backbone(encoder)
    single = [name for name, owner, p in _parameters(encoder) if _distribution(name, owner, p) is None]
    norms = [m for m in backbone.modules() if isinstance(m, _NormBase)]
    statistics = {id(b) for m in norms for b in m.buffers(recurse=False)}
    saved = backbone.state_dict(prefix="backbone.")
    buffers = [n for n, b in backbone.named_buffers("backbone") if id(b) not in statistics and n in saved]
    return *single, *(n for n in buffers if saved[n].is_floating_point())


def untrained_copy(encoder: Encoder, images: Tensor, seed: int = 0, calibrate: bool = True) -> Encoder:
    """A copy of an encoder with new weights, whatever built it, and statistics of these images.

    Weights of layers are normal with variance 2 / fan-in (He et al., arXiv:1502.01852), weights of
    normalisation layers 1, biases 0. Every other parameter, such as a position embedding or a layer scale, is
    normal with the mean and the deviation that it had; a single number stays (``kept_names``). Running
    statistics of normalisation layers become those of ``images``, or 0 and 1.

    Args:
        images: (B, C, H, W) in [0, 1] on the encoder's device, at least 2.
        seed: the weights of a parameter depend on it and on the parameter's name.
        calibrate: take running statistics from the images.

    Returns:
        It, in evaluation mode.

    Raises:
        UserError: the features of the copy are not finite, or hardly differ between the images.
    """
    untrained = copy.deepcopy(encoder).eval()
    with torch.no_grad():
        for name, owner, parameter in _parameters(untrained):
            if (of := _distribution(name, owner, parameter)) is not None:
                mean, deviation = of
                parameter.fill_(mean)
                if deviation:
                    parameter.copy_(mean + deviation * _normal(name, parameter, seed))
        _recalibrate(untrained, images if calibrate else images[:0])
        with eval_mode(untrained):
            features = untrained(images[:BATCH]).part("all").double()
    size = features.square().mean().sqrt()
    if not (features.isfinite().all() and features.std(0).square().mean().sqrt() > _ALIVE * size):
        said = "are not finite" if not features.isfinite().all() else "hardly differ between images"
        raise UserError(
            f"the untrained baseline (seed {seed}): its features {said}; leave it out with untrained=0"
        )
    return untrained


def _backbone(encoder: Encoder) -> nn.Module:
    """The backbone without what reads its layers, so that its weights are the same with it."""
    backbone = encoder.backbone
    return backbone.backbone if isinstance(backbone, LayerOutputs) else backbone


def _parameters(encoder: Encoder) -> Iterator[tuple[str, nn.Module, nn.Parameter]]:
    """Name, owner and parameter of all that features of whole images depend on."""
    seen: set[int] = set()
    for prefix, module in _backbone(encoder).named_modules(prefix="backbone"):
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in seen and parameter.is_floating_point():
                seen.add(id(parameter))
                yield f"{prefix}.{name}", module, parameter


def _distribution(name: str, owner: nn.Module, parameter: Tensor) -> tuple[float, float] | None:
    """Mean and deviation of new values; None for a single number, of which nothing is known."""
    last, shape = name.rpartition(".")[2], parameter.shape
    if isinstance(owner, nn.PReLU):
        return 0.25, 0.0
    if last.endswith("bias"):  # also in_proj_bias
        if parameter.dim() == 1:
            return 0.0, 0.0
    elif last.endswith("weight") or isinstance(owner, ParametrizationList):
        fan_in = math.prod(shape[1:])
        # 1 of a normalisation layer, or the norms of weight normalisation
        return (1.0, 0.0) if fan_in <= 1 else (0.0, math.sqrt(2 / fan_in))
    if parameter.numel() == 1:
        return None
    values = parameter.detach().float()
    return float(values.mean()), float(values.std(correction=0))


def _normal(name: str, like: Tensor, seed: int) -> Tensor:
    stream = Stream.of(torch.arange(1), seed, "untrained", name)
    generator = torch.Generator().manual_seed(int(stream.keys[0]) & (2**63 - 1))
    return torch.randn(like.shape, generator=generator).to(like.device)


def _has_statistics(module: nn.Module) -> bool:
    return isinstance(module, _NormBase) and module.track_running_stats


def _recalibrate(encoder: nn.Module, images: Tensor) -> None:
    """Running statistics become those of the images; the rest of the encoder stays in evaluation mode.

    Without images they are reset.
    """
    norms = [m for m in encoder.modules() if isinstance(m, _NormBase) and _has_statistics(m)]
    momenta = [m.momentum for m in norms]
    for m in norms:
        m.reset_running_stats()
        m.momentum = None  # the mean over batches
        m.train()
    for batch in torch.split(images, BATCH) if norms else ():
        if len(batch) > 1:
            encoder(batch)
    for m, momentum in zip(norms, momenta, strict=True):
        m.momentum = momentum
        m.eval()
