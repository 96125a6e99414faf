"""Self-supervised image representations that keep what augmentations destroy.

The names below are loaded when first used, so that importing equissl costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from equissl.api import audit, evaluate_run, load_backbone, pretrain, resume
    from equissl.errors import UserError
    from equissl.recipe import Recipe, Weighted
    from equissl.train import Options
    from equissl.views import ViewSpec, make_views

_HOME = {
    "audit": "equissl.api",
    "evaluate_run": "equissl.api",
    "load_backbone": "equissl.api",
    "pretrain": "equissl.api",
    "resume": "equissl.api",
    "UserError": "equissl.errors",
    "Recipe": "equissl.recipe",
    "Weighted": "equissl.recipe",
    "Options": "equissl.train",
    "ViewSpec": "equissl.views",
    "make_views": "equissl.views",
}

__all__ = [
    "Options",
    "Recipe",
    "UserError",
    "ViewSpec",
    "Weighted",
    "audit",
    "evaluate_run",
    "load_backbone",
    "make_views",
    "pretrain",
    "resume",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"equissl has no {name!r}; it offers {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOME[name]), name)
