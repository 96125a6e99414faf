"""Self-supervised image representations that keep what augmentations destroy.

The names below are loaded when first used, so that importing equissl costs nothing.
"""

from typing import TYPE_CHECKING

from equissl.config.public import lazy_exports

if TYPE_CHECKING:
    from equissl.api.audit import audit
    from equissl.api.audit_files import write_audit, write_audit_report
    from equissl.api.embed import embed
    from equissl.api.evaluate import EvaluationOptions, evaluate_run
    from equissl.api.export import export
    from equissl.api.feature_dataset import FeatureDataset
    from equissl.api.pretrain import pretrain, resume
    from equissl.api.preview import preview_views
    from equissl.api.quickstart import quickstart
    from equissl.api.render import render_3diebench, render_solids
    from equissl.api.repair import repair
    from equissl.api.replay_step import replay_step
    from equissl.api.scores import Scores
    from equissl.api.subspace import subspace
    from equissl.auto.selection import select_recipe
    from equissl.data.export import export_dataset
    from equissl.data.folder import open_data
    from equissl.data.packs.download import download
    from equissl.errors import UserError
    from equissl.loss import SelfSupervisedLoss
    from equissl.objective import Base, Equivariance
    from equissl.recipe import Recipe, Weighted
    from equissl.runs.load import load_backbone
    from equissl.training.loop import train
    from equissl.training.options import Options
    from equissl.views import Between, Fresh, SameAs, ViewSpec, intermediate_views, make_views

_FUNCTIONS = {
    "EvaluationOptions": "api.evaluate",
    "FeatureDataset": "api.feature_dataset",
    "Options": "training.options",
    "Scores": "api.scores",
    "audit": "api.audit",
    "download": "data.packs.download",
    "embed": "api.embed",
    "evaluate_run": "api.evaluate",
    "export": "api.export",
    "export_dataset": "data.export",
    "intermediate_views": "views",
    "load_backbone": "runs.load",
    "make_views": "views",
    "open_data": "data.folder",
    "pretrain": "api.pretrain",
    "preview_views": "api.preview",
    "quickstart": "api.quickstart",
    "render_3diebench": "api.render",
    "render_solids": "api.render",
    "repair": "api.repair",
    "replay_step": "api.replay_step",
    "resume": "api.pretrain",
    "select_recipe": "auto.selection",
    "subspace": "api.subspace",
    "train": "training.loop",
    "write_audit": "api.audit_files",
    "write_audit_report": "api.audit_files",
}

__all__ = [
    "Base",
    "Between",
    "Equivariance",
    "EvaluationOptions",
    "FeatureDataset",
    "Fresh",
    "Options",
    "Recipe",
    "SameAs",
    "Scores",
    "SelfSupervisedLoss",
    "UserError",
    "ViewSpec",
    "Weighted",
    "audit",
    "download",
    "embed",
    "evaluate_run",
    "export",
    "export_dataset",
    "intermediate_views",
    "load_backbone",
    "make_views",
    "open_data",
    "pretrain",
    "preview_views",
    "quickstart",
    "render_3diebench",
    "render_solids",
    "repair",
    "replay_step",
    "resume",
    "select_recipe",
    "subspace",
    "train",
    "write_audit",
    "write_audit_report",
]

__getattr__, _names = lazy_exports(__name__, also=_FUNCTIONS)


def __dir__() -> list[str]:
    return __all__
