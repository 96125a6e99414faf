"""Scene factors of Solids and their distribution: pose, two hues and lamp direction; constants of the studio.

The factors and their ranges are those of 3DIEBench (Garrido, Najman & LeCun, ICML 2023, section 4 and its
generator): Euler angles within a quarter turn of upright, hues anywhere on the circle, a lamp within 45
degrees of the zenith. The lamp's polar angle is recorded as its elevation above the horizon.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from equissl.errors import UserError, nearest
from equissl.params import Circular, Params, Real, Rotation, Space, euler_quaternion
from equissl.random import Stream

Rotations = Literal["3diebench", "uniform"]
MAX_VIEWS = 1 << 20  # per object, for the keys of the random streams

_MIN_ELEVATION = math.pi / 4

SPACE = Space(
    (
        Rotation("pose", unit="quaternion"),
        Circular("floor_hue", period=1.0, unit="turns"),
        Circular("light_hue", period=1.0, unit="turns"),
        Circular("light_azimuth", unit="radians"),
        Real(
            "light_elevation",
            unit="radians",
            neutral_value=3 * math.pi / 8,
            scale=math.pi / 8 / math.sqrt(3),
        ),
    )
)


@dataclass(frozen=True)
class Studio:
    """Constants of all scenes; lengths in units of the largest solid's radius.

    The world's z axis points up. As in 3DIEBench the camera looks down at the solid from +y at 45 degrees
    with a field of view of 0.691 radians, the lamp points at the solid, and the light from above is white.
    The solid is larger in the image than there and floats just above the floor, so its shadow shows.

    Args:
        camera_distance: from the camera to the centre of the solid.
        field_of_view: angle in radians between the left and the right edge of the image.
        floor: height of the floor.
        lamp_distance: from the lamp to the centre of the solid.
        lamp_cone: half the angle of the lamp's cone of light, radians.
        lamp: intensity of the coloured lamp; 0 leaves white light only.
        sky: intensity of the white light from above.
    """

    camera_distance: float = 3.3
    field_of_view: float = 0.691111
    floor: float = -1.05
    lamp_distance: float = 6.0
    lamp_cone: float = 0.19
    lamp: float = 0.95
    sky: float = 0.62


def sample(objects: Tensor, views: Tensor, seed: int, rotations: Rotations = "3diebench") -> Params:
    """The factors of image ``views[i]`` of object ``objects[i]``, a function of (seed, object, view).

    Args:
        objects: (B,) int64, at least 0.
        views: (B,) int64 in 0 ... ``MAX_VIEWS`` - 1.
        rotations: Euler angles as in 3DIEBench, or uniform over all rotations.

    Raises:
        UserError: no such ``rotations``.
    """
    stream = Stream.of(objects * MAX_VIEWS + views, seed, "scene")
    if rotations == "3diebench":
        pose = euler_quaternion(stream.uniform("euler", 3, -math.pi / 2, math.pi / 2)).float()
    elif rotations == "uniform":
        pose = uniform_rotation(stream.uniform("uniform", 3))
    else:
        raise UserError(f"no rotations called {rotations!r}; {nearest(rotations, get_args(Rotations))}")
    values = {
        "pose": pose,
        "floor_hue": stream.uniform("floor_hue"),
        "light_hue": stream.uniform("light_hue"),
        "light_azimuth": stream.uniform("light_azimuth", 1, 0, 2 * math.pi),
        "light_elevation": stream.uniform("light_elevation", 1, _MIN_ELEVATION, math.pi / 2),
    }
    return Params.of(SPACE, values, count=len(objects))


def light_direction(params: Params) -> Tensor:
    """Unit vectors from the solid to the lamp, (B, 3) in the world's frame."""
    azimuth = params.values["light_azimuth"][:, 0].double()
    elevation = params.values["light_elevation"][:, 0].double()
    level = elevation.cos()
    return torch.stack([level * azimuth.cos(), level * azimuth.sin(), elevation.sin()], 1).float()


def uniform_rotation(unit: Tensor) -> Tensor:
    """Uniform over the rotations from three uniform numbers (Shoemake 1992): (B, 3) -> (B, 4)."""
    fraction, first, second = unit.double().unbind(1)
    a, b = (1 - fraction).sqrt(), fraction.sqrt()
    first, second = first * 2 * math.pi, second * 2 * math.pi
    return torch.stack([a * first.sin(), a * first.cos(), b * second.sin(), b * second.cos()], 1).float()
