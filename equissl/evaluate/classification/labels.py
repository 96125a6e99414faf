"""Labelled images of a table, why classification may be unavailable, and its scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from equissl.evaluate.base import FeatureTable, Score
from equissl.evaluate.metrics import balanced_accuracy
from equissl.evaluate.statistics import Estimate, estimate, proportion
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


def accuracy_scores(
    name: str, predictions: Tensor, labels: Tensor, groups: Tensor, title: str, seed: int = 0, **fields: Any
) -> Iterator[Score]:
    """Top-1 accuracy, and balanced accuracy beside it where the classes of the test images are unbalanced.

    Args:
        name: of the first, "knn/top1"; the second is "knn/balanced".
        predictions: (M,) classes, or (S, M) of S repetitions, whose mean is scored.
        labels, groups: (M,) of the test images.
        title: of the first, "kNN accuracy, top-1"; ``fields`` of ``Score``.
    """
    repeated, common = predictions.view(-1, len(labels)), {"count": len(labels), "seed": seed, **fields}
    correct = repeated == labels
    if predictions.dim() == 1:
        accuracy = proportion(correct[0], groups, seed)
    else:
        accuracy = estimate(lambda rows: float(correct[:, rows].double().mean()), groups, seed=seed)
    yield accuracy_score(name, accuracy, title, **common)
    if unbalanced(labels):

        def balanced(rows: Tensor) -> float:
            return sum(balanced_accuracy(p[rows], labels[rows]) for p in repeated) / len(repeated)

        name, title = f"{name.removesuffix('/top1')}/balanced", f"{title.removesuffix(', top-1')}, balanced"
        score = accuracy_score(name, estimate(balanced, groups, seed=seed), title, **common)
        yield replace(score, unit="balanced accuracy")


def unbalanced(labels: Tensor) -> bool:
    """Whether the most frequent class has more than twice the images of the rarest: (N,) int64."""
    _, counts = torch.unique(labels, return_counts=True)
    return len(counts) > 1 and int(counts.max()) > 2 * int(counts.min())


def accuracy_score(name: str, accuracy: Estimate, title: str, **fields: Any) -> Score:
    """A fraction of images that are classified rightly; ``fields`` of ``Score``."""
    common = {"unit": "fraction", "group": ACCURACY, "higher_is_better": True}
    return Score.of(name, accuracy, title=title, **common, **fields)
