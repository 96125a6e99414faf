"""The package's commands as functions, one file per command; ``equissl.NAME`` offers them all."""

from equissl.config.public import lazy_exports

__getattr__, __dir__ = lazy_exports(__name__)
