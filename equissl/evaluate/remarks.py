"""What a reader of the scores must know of the features, labels and factors, in words."""

from __future__ import annotations

import torch

from equissl.evaluate.base import FeatureTable
from equissl.evaluate.collapse import collapse_warning, embedding_std, rank_me
from equissl.evaluate.factors.scoring import factor_targets, varies
from equissl.params import Factor


def remarks(train: FeatureTable, test: FeatureTable) -> list[str]:
    """Sentences on collapsed features, classes that cannot be recognised and factors without a score."""
    found = [collapse_warning(embedding_std(test.vectors), rank_me(test.vectors), test.vectors.shape[1])]
    known, labels = torch.unique(train.labels[train.labels >= 0]), test.labels[test.labels >= 0]
    unknown = int((~torch.isin(labels, known)).sum()) if len(known) else 0
    if unknown:
        found.append(
            f"{unknown} of {len(labels)} labelled test images are of a class without training images, so no "
            f"probe can recognise them (accuracies are {1 - unknown / len(labels):.2f} at most): a class "
            "needs images in both splits"
        )
    without = [f.name for f in test.params.space if not _varies(f, train, test)]
    broken = [n for n in without if not all(t.params.values[n].isfinite().all() for t in (train, test))]
    if constant := [n for n in without if n not in broken]:
        found.append(f"no score for {', '.join(constant)}: no variation in the training or the test images")
    if broken:
        found.append(f"no score for {', '.join(broken)}: not finite for some images")
    return [sentence for sentence in found if sentence]


def _varies(factor: Factor, train: FeatureTable, test: FeatureTable) -> bool:
    return all(varies(factor_targets(factor, table.params)) for table in (train, test))
