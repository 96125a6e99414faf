"""Optimizers, the learning-rate schedule, and parameter groups; their configs are plain data."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from equissl.config.validation import Checked, check_bounds


@dataclass(frozen=True, kw_only=True)
class WarmupCosine(Checked):
    """Linear warm-up from ``min_lr`` (times the peak) to the peak, then a cosine to ``min_lr`` (absolute).

    The peak is used by the first step after the warm-up; the minimum only after the last step, as EquiMod's
    code has it. The learning rate is a function of the step alone, so a resumed run needs no state of it;
    torch's LambdaLR and timm's CosineLRScheduler keep some, and round differently.

    Args:
        warmup_epochs: length of the warm-up; may be a fraction.
        min_lr: see above.
        final_lr_ratio: the cosine ends at this fraction of the peak instead, where that is above ``min_lr``.
        update_every: "step", or "epoch" to keep the learning rate through an epoch.
    """

    warmup_epochs: float = 10
    min_lr: float = 1e-8
    final_lr_ratio: float = 0.0
    update_every: Literal["step", "epoch"] = "step"

    def __post_init__(self) -> None:
        check_bounds(self, "warmup_epochs", "min_lr", low=0)
        check_bounds(self, "final_lr_ratio", low=0, high=1)

    def lr_at(self, step: int, peak: float, total_steps: int, steps_per_epoch: int) -> float:
        """The learning rate of step ``step`` (from 0) of ``total_steps``.

        >>> schedule = WarmupCosine(warmup_epochs=1, min_lr=0.0)
        >>> [round(schedule.lr_at(step, 0.4, total_steps=6, steps_per_epoch=2), 2) for step in range(6)]
        [0.0, 0.2, 0.4, 0.34, 0.2, 0.06]
        """
        warmup = min(round(self.warmup_epochs * steps_per_epoch), total_steps)
        if self.update_every == "epoch":
            step -= step % steps_per_epoch
        if step < warmup:
            return peak * (self.min_lr + (1 - self.min_lr) * step / warmup)
        progress = (step - warmup) / max(total_steps - warmup, 1)
        final = max(self.min_lr, self.final_lr_ratio * peak)
        return final + (peak - final) * (1 + math.cos(math.pi * progress)) / 2


class OptimizerConfig(Checked, ABC):
    """A frozen dataclass that describes an optimizer; ``lr`` is the peak learning rate."""

    lr: float
    weight_decay: float

    def __post_init__(self) -> None:
        check_bounds(self, "lr", "weight_decay", low=0, high=1e38)  # of float32
        for name in ("momentum", "betas"):
            if name in vars(self):
                check_bounds(self, name, low=0, below=1)

    @abstractmethod
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """``groups``: from ``parameter_groups``."""


@dataclass(frozen=True, kw_only=True)
class SGD(OptimizerConfig):
    """Stochastic gradient descent with momentum; decay on every parameter."""

    lr: float = 0.03
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        for group in groups:
            group["weight_decay"] = self.weight_decay
        return torch.optim.SGD(groups, self.lr, self.momentum, nesterov=self.nesterov)


@dataclass(frozen=True, kw_only=True)
class AdamW(OptimizerConfig):
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

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        for group in groups:
            group["weight_decay"] = self.weight_decay if group["matrix"] else 0.0
        return torch.optim.AdamW(groups, self.lr, self.betas)


@dataclass(frozen=True, kw_only=True)
class Adam(OptimizerConfig):
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

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.Adam(groups, self.lr, self.betas, weight_decay=self.weight_decay)


@dataclass(frozen=True, kw_only=True)
class LARS(OptimizerConfig):
    """Layer-wise adaptive rate scaling (LARS, You et al., 2017) as SSL code has it; see ``LARSOptimizer``.

    Args:
        weight_decay: of matrices; biases and norm weights have none.
        trust_coefficient: ratio of a matrix's step to its norm, at a learning rate of 1.
        bias_lr: peak learning rate of biases and norm weights, which are not adapted; 0 for ``lr``.
        lr_in_buffer: whether the momentum buffer accumulates gradients times the learning rate (EquiMod) or
            gradients (Barlow Twins, E-SSL); they differ while the learning rate changes.
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

    lr: float = 4.0
    momentum: float = 0.9
    weight_decay: float = 1e-6
    trust_coefficient: float = 1e-3
    bias_lr: float = 0.0
    lr_in_buffer: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, "lr", "trust_coefficient", above=0)
        check_bounds(self, "bias_lr", low=0)

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        for group in groups:
            group["weight_decay"] = self.weight_decay if group["matrix"] else 0.0
            if self.bias_lr and not group["matrix"]:
                group["lr_scale"] = self.bias_lr / self.lr
        return LARSOptimizer(groups, self.lr, self.momentum, self.trust_coefficient, self.lr_in_buffer)


class LARSOptimizer(torch.optim.Optimizer):
    """SGD with momentum whose steps are proportional to the norm of each matrix (LARS).

    Matrices: g <- g + decay w; local_lr = lr * trust_coefficient |w| / |g| (lr where a norm is 0);
    buffer <- momentum buffer + local_lr g; w <- w - buffer. Biases and norm weights: the same without decay
    and adaptation. No clipping of the ratio, no epsilon. timm's Lars is another rule: its |g| is taken before
    weight decay is added, with decay |w| and an epsilon in the denominator, and lr is never in the buffer.

    Args:
        lr_in_buffer: as written. False: buffer <- momentum buffer + trust_coefficient |w| / |g| g (g for
            biases and norm weights); w <- w - lr buffer.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        trust_coefficient: float = 1e-3,
        lr_in_buffer: bool = True,
    ):
        defaults = {"lr": lr, "momentum": momentum, "trust_coefficient": trust_coefficient}
        super().__init__(params, {**defaults, "weight_decay": 0.0})
        self.lr_in_buffer = lr_in_buffer

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
        inside, outside = (group["lr"], 1.0) if self.lr_in_buffer else (1.0, group["lr"])
        if group["matrix"]:
            grads = list(torch._foreach_add(grads, params, alpha=group["weight_decay"]))
            ratios = _trust_ratios(params, grads, group["trust_coefficient"])
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


def _trust_ratios(params: list[Tensor], grads: list[Tensor], coefficient: float) -> list[Tensor]:
    # No branch on values, so that nothing waits for the device.
    norms = zip(torch._foreach_norm(params), torch._foreach_norm(grads), strict=True)
    return [torch.where((w * g) > 0, coefficient * w / g.clamp(min=1e-300), 1.0) for w, g in norms]


def parameter_groups(model: nn.Module, fixed_lr: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer, every trainable parameter in exactly one.

    Args:
        fixed_lr: prefixes of the names of parameters whose learning rate stays at the peak.

    Returns:
        groups with "matrix" (False for biases and norm weights) and "fixed_lr"; an optimizer may set
        "lr_scale", the ratio of a group's learning rate to the others'.
    """
    prefixes = tuple(fixed_lr)
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            fixed = bool(prefixes) and name.startswith(prefixes)
            groups.setdefault((parameter.dim() > 1, fixed), []).append(parameter)
    ordered = sorted(groups.items(), key=lambda item: item[0], reverse=True)
    return [{"params": p, "matrix": m, "fixed_lr": f, "lr_scale": 1.0} for (m, f), p in ordered]


def set_lr(optimizer: torch.optim.Optimizer, lr: float, peak: float) -> None:
    """Give every group of ``parameter_groups`` its learning rate: ``lr``, or the peak where it is fixed."""
    for group in optimizer.param_groups:
        group["lr"] = group["lr_scale"] * (peak if group["fixed_lr"] else lr)
