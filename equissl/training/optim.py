"""Optimisers and the learning-rate schedule, as plain data that builds itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class WarmupCosine:
    """Linear from ``floor`` * rate to rate over the warm-up, then a cosine down to ``floor`` (absolute).

    The peak is used by the first step after the warm-up; the floor only after the last step, as EquiMod's
    code has it (the convention of its released schedule).

    Args:
        last: share of the peak that the cosine ends at instead, where that is above the floor.
        every: "step" moves the rate at every step; "epoch" keeps it through an epoch.
    """

    warmup_epochs: float = 10
    floor: float = 1e-8
    last: float = 0.0
    every: Literal["step", "epoch"] = "step"

    def __post_init__(self) -> None:
        if not self.warmup_epochs >= 0:
            raise ValueError(f"warmup_epochs must be at least 0, got {self.warmup_epochs}")
        if not 0 <= self.last <= 1:
            raise ValueError(f"last must be between 0 and 1, got {self.last}")
        if self.every not in ("step", "epoch"):
            raise ValueError(f"every must be 'step' or 'epoch', got {self.every!r}")

    def rate(self, step: int, peak: float, total: int, steps_per_epoch: int) -> float:
        """The learning rate that step ``step`` (from 0) of ``total`` uses."""
        warmup = min(round(self.warmup_epochs * steps_per_epoch), total)
        if self.every == "epoch":
            step -= step % steps_per_epoch
        if step < warmup:
            return peak * (self.floor + (1 - self.floor) * step / warmup)
        share = (step - warmup) / max(total - warmup, 1)
        end = max(self.floor, self.last * peak)
        return end + (peak - end) * (1 + math.cos(math.pi * share)) / 2


@runtime_checkable
class OptimizerConfig(Protocol):
    """A frozen dataclass that describes an optimiser; ``rate`` is the peak learning rate."""

    @property
    def rate(self) -> float: ...

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """From ``parameter_groups``."""


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent with momentum; decay on every parameter."""

    rate: float = 0.03
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        for group in groups:
            group["weight_decay"] = self.weight_decay
        return torch.optim.SGD(groups, self.rate, self.momentum, nesterov=self.nesterov)


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay, none on biases and norms (arXiv:1711.05101)."""

    paper: ClassVar[str] = "arXiv:1711.05101"
    bibtex: ClassVar[str] = r"""
    @inproceedings{adamw2019,
      title = {{Decoupled Weight Decay Regularization}},
      author = {Loshchilov, Ilya and Hutter, Frank},
      booktitle = {International Conference on Learning Representations},
      year = {2019},
      eprint = {1711.05101},
      archivePrefix = {arXiv},
    }
    """

    rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        for group in groups:
            group["weight_decay"] = self.weight_decay if group["matrix"] else 0.0
        return torch.optim.AdamW(groups, self.rate, self.betas)


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam (arXiv:1412.6980) whose weight decay is added to the gradients, on everything, as SIE uses it."""

    paper: ClassVar[str] = "arXiv:1412.6980"
    bibtex: ClassVar[str] = r"""
    @inproceedings{adam2015,
      title = {{Adam: A Method for Stochastic Optimization}},
      author = {Kingma, Diederik P. and Ba, Jimmy},
      booktitle = {International Conference on Learning Representations},
      year = {2015},
      eprint = {1412.6980},
      archivePrefix = {arXiv},
    }
    """

    rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.Adam(groups, self.rate, self.betas, weight_decay=self.weight_decay)


