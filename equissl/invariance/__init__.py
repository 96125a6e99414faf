"""Invariance objectives (SimCLR, BYOL, VICReg, ...), one file per method."""

from equissl.config.public import lazy_exports

__getattr__, __dir__ = lazy_exports(__name__)
