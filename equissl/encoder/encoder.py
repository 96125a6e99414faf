"""A backbone whose feature vector is cut into named parts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equissl.errors import nearest


@dataclass(frozen=True)
class Encoded:
    """Pictures after the encoder.

    Args:
        vector: (B, D) pooled features.
        grid: (B, D, h, w) features before pooling, None for a backbone that only gives vectors.
        parts: part name -> columns of ``vector``; "all" is always there.
    """

    vector: Tensor
    grid: Tensor | None
    parts: Mapping[str, slice]

    def part(self, name: str) -> Tensor:
        """The columns called ``name``: (B, d)."""
        return self.vector[:, self.parts[name]]

    def rows(self, start: int, stop: int) -> Encoded:
        grid = None if self.grid is None else self.grid[start:stop]
        return Encoded(self.vector[start:stop], grid, self.parts)


class Encoder(nn.Module):
    """Normalises pictures, runs a backbone, pools if needed, and names the parts of the result.

    Args:
        backbone: any module (B, C, H, W) -> (B, D) or (B, D, h, w); a timm model made with
            ``num_classes=0`` also yields its grid.
        parts: part name -> width, in order; must add up to D. Without it there is only "all".
        mean, std: per channel, on [0, 1] pictures.
        probe: (C, H, W) of the pictures it is used with; one is used to find D.

    Raises:
        ValueError: ``parts`` do not add up to the backbone's width.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        parts: Mapping[str, int] | None = None,
        mean: tuple[float, ...] = (0.5, 0.5, 0.5),
        std: tuple[float, ...] = (0.25, 0.25, 0.25),
        probe: tuple[int, int, int] = (3, 64, 64),
    ):
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)
        self.size = probe[-1]
        self.parts = _slices(parts or {}, _width(backbone, probe))

    def width(self, part: str = "all") -> int:
        """Columns of a part.

        Raises:
            KeyError: no part has this name.
        """
        if part not in self.parts:
            raise KeyError(f"no part named {part!r} in the features; {nearest(part, self.parts)}")
        columns = self.parts[part]
        return int(columns.stop - columns.start)

    def forward(self, images: Tensor) -> Encoded:
        vector, grid = _features(self.backbone, (images - self.mean) / self.std)
        return Encoded(vector, grid, self.parts)


def _features(backbone: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    staged = getattr(backbone, "forward_features", None)
    if staged is None:
        out = backbone(x)
        return (out, None) if out.dim() == 2 else (out.mean((2, 3)), out)
    features = staged(x)
    head = backbone.forward_head
    vector: Tensor = head(features, pre_logits=True)  # type: ignore[operator]
    return vector, features if features.dim() == 4 else None


def _width(backbone: nn.Module, probe: tuple[int, int, int]) -> int:
    training = backbone.training
    device = next((p.device for p in backbone.parameters()), torch.device("cpu"))
    with torch.no_grad():
        vector, _ = _features(backbone.eval(), torch.zeros(1, *probe, device=device))
    backbone.train(training)
    return int(vector.shape[1])


def _slices(parts: Mapping[str, int], width: int) -> dict[str, slice]:
    if parts and sum(parts.values()) != width:
        raise ValueError(
            f"parts {dict(parts)} add up to {sum(parts.values())}, but the features have {width} columns"
        )
    ends = list(itertools.accumulate(parts.values(), initial=0))
    named = {n: slice(a, b) for n, a, b in zip(parts, ends[:-1], ends[1:], strict=True)}
    return {**named, "all": slice(0, width)}
