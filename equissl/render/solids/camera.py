"""The pinhole camera of all images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equissl.render.solids.scene import Studio
from equissl.render.solids.vectors import Vector

_TILT = math.sqrt(0.5)  # sine and cosine of 45 degrees: how far above the floor the camera stands


def position(studio: Studio, device: torch.device) -> Vector:
    """Camera position in the world's frame: three of shape (1,)."""
    height = torch.full((1,), studio.camera_distance * _TILT, device=device)
    return torch.zeros_like(height), height, height


def directions(studio: Studio, size: int, pixels: Tensor, right: float, down: float) -> Vector:
    """Unit directions (n,) of rays through pixels of a square image, in the world's frame.

    Args:
        pixels: (n,) int64, counted row by row from the upper left.
        right: position in the pixel, 0 (left edge) ... 1.
        down: position in the pixel, 0 (upper edge) ... 1.
    """
    scale = 2 * math.tan(studio.field_of_view / 2) / size
    column, row = (pixels % size).double(), (pixels // size).double()
    across = (column + right - size / 2) * scale
    upward = (size / 2 - row - down) * scale
    # Forward is (0, -t, -t), right (-1, 0, 0) and up (0, -t, t).
    x, y, z = -across, -_TILT - _TILT * upward, -_TILT + _TILT * upward
    inverse = 1 / (x * x + y * y + z * z).sqrt()
    return (x * inverse).float(), (y * inverse).float(), (z * inverse).float()


def floor_points(studio: Studio, size: int, pixels: Tensor) -> Vector:
    """Intersections of the rays through pixel centres with the floor (the camera sees no horizon)."""
    x, y, z = directions(studio, size, pixels, 0.5, 0.5)
    eye = position(studio, pixels.device)
    depth = (studio.floor - eye[2]) / z
    return x * depth, eye[1] + y * depth, torch.full_like(x, studio.floor)
