"""Random translation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.augment.batched import apply_where
from equissl.augment.geometry.warp import PADDING_MODES, PaddingMode, affine_warp
from equissl.augment.moments import Moments, rms_scale, uniform_moments
from equissl.augment.validation import check_between, check_choice
from equissl.params import Params, Real, Space
from equissl.random import Stream


@dataclass(frozen=True)
class Translate(Augmentation):
    """Translate to the right by ``shift_x`` of its width and down by ``shift_y`` of its height, bilinear.

    Args:
        translate: largest shift in either direction, in [0, 1].
        padding_mode: fill outside of the image, see ``geometry.warp``.

    Raises:
        ValueError: a field is out of its range.
    """

    stream_name: ClassVar[str] = "Translate"

    translate: float = 0.1
    padding_mode: PaddingMode = "zeros"
    p: float = 1.0

    def __post_init__(self) -> None:
        check_between("Translate.translate", self.translate)
        check_choice("Translate.padding_mode", self.padding_mode, PADDING_MODES)
        check_between("Translate.p", self.p)

    @property
    def space(self) -> Space:
        scale = rms_scale(self._bounds, self.p)
        return Space(tuple(Real(n, unit="fraction", scale=scale) for n in ("shift_x", "shift_y")))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        values = {n: stream.uniform(n, 1, *self._bounds) for n in self.space.names}
        return Params.of(self.space, values, stream.chance("applied", self.p))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        right, down = (params.values[n].to(images.dtype) for n in ("shift_x", "shift_y"))
        moved = ((right != 0) | (down != 0))[:, 0]
        return apply_where(images.clone(), moved, self._moved, right, down)

    def moments(self) -> Moments:
        x = uniform_moments("shift_x", self._bounds, self.p)
        return x | uniform_moments("shift_y", self._bounds, self.p)

    @property
    def _bounds(self) -> tuple[float, float]:
        return -self.translate, self.translate

    def _moved(self, images: Tensor, right: Tensor, down: Tensor) -> Tensor:
        height, width = images.shape[2:]
        return affine_warp(images, self.padding_mode, right=right * width, down=down * height)
