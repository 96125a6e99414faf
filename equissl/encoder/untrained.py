"""Untrained copies of an encoder: the same architecture with random weights, alive on given images."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Untrained:
    """An encoder with random weights.

    Args:
        encoder: in evaluation mode.
        kept: names of parameters and buffers that are as they were trained.
        calibrated: its running statistics are of images.
    """

    encoder: Encoder
    kept: tuple[str, ...]
    calibrated: bool = True


def untrained_reason(encoder: Encoder) -> str:
    """Why no untrained copy of an encoder can be made, as a clause; "" if one can."""
    if any(isinstance(m, torch.jit.ScriptModule) for m in encoder.modules()):
        return "a program of TorchScript does not say what its parameters are of"
    if not any(p.is_floating_point() for p in encoder.parameters()):
        return "it has no weights that torch could draw anew"
    return ""


def untrained_copies(encoder: Encoder, images: Tensor, count: int) -> list[Untrained]:
    """Copies with seeds 0 ... count - 1, every second one as networks are when they are built.

    That is, with running means of 0 and variances of 1, if the encoder has normalisation layers with running
    statistics at all. What can be read from an untrained network depends on them: of ResNet-18 on CIFAR-10 at
    64 px, rotation at R2 0.18 as built and -0.01 with statistics of the images.
    """
    both = any(_has_statistics(m) for m in encoder.modules())
    return [untrained_copy(encoder, images, k, calibrate=not both or k % 2 == 0) for k in range(count)]


def untrained_copy(encoder: Encoder, images: Tensor, seed: int = 0, calibrate: bool = True) -> Untrained:
    """A copy of an encoder with new weights, whatever built it, and statistics of these images.

    Weights of layers are normal with variance 2 / fan-in (He et al., arXiv:1502.01852), weights of
    normalisation layers 1, biases 0. Every other parameter, such as a position embedding or a layer scale, is
    normal with the mean and the deviation that it had. Running statistics of normalisation layers become
    those of ``images``, or 0 and 1.

    Args:
        images: (B, C, H, W) in [0, 1] on the encoder's device, at least 2.
        seed: the weights of a parameter depend on it and on the parameter's name.
        calibrate: take running statistics from the images.

    Raises:
        UserError: the features of the copy are not finite, or hardly differ between the images.
    """
    untrained = copy.deepcopy(encoder).eval()
    kept = []
    with torch.no_grad():
        for name, owner, parameter in _parameters(untrained):
            drawn = _drawn(name, owner, parameter, seed)
            if drawn is None:
                kept.append(name)
            else:
                parameter.copy_(drawn)
        _recalibrate(untrained, images if calibrate else images[:0])
        with eval_mode(untrained):
            features = untrained(images[:BATCH]).part("all").double()
    own = {id(b) for m in untrained.modules() if isinstance(m, _NormBase) for b in m.buffers(recurse=False)}
    own |= {id(untrained.mean), id(untrained.std)}
    kept += [
        name
        for name, b in untrained.named_buffers()
        if id(b) not in own and b.is_floating_point() and name in untrained.state_dict()
    ]
    size = features.square().mean().sqrt()
    if not (features.isfinite().all() and features.std(0).square().mean().sqrt() > _ALIVE * size):
        said = "are not finite" if not features.isfinite().all() else "hardly differ between images"
        raise UserError(
            f"the untrained baseline (seed {seed}): its features {said}; leave it out with untrained=0"
        )
    return Untrained(untrained, tuple(kept), calibrate)


def _parameters(encoder: Encoder) -> Iterator[tuple[str, nn.Module, nn.Parameter]]:
    seen: set[int] = set()
    for prefix, module in encoder.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in seen and parameter.is_floating_point():
                seen.add(id(parameter))
                full = f"{prefix}.{name}".lstrip(".")
                if isinstance(encoder.backbone, LayerOutputs):  # as without it, so that weights are the same
                    full = full.replace("backbone.backbone.", "backbone.", 1)
                yield full, module, parameter


def _drawn(name: str, owner: nn.Module, parameter: Tensor, seed: int) -> Tensor | None:
    """New values; None for a single number, of which nothing is known."""
    last, shape = name.rpartition(".")[2], parameter.shape
    if isinstance(owner, nn.PReLU):
        return torch.full_like(parameter, 0.25)
    if last.endswith("bias"):  # also in_proj_bias
        if parameter.dim() == 1:
            return torch.zeros_like(parameter)
    elif last.endswith("weight") or isinstance(owner, ParametrizationList):
        fan_in = math.prod(shape[1:])
        if fan_in <= 1:  # of a normalisation layer, or the norms of weight normalisation
            return torch.ones_like(parameter)
        return _normal(name, parameter, seed) * math.sqrt(2 / fan_in)
    if parameter.numel() == 1:
        return None
    values = parameter.float()
    return values.mean() + values.std(correction=0) * _normal(name, parameter, seed)


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
