"""Objectives as a loss in a training loop of one's own: any network, any optimizer, any trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from equissl.augment.base import Augmentation
from equissl.augment.engine import Engine, resolve_engine
from equissl.data.batch import Batch
from equissl.encoder.encoder import Encoded, Encoder
from equissl.errors import UserError, nearest
from equissl.model import BatchNormMode, Model
from equissl.objective import BaseConfig, EquivarianceConfig
from equissl.params import Space
from equissl.views import View, ViewSpec, make_views


class SelfSupervisedLoss(nn.Module):
    """The loss of a base objective and equivariance modules: ``loss(images)`` draws views and encodes them.

    Its parameters are those of the network and of all heads. In training mode each call draws new views.

    Args:
        network: a module (B, C, H, W) -> (B, D) or (B, D, h, w), which gets images in [0, 1]; an ``Encoder``;
            or a number, the width D of features that another program makes (``from_features``).
        views: name -> its augmentation, or a ``ViewSpec``; ``Identity()`` is the plain image.
        base: the invariance objective; None for the modules alone.
        modules: name -> an equivariance objective.
        weights: name of a module -> its weight; 1 if absent.
        size: side of the images in pixels, or their (height, width).
        channels: of the images.
        batch_norm: as of ``Recipe``.
        seed: of the views.
        engine: what makes the views, as of ``Recipe``.

    Raises:
        UserError: no objective, a view that an objective reads but that does not exist, or settings that do
            not fit the network.

    Example:
        >>> from equissl import augment, equivariance, invariance
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> policy = augment.presets.simclr(16)
        >>> loss = SelfSupervisedLoss(
        ...     network,
        ...     {"plain": augment.Resize(16), "a": policy, "b": policy},
        ...     invariance.SimCLR.Config(projector=(16, 8)),
        ...     {"equimod": equivariance.EquiMod.Config(projector=(16, 8))},
        ...     size=24,
        ... )
        >>> images = torch.rand(4, 3, 24, 24)
        >>> loss(images).shape, sorted(loss.terms(images))
        (torch.Size([]), ['base/contrast', 'equimod/contrast'])
    """

    def __init__(
        self,
        network: nn.Module | int,
        views: Mapping[str, Augmentation | ViewSpec],
        base: BaseConfig | None = None,
        modules: Mapping[str, EquivarianceConfig] | None = None,
        weights: Mapping[str, float] | None = None,
        *,
        size: int | tuple[int, int] = 0,
        channels: int = 3,
        batch_norm: BatchNormMode = "all_views",
        seed: int = 0,
        engine: Engine = "auto",
    ):
        super().__init__()
        self.specs = {n: v if isinstance(v, ViewSpec) else ViewSpec(augment=v) for n, v in views.items()}
        parts = ({} if base is None else {"base": base}) | dict(modules or {})
        _check_parts(parts, self.specs, weights or {})
        encoder = _encoder(network, self.specs, (size, size) if isinstance(size, int) else size, channels)
        spaces = {name: spec.space(Space()) for name, spec in self.specs.items()}
        built: dict[str, Any] = {}
        for name, config in parts.items():
            try:
                built[name] = config.build(encoder, spaces)
            except (KeyError, ValueError) as error:
                raise UserError(f"{name}: {error.args[0]}") from error
        own = built.pop("base", None)
        factors = {name: (weights or {}).get(name, 1.0) for name in built}
        encoded = [n for n, spec in self.specs.items() if spec.encode]
        self.model = Model(encoder, own, built, factors, encoded, batch_norm)
        self.takes_features = isinstance(network, int)
        self.seed, self.engine = seed, engine
        self.calls = 0  # no buffer: reading one back would wait for the device in every step

    @property
    def encoder(self) -> Encoder:
        """The network as an ``Encoder``: what ``equissl.audit`` takes."""
        return self.model.encoder

    def forward(self, images: Tensor, index: Tensor | None = None, epoch: int | None = None) -> Tensor:
        """The loss of a batch, ().

        Args:
            images: (B, C, H, W), uint8 or float in [0, 1].
            index: (B,) numbers of the images in their dataset, which key their random views; 0, 1, ... if
                absent.
            epoch: keys them too; the number of calls in training mode if absent.
        """
        return torch.stack(list(self.terms(images, index, epoch).values())).sum()

    def terms(
        self, images: Tensor, index: Tensor | None = None, epoch: int | None = None
    ) -> dict[str, Tensor]:
        """The named terms whose sum is the loss; arguments as of ``forward``."""
        if self.takes_features:
            raise UserError("this loss was made for features of another program: call from_features(...)")
        terms: dict[str, Tensor] = self.model(self.make_views(images, index, epoch))
        return terms

    def make_views(
        self, images: Tensor, index: Tensor | None = None, epoch: int | None = None
    ) -> dict[str, View]:
        """The views of a batch, with ``images`` (B, C, h, w) and ``params``; arguments as of ``forward``."""
        count = len(images)
        rows = torch.arange(count) if index is None else index.cpu()
        if epoch is None:
            epoch = self.calls
            self.calls += int(self.training)
        known = {spec.image: Space().neutral(count) for spec in self.specs.values()}
        batch = Batch(dict.fromkeys(known, images), known, torch.full((count,), -1), rows)
        engine = resolve_engine(self.engine, images.device)
        return make_views(batch, self.specs, self.seed, epoch, engine)

    def from_features(self, views: Mapping[str, View], features: Mapping[str, Tensor]) -> Tensor:
        """The loss of views whose features were made elsewhere, ().

        Args:
            views: of ``make_views``.
            features: view name -> (B, D).

        Raises:
            UserError: a view that is read has no features, or they have another width.
        """
        width = self.encoder.width()
        needed = self.model.encoded_views
        if missing := [name for name in needed if name not in features]:
            raise UserError(
                f"features: there are none of view {missing[0]!r}; {nearest(missing[0], features)}"
            )
        for name in needed:
            if features[name].dim() != 2 or features[name].shape[1] != width:
                shape = tuple(features[name].shape)
                raise UserError(f"features: those of view {name!r} are {shape}, expected (B, {width})")
        encoded = {name: Encoded(features[name], None, self.encoder.parts) for name in needed}
        return torch.stack(list(self.model.terms(views, encoded).values())).sum()

    def get_extra_state(self) -> Tensor:
        """The number of calls, so that a loop that goes on from a ``state_dict`` draws new views."""
        return torch.tensor(self.calls)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on after so many calls."""
        self.calls = int(state)

    def after_step(self, progress: float = 1.0) -> None:
        """Call after each optimizer step with BYOL, MoCo or DINO, whose teachers are no gradients' work.

        Args:
            progress: fraction of all steps that is done, in (0, 1].
        """
        self.model.after_step(progress)


