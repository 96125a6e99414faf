"""Equivariance modules, one file each."""

from equissl.config.public import lazy_exports

__getattr__, __dir__ = lazy_exports(__name__)
