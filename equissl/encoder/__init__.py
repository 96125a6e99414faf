"""Encoders: backbones, named parts of the features, masked patches."""

from equissl.config.public import lazy_exports

__getattr__, __dir__ = lazy_exports(__name__)
