"""Augmentations that record what they did."""

from equissl.augment.affine import Affine
from equissl.augment.alone import Record, Table, recompute, views
from equissl.augment.augmix import AugMix
from equissl.augment.base import Augmentation, Identity, Orbit, Pipeline, replay
from equissl.augment.blur import Blur
from equissl.augment.channels import ChannelPermutation
from equissl.augment.color import Grayscale, Invert, Solarize
from equissl.augment.crop import Crop, Resize
from equissl.augment.erasing import RandomErasing
from equissl.augment.flip import HorizontalFlip, QuarterTurn, VerticalFlip
from equissl.augment.gamma import Gamma
from equissl.augment.geometry import Rotate, Translate
from equissl.augment.histogram import AutoContrast, Equalize
from equissl.augment.jitter import ColorJitter
from equissl.augment.levels import BlurLevels, SolarizeLevels
from equissl.augment.mask import PatchMask
from equissl.augment.noise import GaussianNoise
from equissl.augment.normalize import CIFAR10, IMAGENET, STL10, Normalize
from equissl.augment.operations import Operation, usual_operations
from equissl.augment.orbits import FullOrbit, QuarterTurns, RandomElement
from equissl.augment.patches import HalfSwap, Jigsaw
from equissl.augment.periodic import EitherFlip, HalfRoll, Roll
from equissl.augment.perspective import Perspective
from equissl.augment.posterize import Posterize
from equissl.augment.randaugment import RandAugment
from equissl.augment.renamed import Renamed
from equissl.augment.scale import Scale
from equissl.augment.se2 import SE2
from equissl.augment.sharpness import Sharpness
from equissl.augment.shear import Shear
from equissl.augment.threshold import SolarizeThreshold

__all__ = [
    "CIFAR10",
    "IMAGENET",
    "SE2",
    "STL10",
    "Affine",
    "AugMix",
    "Augmentation",
    "AutoContrast",
    "Blur",
    "BlurLevels",
    "ChannelPermutation",
    "ColorJitter",
    "Crop",
    "EitherFlip",
    "Equalize",
    "FullOrbit",
    "Gamma",
    "GaussianNoise",
    "Grayscale",
    "HalfRoll",
    "HalfSwap",
    "HorizontalFlip",
    "Identity",
    "Invert",
    "Jigsaw",
    "Normalize",
    "Operation",
    "Orbit",
    "PatchMask",
    "Perspective",
    "Pipeline",
    "Posterize",
    "QuarterTurn",
    "QuarterTurns",
    "RandAugment",
    "RandomElement",
    "RandomErasing",
    "Record",
    "Renamed",
    "Resize",
    "Roll",
    "Rotate",
    "Scale",
    "Sharpness",
    "Shear",
    "Solarize",
    "SolarizeLevels",
    "SolarizeThreshold",
    "Table",
    "Translate",
    "VerticalFlip",
    "recompute",
    "replay",
    "usual_operations",
    "views",
]
