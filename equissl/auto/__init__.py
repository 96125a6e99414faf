"""The recipe chosen for a folder of images, and the checks behind keep= and ignore=."""

from equissl.config.public import lazy_exports

__getattr__, __dir__ = lazy_exports(__name__)
