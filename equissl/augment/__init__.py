"""Augmentations that record what they did: every class of the files below, by name."""

from equissl.config.public import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    also={
        "check_replay": "replay_check",
        "CIFAR10": "color.normalize",
        "QuarterTurns": "orbits",
        "IMAGENET": "color.normalize",
        "STL10": "color.normalize",
        "recompute": "record",
        "replay": "base",
        "default_operations": "mixtures.operations",
        "views": "record",
    },
)
