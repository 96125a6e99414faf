"""Augmentations that record what they did."""

from equissl.augment.base import Augmentation, Identity, Orbit, Pipeline, replay
from equissl.augment.blur import Blur
from equissl.augment.color import Grayscale, Invert, Solarize
from equissl.augment.crop import Crop, Resize
from equissl.augment.flip import HorizontalFlip, QuarterTurn, VerticalFlip
from equissl.augment.geometry import Rotate, Translate
from equissl.augment.jitter import ColorJitter
from equissl.augment.levels import BlurLevels, SolarizeLevels
from equissl.augment.normalize import CIFAR10, IMAGENET, STL10, Normalize
from equissl.augment.orbits import FullOrbit, QuarterTurns, RandomElement
from equissl.augment.patches import HalfSwap, Jigsaw
from equissl.augment.periodic import EitherFlip, HalfRoll, Roll

__all__ = [
    "CIFAR10",
    "IMAGENET",
    "STL10",
    "Augmentation",
    "Blur",
    "BlurLevels",
    "ColorJitter",
    "Crop",
    "EitherFlip",
    "FullOrbit",
    "Grayscale",
    "HalfRoll",
    "HalfSwap",
    "HorizontalFlip",
    "Identity",
    "Invert",
    "Jigsaw",
    "Normalize",
    "Orbit",
    "Pipeline",
    "QuarterTurn",
    "QuarterTurns",
    "RandomElement",
    "Resize",
    "Roll",
    "Rotate",
    "Solarize",
    "SolarizeLevels",
    "Translate",
    "VerticalFlip",
    "replay",
]
