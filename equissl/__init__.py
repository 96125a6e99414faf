"""Self-supervised image representations that keep what augmentations destroy.

The names below are loaded when first used, so that importing equissl costs nothing.
"""

from typing import TYPE_CHECKING

from equissl.config.public import lazy_exports

if TYPE_CHECKING:
    from equissl.api import audit, evaluate_run, load_backbone, pretrain, resume
    from equissl.errors import UserError
    from equissl.objective import Base, Equivariance
    from equissl.recipe import Recipe, Weighted
    from equissl.training.loop import train
    from equissl.training.options import Options
    from equissl.views import Between, Fresh, SameAs, ViewSpec, intermediate_views, make_views

__all__ = [
    "Base",
    "Between",
    "Equivariance",
    "Fresh",
    "Options",
    "Recipe",
    "SameAs",
    "UserError",
    "ViewSpec",
    "Weighted",
    "audit",
    "evaluate_run",
    "intermediate_views",
    "load_backbone",
    "make_views",
    "pretrain",
    "resume",
    "train",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    also={
        "Options": "training.options",
        "audit": "api",
        "evaluate_run": "api",
        "intermediate_views": "views",
        "load_backbone": "api",
        "make_views": "views",
        "pretrain": "api",
        "resume": "api",
        "train": "training.loop",
    },
)
