"""Labelled images of a table, why classification may be unavailable, and its scores."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equissl.evaluate.base import FeatureTable, Score
from equissl.evaluate.statistics import Estimate
from equissl.evaluate.titles import ACCURACY


def labelled(table: FeatureTable) -> FeatureTable:
    """The images that have a label."""
    return table[table.labels >= 0]


def no_classes_reason(train: FeatureTable, test: FeatureTable) -> str:
    """What classification lacks here, as a sentence; "" if nothing."""
    return labels_reason(train.labels, test.labels)


def labels_reason(train: Tensor, test: Tensor) -> str:
    """As ``no_classes_reason``, of labels (N,) and (M,) int64, -1 where there is none."""
    classes = torch.unique(train[train >= 0])
    if not len(classes) or not len(test[test >= 0]):
        split = "test" if len(classes) else "training"
        return f"it needs labels, but no {split} image has one; labels=folders or labels=FILE.csv names them"
    if len(classes) < 2:
        return "it needs at least two classes, but all labelled training images are of one"
    return ""


def accuracy_score(name: str, accuracy: Estimate, title: str, **fields: Any) -> Score:
    """A fraction of images that are classified rightly; ``fields`` of ``Score``."""
    common = {"unit": "fraction", "group": ACCURACY, "higher_is_better": True}
    return Score.of(name, accuracy, title=title, **common, **fields)
