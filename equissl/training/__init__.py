"""The training loop, optimizers and schedules, checkpoints, loggers and meters."""

from equissl.config.public import lazy_exports

__getattr__, __dir__ = lazy_exports(__name__)
