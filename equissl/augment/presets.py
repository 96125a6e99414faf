"""Augmentation pipelines of published methods; images stay in [0, 1] (not normalized)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from equissl.augment.base import Augmentation, Pipeline
from equissl.augment.color.color_jitter import ColorJitter
from equissl.augment.color.grayscale import Grayscale
from equissl.augment.color.solarize import Solarize
from equissl.augment.filters.gaussian_blur import GaussianBlur
from equissl.augment.geometry.flip import HorizontalFlip
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.augment.geometry.resample import Interpolation

_IMAGENET_MIN_SIZE = 64  # pixels; smaller images take EquiMod's CIFAR-10 values


def simclr(
    size: int,
    strength: float = 1.0,
    blur: float = 0.5,
    scale: tuple[float, float] = (0.08, 1.0),
    interpolation: Interpolation = "bilinear",
) -> Pipeline:
    """SimCLR's augmentation (arXiv:2002.05709, appendix A).

    Args:
        strength: of the color jitter; 1 on ImageNet and 0.5 on CIFAR-10 in the paper.
        blur: probability of the Gaussian blur, 0 for none (CIFAR-10); the kernel spans a tenth of the image.
        scale: range of the crop's area as a fraction of the image.

    >>> from equissl.augment import presets
    >>> presets.simclr(32, strength=0.5, blur=0).space.names[4:]
    ('horizontal_flip', 'brightness', 'contrast', 'saturation', 'hue', 'color_order', 'grayscale')
    """
    strengths = (0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength)
    steps = _crop_and_color(size, scale, interpolation, strengths)
    return Pipeline((*steps, GaussianBlur(_next_odd(size // 10), p=blur)) if blur else steps)


def equimod_simclr_cifar10() -> Pipeline:
    """EquiMod on SimCLR, CIFAR-10 (arXiv:2211.01244, released code)."""
    return Pipeline(_crop_and_color(32, (0.2, 1.0), "bicubic", (0.4, 0.4, 0.4, 0.1)))


def equimod_simclr_imagenet() -> Pipeline:
    """EquiMod on SimCLR, ImageNet (arXiv:2211.01244, released code)."""
    steps = _crop_and_color(224, (0.08, 1.0), "bicubic", (0.8, 0.8, 0.8, 0.2))
    return Pipeline((*steps, GaussianBlur(23, (0.1, 2.0), p=0.5)))


def equimod_byol(view: Literal[1, 2], size: int = 32) -> Pipeline:
    """EquiMod on BYOL (arXiv:2211.01244, released code): view 1 is always blurred, view 2 also solarized.

    Both views have the same factors. Below 64 pixels the values are those of CIFAR-10, else of ImageNet.

    Raises:
        ValueError: ``view`` is neither 1 nor 2.
    """
    return asymmetric(view, size, (0.2, 1.0) if size < _IMAGENET_MIN_SIZE else (0.08, 1.0))


def asymmetric(view: Literal[1, 2], size: int = 224, scale: tuple[float, float] = (0.08, 1.0)) -> Pipeline:
    """BYOL's two pipelines (arXiv:2006.07733, appendix B), also Barlow Twins', VICReg's and MoCo v3's.

    View 1 is always blurred, view 2 with p=0.1 and solarized with p=0.2; both have the same factors.

    Raises:
        ValueError: ``view`` is neither 1 nor 2.
    """
    if view not in (1, 2):
        raise ValueError(f"view must be 1 or 2, got {view}")
    blur, solarize = (1.0, 0.0) if view == 1 else (0.1, 0.2)
    return _asymmetric(size, scale, blur, solarize)


def moco_v2(size: int = 224) -> Pipeline:
    """MoCo v2's augmentation, also SimSiam's (arXiv:2003.04297, released code); no blur below 64 pixels."""
    steps = _crop_and_color(size, (0.2, 1.0), "bilinear", (0.4, 0.4, 0.4, 0.1))
    return Pipeline(steps if size < _IMAGENET_MIN_SIZE else (*steps, GaussianBlur(23, (0.1, 2.0), p=0.5)))


def multi_crop(
    size: int = 224,
    local_size: int = 96,
    num_local_crops: int = 8,
    scale: tuple[float, float] = (0.4, 1.0),
    local_scale: tuple[float, float] = (0.05, 0.4),
) -> dict[str, Pipeline]:
    """DINO's crops by view name (arXiv:2104.14294, released code): "a", "b", "local_1", "local_2", ...

    Without local crops the authors use ``scale=(0.14, 1.0)``.

    Raises:
        ValueError: ``num_local_crops`` is below 0.
    """
    if num_local_crops < 0:
        raise ValueError(f"num_local_crops must be at least 0, got {num_local_crops}")
    large = {"a": asymmetric(1, size, scale), "b": asymmetric(2, size, scale)}
    small = _asymmetric(local_size, local_scale, 0.5, 0.0)
    return large | {f"local_{i + 1}": small for i in range(num_local_crops)}


def essl_cifar10(size: int = 32) -> Pipeline:
    """E-SSL on CIFAR-10 (arXiv:2111.00899, released code): 32 pixels, 16 for the transformed view."""
    return Pipeline(_crop_and_color(size, (0.2, 1.0), "bilinear", (0.4, 0.4, 0.4, 0.1)))


def essl_imagenet(view: Literal[1, 2]) -> Pipeline:
    """E-SSL on ImageNet (released code): the two views of the invariance loss, augmented as BYOL's.

    Raises:
        ValueError: ``view`` is neither 1 nor 2.
    """
    return asymmetric(view)


def essl_imagenet_small(scale: tuple[float, float] = (0.05, 0.14)) -> Pipeline:
    """E-SSL on ImageNet (released code): the transformed view, 96 pixels, never solarized.

    Args:
        scale: (0.08, 1) is the paper's alternative.
    """
    steps = _crop_and_color(96, scale, "bilinear", (0.4, 0.4, 0.2, 0.1))
    return Pipeline((*steps, GaussianBlur(23, p=0.1)))


def augself_stl10(size: int = 96, strength: float = 1.0, kornia: bool = False) -> Pipeline:
    """AugSelf on STL10 (arXiv:2111.09613, released code); ``strength`` scales all color, grayscale too.

    Args:
        kornia: the jitter of the released code's kornia: saturation in HSV, one order per batch.
    """
    strengths = (0.4 * strength, 0.4 * strength, 0.4 * strength, 0.1 * strength)
    return _augself(_crop_and_color(size, (0.2, 1.0), "bilinear", strengths, 0.2 * strength), 9, kornia)


def augself_imagenet100(size: int = 224, kornia: bool = False) -> Pipeline:
    """AugSelf on ImageNet100 (arXiv:2111.09613, released code); ``kornia`` as for ``augself_stl10``."""
    return _augself(_crop_and_color(size, (0.2, 1.0), "bilinear", (0.4, 0.4, 0.4, 0.1)), 23, kornia)


def _crop_and_color(
    size: int,
    scale: tuple[float, float],
    interpolation: Interpolation,
    strengths: tuple[float, float, float, float],
    grayscale: float = 0.2,
) -> tuple[Augmentation, ...]:
    crop = RandomResizedCrop(size, scale, interpolation=interpolation)
    return (crop, HorizontalFlip(), ColorJitter(*strengths), Grayscale(grayscale))


def _augself(steps: tuple[Augmentation, ...], kernel_size: int, kornia: bool) -> Pipeline:
    if kornia:
        steps = tuple(
            replace(s, saturation_space="hsv", shared_order=True) if isinstance(s, ColorJitter) else s
            for s in steps
        )
    return Pipeline((*steps, GaussianBlur(kernel_size, (0.1, 2.0), p=0.5)))


def _asymmetric(size: int, scale: tuple[float, float], blur: float, solarize: float) -> Pipeline:
    steps = _crop_and_color(size, scale, "bicubic", (0.4, 0.4, 0.2, 0.1))
    kernel = 3 if size < _IMAGENET_MIN_SIZE else 23
    return Pipeline((*steps, GaussianBlur(kernel, p=blur), Solarize(p=solarize)))


def _next_odd(pixels: int) -> int:
    return pixels + 1 - pixels % 2
