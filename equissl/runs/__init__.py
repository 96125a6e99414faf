"""Run folders: reading, writing, loading a model from one, recording scores, and exporting it."""

from equissl.config.public import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__, {"load_backbone": "load", "load_encoder": "load", "load_run": "load", "open_run": "folder"}
)
