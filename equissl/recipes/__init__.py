"""Published and small recipes, as functions that return plain data."""

from equissl.config.public import lazy_exports

__getattr__, __dir__ = lazy_exports(__name__)
