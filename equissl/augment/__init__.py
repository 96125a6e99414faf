"""Augmentations that record what they did."""

from equissl.augment.alone import Record, Table, recompute, views
from equissl.augment.base import Augmentation, Identity, Orbit, Pipeline, replay
from equissl.augment.blur import Blur
from equissl.augment.color import Grayscale, Invert, Solarize
from equissl.augment.crop import Crop, Resize
from equissl.augment.flip import HorizontalFlip, QuarterTurn, VerticalFlip
from equissl.augment.geometry import Rotate, Translate
from equissl.augment.jitter import ColorJitter
from equissl.augment.normalize import CIFAR10, IMAGENET, STL10, Normalize
from equissl.augment.orbits import QuarterTurns

__all__ = [
    "CIFAR10",
    "IMAGENET",
    "STL10",
    "Augmentation",
    "Blur",
    "ColorJitter",
    "Crop",
    "Grayscale",
    "HorizontalFlip",
    "Identity",
    "Invert",
    "Normalize",
    "Orbit",
    "Pipeline",
    "QuarterTurn",
    "QuarterTurns",
    "Record",
    "Resize",
    "Rotate",
    "Solarize",
    "Table",
    "Translate",
    "VerticalFlip",
    "recompute",
    "replay",
    "views",
]
