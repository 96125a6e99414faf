"""Labelled images of a table, and why classification may be unavailable."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.evaluate.base import FeatureTable


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
