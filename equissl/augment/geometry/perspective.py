"""Random perspective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equissl.augment.batched import apply_where
from equissl.augment.geometry.warp import PaddingMode, centered_grid, grid_sample
from equissl.augment.uniform import UniformAugmentation
from equissl.augment.validation import check_between
from equissl.params import Params

# Clockwise; the sign that takes a corner inwards, right and down.
_CORNERS = {
    "top_left": {"x": 1, "y": 1},
    "top_right": {"x": -1, "y": 1},
    "bottom_right": {"x": -1, "y": -1},
    "bottom_left": {"x": 1, "y": -1},
}
_MAX_DISTORTION = 0.6


@dataclass(frozen=True)
class Perspective(UniformAugmentation):
    """Pull the corners of an image inwards, bilinear (torchvision's RandomPerspective).

    Eight factors, ``top_left_x`` to ``bottom_left_y``: shift of a corner to the right and down, as fractions
    of width and height. Corners are the outer corners of the image and fall anywhere between pixels;
    torchvision's functional gives the same for these corners, while its random transform moves the
    points (0, 0) and (W - 1, H - 1) by whole pixels.

    Args:
        distortion_scale: a corner moves by up to half this fraction of the side, in [0, 0.6]; beyond,
            the four corners need not be convex and the image folds over.
        padding_mode: fill outside of the image, see ``geometry.warp``.

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Perspective"
    geometric: ClassVar[bool | None] = True
    units: ClassVar[Mapping[str, str]] = {f"{c}_{axis}": "fraction" for c in _CORNERS for axis in "xy"}

    distortion_scale: float = 0.5
    padding_mode: PaddingMode = "zeros"
    p: float = 0.5

    def __post_init__(self) -> None:
        check_between("Perspective.distortion_scale", self.distortion_scale, 0, _MAX_DISTORTION)
        super().__post_init__()

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        reach = self.distortion_scale / 2
        ranges = {1: (0.0, reach), -1: (-reach, 0.0)}
        return {f"{c}_{axis}": ranges[sign] for c, signs in _CORNERS.items() for axis, sign in signs.items()}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        shifts = torch.cat([params.values[name] for name in self.units], 1)
        return apply_where(images, (shifts != 0).any(1), self.transform, shifts)

    def transform(self, images: Tensor, *values: Tensor) -> Tensor:
        height, width = images.shape[2:]
        numbers = [n.to(images.dtype)[..., None] for n in _source_of_quadrilateral(values[0].double())]
        a, b, c, d, e, f, g, h, i = numbers
        x, y = centered_grid(images)
        x, y = x / width, y / height
        depth = (g * x + h * y) + i
        right = ((a * x + b * y) + c) / depth
        down = ((d * x + e * y) + f) / depth
        return grid_sample(images, right * width, down * height, self.padding_mode)


def _source_of_quadrilateral(shifts: Tensor) -> tuple[Tensor, ...]:
    """The projective map from the moved corners back to the image, both in [-0.5, 0.5]^2.

    Heckbert, Fundamentals of Texture Mapping and Image Warping (1989), section 2.2.3: the map of the unit
    square to a quadrilateral in closed form, and its adjugate for the way back.

    Args:
        shifts: (B, 8) float64, x and y of the corners clockwise from the top left.

    Returns:
        Nine numbers, (B, 1) each: (x, y) -> (a x + b y + c, d x + e y + f) / (g x + h y + i).
    """
    x0, y0, x1, y1, x2, y2, x3, y3 = (shifts[:, k : k + 1] for k in range(8))
    x1, x2, y2, y3 = x1 + 1, x2 + 1, y2 + 1, y3 + 1
    wide, tall = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
    determinant = (x1 - x2) * (y3 - y2) - (x3 - x2) * (y1 - y2)
    g = (wide * (y3 - y2) - (x3 - x2) * tall) / determinant
    h = ((x1 - x2) * tall - wide * (y1 - y2)) / determinant
    a, b, c = x1 - x0 + g * x1, x3 - x0 + h * x3, x0
    d, e, f = y1 - y0 + g * y1, y3 - y0 + h * y3, y0
    back = [e - f * h, c * h - b, b * f - c * e, f * g - d, a - c * g, c * d - a * f]
    back += [d * h - e * g, b * g - a * h, a * e - b * d]
    # From the unit square to a square about the origin, on both sides.
    rows = [_recentered(*back[k : k + 3]) for k in (0, 3, 6)]
    depth = rows[2]
    rows[:2] = [[n - m / 2 for n, m in zip(row, depth, strict=True)] for row in rows[:2]]
    unit = depth[2]
    return tuple(n / unit for row in rows for n in row)


def _recentered(a: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
    return [a, b, c + a / 2 + b / 2]