@dataclass(frozen=True, kw_only=True)
class LARS:
    """Layer-wise adaptive rates (arXiv:1708.03888) as SimCLR-style code has them; see ``LARSOptimizer``.

    Args:
        bias_lr: peak of biases and norms, which are not adapted; 0 for the same rate.
        rate_in_buffer: whether the momentum buffer holds steps (EquiMod) or directions (Barlow Twins,
            E-SSL); they differ while the rate changes.
    """

    paper: ClassVar[str] = "arXiv:1708.03888"
    bibtex: ClassVar[str] = r"""
    @misc{lars2017,
      title = {{Large Batch Training of Convolutional Networks}},
      author = {You, Yang and Gitman, Igor and Ginsburg, Boris},
      year = {2017},
      eprint = {1708.03888},
      archivePrefix = {arXiv},
    }
    """

    rate: float = 4.0
    momentum: float = 0.9
    weight_decay: float = 1e-6
    trust: float = 1e-3
    bias_lr: float = 0.0
    rate_in_buffer: bool = True

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        for group in groups:
            group["weight_decay"] = self.weight_decay if group["matrix"] else 0.0
            if self.bias_lr and not group["matrix"]:
                group["lr_scale"] = self.bias_lr / self.rate
        return LARSOptimizer(groups, self.rate, self.momentum, self.trust, self.rate_in_buffer)


class LARSOptimizer(torch.optim.Optimizer):
    """Momentum SGD whose matrices take steps proportional to their norm.

    Matrices: g <- g + decay w; local rate = rate * trust |w| / |g| (rate where a norm is 0);
    buffer <- momentum buffer + local rate g; w <- w - buffer. Biases and norms: the same without decay and
    adaptation. No clipping of the ratio, no epsilon.

    Args:
        rate_in_buffer: as written. False: buffer <- momentum buffer + trust |w| / |g| g (plain g for biases
            and norms); w <- w - rate buffer.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        trust: float = 1e-3,
        rate_in_buffer: bool = True,
    ):
        super().__init__(params, {"lr": lr, "momentum": momentum, "trust": trust, "weight_decay": 0.0})
        self.rate_in_buffer = rate_in_buffer

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            with_gradient = [p for p in group["params"] if p.grad is not None]
            if with_gradient:
                self._step_group(group, with_gradient)
        return loss

    def _step_group(self, group: dict[str, Any], params: list[Tensor]) -> None:
        grads = [p.grad for p in params if p.grad is not None]
        inside, outside = (group["lr"], 1.0) if self.rate_in_buffer else (1.0, group["lr"])
        if group["matrix"]:
            grads = list(torch._foreach_add(grads, params, alpha=group["weight_decay"]))
            ratios = _trust(params, grads, group["trust"])
            moves = list(torch._foreach_mul(grads, [inside * r for r in ratios]))
        else:
            moves = list(torch._foreach_mul(grads, inside))
        for p in params:
            if "buffer" not in self.state[p]:
                self.state[p]["buffer"] = torch.zeros_like(p)
        buffers = [self.state[p]["buffer"] for p in params]
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, moves)
        torch._foreach_sub_(params, buffers, alpha=outside)


def _trust(params: list[Tensor], grads: list[Tensor], trust: float) -> list[Tensor]:
    # No branch on values, so that nothing waits for the device.
    norms = zip(torch._foreach_norm(params), torch._foreach_norm(grads), strict=True)
    return [torch.where((w * g) > 0, trust * w / g.clamp(min=1e-300), 1.0) for w, g in norms]


def parameter_groups(model: nn.Module, constant: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Every trainable parameter in exactly one group: matrices apart from biases and norms, and those whose
    rate does not decay apart from the rest.

    Args:
        constant: prefixes of parameter names whose learning rate stays at the peak.

    Returns:
        groups with "matrix" and "fixed_lr"; an optimiser may set "lr_scale", by which the rate of a
        group differs from the others'.
    """
    prefixes = tuple(constant)
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            steady = bool(prefixes) and name.startswith(prefixes)
            groups.setdefault((parameter.dim() > 1, steady), []).append(parameter)
    ordered = sorted(groups.items(), key=lambda item: item[0], reverse=True)
    return [{"params": p, "matrix": m, "fixed_lr": s, "lr_scale": 1.0} for (m, s), p in ordered]


def set_lr(optimizer: torch.optim.Optimizer, lr: float, peak: float) -> None:
    """Give every group of ``parameter_groups`` its learning rate: ``lr``, or the peak where it is fixed."""
    for group in optimizer.param_groups:
        group["lr"] = group["lr_scale"] * (peak if group["fixed_lr"] else lr)
