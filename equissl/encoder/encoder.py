"""Encoder: a backbone with input normalisation, whose feature vector is split into named parts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equissl.encoder.features import features, patch_size
from equissl.encoder.masking import build_mask_token, masked_patches
from equissl.encoder.modes import eval_mode
from equissl.encoder.weight_fitting import LoadedWeights
from equissl.errors import UserError, nearest


@dataclass(frozen=True)
class Encoded:
    """Features of a batch of images.

    Args:
        vector: (B, D) pooled features.
        grid: (B, D, h, w) features before pooling; a transformer's patch tokens at their positions. None for
            a backbone that only returns vectors.
        parts: part name -> columns of ``vector``; always has "all".
    """

    vector: Tensor
    grid: Tensor | None
    parts: Mapping[str, slice]

    def part(self, name: str) -> Tensor:
        """The columns of part ``name``: (B, d)."""
        return self.vector[:, self.parts[name]]

    def grid_part(self, name: str) -> Tensor:
        """The channels of part ``name`` in the feature map: (B, d, h, w).

        Raises:
            ValueError: there is no feature map.
        """
        if self.grid is None:
            raise ValueError("the backbone returns vectors only, but a feature map is needed")
        return self.grid[:, self.parts[name]]

    def rows(self, start: int, stop: int) -> Encoded:
        grid = None if self.grid is None else self.grid[start:stop]
        return Encoded(self.vector[start:stop], grid, self.parts)


class Encoder(nn.Module):
    """Normalises images, runs a backbone, pools if needed, and names the parts of the features.

    Args:
        backbone: any module (B, C, H, W) -> (B, D) or (B, D, h, w). Of a timm model the feature map is kept
            too, and its classifier, if it has one, is applied at every position.
        parts: part name -> width, in order; must add up to D. Without it there is only "all".
        mean, std: per channel, for images in [0, 1].
        probe: (C, H, W) of the images it is used with; D is measured on one of zeros.
        mask_token: learn a token that replaces masked patches (transformers; ``augment.PatchMask``).

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
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.size = probe[-1]
        self.loaded_weights: LoadedWeights | None = None
        width, self.grid_shape = _shapes(backbone, probe)
        self.parts = _slices(parts or {}, width)
        self.register_parameter("mask_token", build_mask_token(backbone) if mask_token else None)

    def width(self, part: str = "all") -> int:
        """Number of columns of a part.

        Raises:
            KeyError: no part has this name.
        """
        if part not in self.parts:
            raise KeyError(f"no part named {part!r} in the features; {nearest(part, self.parts)}")
        columns = self.parts[part]
        return int(columns.stop - columns.start)

    def grid_size(self) -> tuple[int, int]:
        """(h, w) of the feature map for an image of the size it is used with.

        Raises:
            ValueError: the backbone returns vectors only, or its feature map has other channels than these.
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

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Encoded:
        """
        Args:
            images: (B, C, H, W) in [0, 1]; grey ones (C = 1) are repeated for an encoder of colour images.
            mask: (B, h * w) in row-major order, 1 where a patch is replaced by the mask token.

        Raises:
            UserError: the images have another number of channels than the encoder.
        """
        if images.shape[1] not in (1, len(self.mean)):
            raise UserError(
                f"the images have {images.shape[1]} channels, the encoder takes {len(self.mean)}: give "
                "as many numbers in mean= and std= as the images have channels"
            )
        x = (images.to(self.mean.dtype) - self.mean) / self.std
        if mask is None:
            vector, grid = features(self.backbone, x)
        else:
            with masked_patches(self.backbone, self.mask_token, mask):
                vector, grid = features(self.backbone, x)
        return Encoded(vector, grid, self.parts)


def _shapes(backbone: nn.Module, probe: tuple[int, int, int]) -> tuple[int, tuple[int, int, int] | None]:
    """Columns of the vector; channels, height and width of the grid."""
    if not isinstance(backbone, nn.Module):
        raise ValueError(f"the backbone must be an nn.Module, got {backbone!r:.100}; a class must be called")
    _check_patches(backbone, probe)
    device = next((p.device for p in backbone.parameters()), torch.device("cpu"))
    if device.type == "meta":
        raise ValueError("the backbone has parameters on the device meta, which hold no numbers")
    try:
        with torch.no_grad(), eval_mode(backbone):
            vector, grid = features(backbone, torch.zeros(2, *probe, device=device))
    except ValueError:
        raise
    except Exception as error:  # whatever a module of the user's own raises
        said = str(error).strip().partition("\n")[0][:200]
        shape = " x ".join(map(str, probe))
        raise ValueError(
            f"the backbone cannot read {shape} images: {said or type(error).__name__}"
        ) from error
    if not vector.is_floating_point() or vector.dim() != 2 or len(vector) != 2 or not vector.shape[1]:
        raise ValueError(
            f"the backbone makes of 2 images features {tuple(vector.shape)} {vector.dtype}, expected "
            "(2, D) floating-point numbers"
        )
    return int(vector.shape[1]), None if grid is None else (grid.shape[1], grid.shape[2], grid.shape[3])


def _check_patches(backbone: nn.Module, probe: tuple[int, int, int]) -> None:
    """Raises ValueError if a transformer's patches do not divide the images: it would drop the rest."""
    patch = patch_size(backbone)
    uneven = [side for side in probe[1:] if patch and side % patch]
    if uneven:
        below = uneven[0] - uneven[0] % patch
        sides = f"{below} or {below + patch}" if below else str(patch)
        raise ValueError(
            f"size={uneven[0]}: the backbone's patches have a side of {patch} px, which does not divide it; "
            f"choose size={sides}"
        )


def _slices(parts: Mapping[str, int], width: int) -> dict[str, slice]:
    if parts and sum(parts.values()) != width:
        raise ValueError(
            f"parts {dict(parts)} add up to {sum(parts.values())}, but the features have {width} columns"
        )
    ends = list(itertools.accumulate(parts.values(), initial=0))
    named = {n: slice(a, b) for n, a, b in zip(parts, ends[:-1], ends[1:], strict=True)}
    return {**named, "all": slice(0, width)}
