"""A backbone whose feature vector is cut into named parts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equissl.encoder import masking
from equissl.errors import nearest
from equissl.params import PATCH_MASK, Space


@dataclass(frozen=True)
class Encoded:
    """Images after the encoder.

    Args:
        vector: (B, D) pooled features.
        grid: (B, D, h, w) features before pooling, a transformer's patches where they lie in the image;
            None for a backbone that only gives vectors.
        parts: part name -> columns of ``vector``; "all" is always there.
    """

    vector: Tensor
    grid: Tensor | None
    parts: Mapping[str, slice]

    def part(self, name: str) -> Tensor:
        """The columns called ``name``: (B, d)."""
        return self.vector[:, self.parts[name]]

    def grid_part(self, name: str) -> Tensor:
        """The channels of the grid called ``name``: (B, d, h, w).

        Raises:
            ValueError: there is no grid.
        """
        if self.grid is None:
            raise ValueError("the backbone gives vectors only, but features at every place are needed")
        return self.grid[:, self.parts[name]]

    def rows(self, start: int, stop: int) -> Encoded:
        grid = None if self.grid is None else self.grid[start:stop]
        return Encoded(self.vector[start:stop], grid, self.parts)


class Encoder(nn.Module):
    """Normalises images, runs a backbone, pools if needed, and names the parts of the result.

    Args:
        backbone: any module (B, C, H, W) -> (B, D) or (B, D, h, w); a timm model also yields its grid, and
            its classifier, if it has one, is a linear layer on every place of it.
        parts: part name -> width, in order; must add up to D. Without it there is only "all".
        mean, std: per channel, on [0, 1] images.
        probe: (C, H, W) of the images it is used with; one is used to find D.
        mask_token: learn what stands for a hidden patch of a transformer (``augment.PatchMask``).

    Raises:
        ValueError: ``parts`` do not add up to the backbone's width, or a mask token for no transformer.
    """

    mean: Tensor
    std: Tensor
    mask_token: Tensor | None

    def __init__(
        self,
        backbone: nn.Module,
        parts: Mapping[str, int] | None = None,
        mean: tuple[float, ...] = (0.5, 0.5, 0.5),
        std: tuple[float, ...] = (0.25, 0.25, 0.25),
        probe: tuple[int, int, int] = (3, 64, 64),
        mask_token: bool = False,
    ):
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)
        self.size = probe[-1]
        width, self.grid_shape = _shapes(backbone, probe)
        self.parts = _slices(parts or {}, width)
        hidden = masking.token(backbone) if mask_token else None
        self.register_parameter("mask_token", hidden)

    def width(self, part: str = "all") -> int:
        """Columns of a part.

        Raises:
            KeyError: no part has this name.
        """
        if part not in self.parts:
            raise KeyError(f"no part named {part!r} in the features; {nearest(part, self.parts)}")
        columns = self.parts[part]
        return int(columns.stop - columns.start)

    def grid_size(self) -> tuple[int, int]:
        """(h, w) of the grid for an image of the size it is used with.

        Raises:
            ValueError: the backbone gives vectors only, or its grid has other channels than its vectors.
        """
        if self.grid_shape is None:
            raise ValueError("it reads features at every place, but the backbone only gives vectors")
        channels, height, width = self.grid_shape
        if channels != self.width():
            raise ValueError(
                f"it reads features at every place, but the backbone's grid has {channels} channels and its "
                f"vectors {self.width()} columns; choose another backbone"
            )
        return height, width

    def check_masks(self, spaces: Mapping[str, Space], views: Sequence[str]) -> None:
        """
        Raises:
            ValueError: patches cannot be hidden, or one of the views does not say which are, or of how many.
        """
        height, width = self.grid_size()
        if self.mask_token is None:
            raise ValueError("it hides patches, so it needs a transformer with encoder.mask_token=true")
        for view in views:
            known = [f for f in spaces[view] if f.name == PATCH_MASK]
            if not known:
                raise ValueError(
                    f"view {view!r} hides no patches; end its policy with PatchMask(grid_size={height})"
                )
            if known[0].size != height * width:
                raise ValueError(
                    f"view {view!r} draws masks of {known[0].size} patches, but the encoder has {height} x "
                    f"{width}: PatchMask(grid_size={height})"
                )

    def forward(self, images: Tensor, hidden: Tensor | None = None) -> Encoded:
        """
        Args:
            images: (B, C, H, W) in [0, 1].
            hidden: (B, h * w), 1 where a patch is replaced by the mask token, row by row.
        """
        x = (images - self.mean) / self.std
        if hidden is None:
            vector, grid = _features(self.backbone, x)
        else:
            with masking.hiding(self.backbone, self.mask_token, hidden):
                vector, grid = _features(self.backbone, x)
        return Encoded(vector, grid, self.parts)


def _features(backbone: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    staged = getattr(backbone, "forward_features", None)
    if staged is None:
        out = backbone(x)
        return (out, None) if out.dim() == 2 else (out.mean((2, 3)), out)
    features = staged(x)
    head = backbone.forward_head
    vector: Tensor = head(features, pre_logits=True)  # type: ignore[operator]
    grid = _grid(backbone, features, (x.shape[2], x.shape[3]))
    classifier = getattr(backbone, "get_classifier", nn.Identity)()
    if isinstance(classifier, nn.Linear):
        vector = classifier(vector)
        grid = None if grid is None else classifier(grid.movedim(1, 3)).movedim(3, 1)
    return vector, grid


def _grid(backbone: nn.Module, features: Tensor, size: tuple[int, int]) -> Tensor | None:
    """Features as timm's models give them, as (B, D, h, w); None where they do not lie in the image."""
    if features.dim() == 4:
        last = str(getattr(backbone, "output_fmt", "NCHW")) == "NHWC"
        return features.movedim(3, 1) if last else features
    patches = getattr(backbone, "patch_embed", None)
    if features.dim() != 3 or patches is None:
        return None
    tokens = features[:, getattr(backbone, "num_prefix_tokens", 0) :]
    height, width = patches.dynamic_feat_size(size)
    if height * width != tokens.shape[1]:
        return None
    return tokens.movedim(2, 1).reshape(len(tokens), -1, height, width)


def _shapes(backbone: nn.Module, probe: tuple[int, int, int]) -> tuple[int, tuple[int, int, int] | None]:
    """Columns of the vector; channels, height and width of the grid."""
    training = backbone.training
    device = next((p.device for p in backbone.parameters()), torch.device("cpu"))
    with torch.no_grad():
        vector, grid = _features(backbone.eval(), torch.zeros(1, *probe, device=device))
    backbone.train(training)
    return int(vector.shape[1]), None if grid is None else (grid.shape[1], grid.shape[2], grid.shape[3])


def _slices(parts: Mapping[str, int], width: int) -> dict[str, slice]:
    if parts and sum(parts.values()) != width:
        raise ValueError(
            f"parts {dict(parts)} add up to {sum(parts.values())}, but the features have {width} columns"
        )
    ends = list(itertools.accumulate(parts.values(), initial=0))
    named = {n: slice(a, b) for n, a, b in zip(parts, ends[:-1], ends[1:], strict=True)}
    return {**named, "all": slice(0, width)}
