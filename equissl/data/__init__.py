"""Datasets, one file each."""

from equissl.config.public import lazy_exports

__getattr__, __dir__ = lazy_exports(__name__, {"export_dataset": "export", "open_data": "folder"})
