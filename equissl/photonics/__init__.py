"""Two-dimensional photonic crystals: random unit cells, their bands, and their density of states."""

from equissl.config.public import lazy_exports

__getattr__, __dir__ = lazy_exports(__name__)
