"""Encoder with an invariance objective and weighted equivariance objectives; returns named loss terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from equissl.encoder.encoder import Encoded, Encoder
from equissl.errors import UserError
from equissl.objective import Base, BaseOutput, Equivariance, Objective
from equissl.views import View, joint_mask

BatchNormMode = Literal["all_views", "per_view", "frozen"]


class Model(nn.Module):
    """Loss = base(views) + sum over modules of weight * module(views).

    Args:
        base: the invariance objective; None to learn from equivariance alone.
        modules: name -> equivariance objective.
        weights: module name -> its factor in the sum.
        encoded_views: the views to encode, in order.
        batch_norm: "all_views" encodes views of one image size in a single pass, so BatchNorm sees them
            together (EquiMod); "per_view" encodes one view after the other (SimSiam, E-SSL); "frozen" is as
            "all_views", but the encoder's BatchNorm keeps the running statistics that it has (fine-tuning).
    """

    def __init__(
        self,
        encoder: Encoder,
        base: Base | None,
        modules: Mapping[str, Equivariance],
        weights: Mapping[str, float],
        encoded_views: Sequence[str],
        batch_norm: BatchNormMode = "all_views",
    ):
        super().__init__()
        self.encoder, self.base = encoder, base
        self.equivariance = nn.ModuleDict(modules)
        self.modules_by_name = dict(modules)
        self.weights, self.batch_norm = dict(weights), batch_norm
        self.encoded_views = tuple(encoded_views)
        self._freeze_batch_norm()

    def forward(self, views: Mapping[str, View]) -> dict[str, Tensor]:
        """Named terms whose sum is the loss, e.g. "base/contrast", "equimod/contrast"."""
        return self.terms(views, self.encode(views))

    def terms(self, views: Mapping[str, View], encoded: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """As ``forward``, for views that are encoded already."""
        output = BaseOutput({}, {}) if self.base is None else self.base(views, encoded)
        if not isinstance(output, BaseOutput):
            raise UserError(f"base: forward returned a {type(output).__name__}, expected a BaseOutput")
        terms = {f"base/{k}": v for k, v in checked_terms("base", output.losses).items()}
        for name, module in self.modules_by_name.items():
            losses = module(views, encoded, output.embeddings)
            for key, value in checked_terms(f"modules.{name}", losses).items():
                terms[f"{name}/{key}"] = self.weights[name] * value
        if not any(value.requires_grad for value in terms.values()) and torch.is_grad_enabled():
            raise UserError("the loss depends on no parameter: no term of the objectives carries a gradient")
        return terms

    def encode(self, views: Mapping[str, View]) -> dict[str, Encoded]:
        """Encode the views that are to be encoded; returns them by name."""
        if self.batch_norm == "per_view":
            return {n: self.encoder(views[n].images, views[n].mask) for n in self.encoded_views}
        by_shape: dict[torch.Size, list[str]] = {}
        for name in self.encoded_views:
            by_shape.setdefault(views[name].images.shape[1:], []).append(name)
        encoded: dict[str, Encoded] = {}
        for names in by_shape.values():
            group = [views[n] for n in names]
            joint = self.encoder(torch.cat([v.images for v in group]), joint_mask(group))
            start = 0
            for name, view in zip(names, group, strict=True):
                stop = start + len(view.images)
                encoded[name] = joint.rows(start, stop)
                start = stop
        return encoded

    def train(self, mode: bool = True) -> Model:
        super().train(mode)
        self._freeze_batch_norm()
        return self

    def _freeze_batch_norm(self) -> None:
        for module in self.encoder.modules() if self.batch_norm == "frozen" else ():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()

    def after_step(self, progress: float) -> None:
        """Update EMA encoders, queues and schedules; ``progress``: fraction of all steps done, in (0, 1]."""
        for objective in self.objectives.values():
            objective.after_step(self.encoder, progress)

    @property
    def objectives(self) -> dict[str, Objective]:
        """Base and modules by the prefix of their parameters' names."""
        base: dict[str, Objective] = {} if self.base is None else {"base": self.base}
        return base | {f"equivariance.{n}": m for n, m in self.modules_by_name.items()}

    @property
    def fixed_lr(self) -> tuple[str, ...]:
        """Prefixes of the parameters whose learning rate stays at its peak."""
        return tuple(f"{key}.{n}." for key, part in self.objectives.items() for n in part.fixed_lr)


def checked_terms(objective: str, terms: object) -> dict[str, Tensor]:
    """The loss terms that an objective returned.

    Raises:
        UserError: they are no mapping of names to real numbers, () each.
    """
    if not isinstance(terms, dict):
        raise UserError(f"{objective}: expected loss terms by name in a dict, got a {type(terms).__name__}")
    for name, value in terms.items():
        if not (isinstance(value, Tensor) and value.dim() == 0 and value.is_floating_point()):
            shown = f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else repr(value)[:100]
            raise UserError(f"{objective}: loss term {name!r} must be a floating tensor (), got {shown}")
    return terms
