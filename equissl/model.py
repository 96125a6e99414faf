"""An encoder trained by one base objective plus weighted equivariance modules; the only sum there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from equissl.encoder.encoder import Encoded, Encoder
from equissl.objective import Base, Equivariance, Objective, Outcome
from equissl.params import PATCH_MASK
from equissl.views import View

BatchNormMode = Literal["all_views", "per_view"]


class Model(nn.Module):
    """total = base(views) + sum of weight * module(views).

    Args:
        base: None for a method that learns from equivariance alone.
        weights: module name -> its factor in the sum.
        encoded_views: the views to encode, in order.
        batch_norm: "all_views" encodes views of one image size in a single pass, so BatchNorm sees them
            together (EquiMod); "per_view" encodes one view after the other (SimSiam, E-SSL).
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

    def forward(self, views: Mapping[str, View]) -> dict[str, Tensor]:
        """Named terms whose sum is the loss, e.g. "base/contrast", "equimod/contrast"."""
        encoded = self.encode(views)
        outcome = Outcome({}, {}) if self.base is None else self.base(views, encoded)
        terms = {f"base/{k}": v for k, v in outcome.losses.items()}
        for name, module in self.modules_by_name.items():
            for key, value in module(views, encoded, outcome.embeddings).items():
                terms[f"{name}/{key}"] = self.weights[name] * value
        return terms

    def encode(self, views: Mapping[str, View]) -> dict[str, Encoded]:
        """The encoded views, by name."""
        if self.batch_norm == "per_view":
            return {
                name: self.encoder(views[name].images, self._hidden(views, [name]))
                for name in self.encoded_views
            }
        sizes: dict[torch.Size, list[str]] = {}
        for name in self.encoded_views:
            sizes.setdefault(views[name].images.shape[1:], []).append(name)
        encoded: dict[str, Encoded] = {}
        for names in sizes.values():
            whole = self.encoder(torch.cat([views[n].images for n in names]), self._hidden(views, names))
            start = 0
            for name in names:
                stop = start + len(views[name].images)
                encoded[name] = whole.rows(start, stop)
                start = stop
        return encoded

    def _hidden(self, views: Mapping[str, View], names: Sequence[str]) -> Tensor | None:
        """Which patches are hidden, view after view, (B, patches); None if no view hides any."""
        known = {n: views[n].params.values[PATCH_MASK] for n in names if PATCH_MASK in views[n].params.values}
        if not known:
            return None
        patches = next(iter(known.values())).shape[1]
        shown = [known.get(n, views[n].images.new_zeros(len(views[n].images), patches)) for n in names]
        return torch.cat(shown)

    def after_step(self, progress: float) -> None:
        for objective in self.objectives.values():
            objective.after_step(self.encoder, progress)

    @property
    def objectives(self) -> dict[str, Objective]:
        """All of them by the name their parameters begin with."""
        base: dict[str, Objective] = {} if self.base is None else {"base": self.base}
        return base | {f"equivariance.{n}": m for n, m in self.modules_by_name.items()}

    @property
    def fixed_lr(self) -> tuple[str, ...]:
        """Prefixes of the parameters whose learning rate stays at its peak."""
        return tuple(f"{key}.{n}." for key, part in self.objectives.items() for n in part.fixed_lr)