class _Width(nn.Module):
    """Stands in for the network of another program: (B, C, H, W) -> zeros (B, D)."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, images: Tensor) -> Tensor:
        return images.new_zeros(len(images), self.width)


def _encoder(
    network: nn.Module | int, specs: Mapping[str, ViewSpec], size: tuple[int, int], channels: int
) -> Encoder:
    if isinstance(network, Encoder):
        return network
    module = _Width(network) if isinstance(network, int) else network
    if 0 in size and not isinstance(network, int):
        raise UserError("size is missing: the side of the images in pixels, or their (height, width)")
    first = next(iter(specs.values()))
    height, width = first.augment.output_size(size) if 0 not in size else (1, 1)
    try:
        return Encoder(module, None, (0.0,) * channels, (1.0,) * channels, (channels, height, width))
    except ValueError as error:
        raise UserError(f"network: {error}") from error


def _check_parts(
    parts: Mapping[str, BaseConfig | EquivarianceConfig],
    specs: Mapping[str, ViewSpec],
    weights: Mapping[str, float],
) -> None:
    if not parts:
        raise UserError("base and modules are both empty, so there is nothing to learn from")
    problems = [
        f"{name} reads view {view!r}; {nearest(view, specs)}"
        for name, config in parts.items()
        for view in config.reads()
        if view not in specs
    ]
    problems += [f"weights: no module {n!r}; {nearest(n, parts)}" for n in weights if n not in parts]
    if problems:
        raise UserError(problems)
