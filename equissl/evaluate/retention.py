"""Retention: how much of one encoder's features another one still holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from equissl.evaluate.base import FeatureTable, Score
from equissl.evaluate.metrics import r2
from equissl.evaluate.probes.ridge import ridge
from equissl.evaluate.statistics import estimate, mean_estimate
from equissl.evaluate.titles import RETENTION


@dataclass(frozen=True)
class Tables:
    """Features of one encoder on the images that probes are fitted on, and on those that score them."""

    fit: FeatureTable
    test: FeatureTable


def retention(
    original: Tables, encoder: Tables, baselines: Mapping[str, Tables], seed: int = 0
) -> Iterator[Score]:
    """What an encoder, such as a fine-tuned one, still holds of the original's features on the same images.

    - "retained/features": R2 of the original's features, predicted from the encoder's by ridge regression;
      pooled over columns, so that 1 - R2 is the share of their variance that is lost.
    - "retained/cosine": cosine between the features of an image, both minus the original's mean; 1 where
      every column stays where it was, as a head that was trained on the original's features needs it.

    Args:
        baselines: name -> the tables of other encoders, such as untrained ones ("random").
    """
    columns = original.test.vectors
    mean = original.fit.vectors.mean(0)
    common = {"group": RETENTION, "higher_is_better": True, "seed": seed, "count": len(columns)}
    groups = original.test.groups
    for baseline, tables in {"": encoder, **baselines}.items():
        found = ridge(tables.fit.vectors, original.fit.vectors, tables.fit.groups, tables.test.vectors, seed)

        def score(rows: Tensor, predictions: Tensor = found.predictions) -> float:
            return r2(predictions[rows], columns[rows])

        yield Score.of(
            "retained/features",
            estimate(score, groups, seed=seed),
            unit="R2",
            baseline=baseline,
            extra={"penalty": found.penalty},
            title="Features of the original, predicted",
            **common,
        )
    cosine = F.cosine_similarity(encoder.test.vectors - mean, columns - mean)
    yield Score.of(
        "retained/cosine",
        mean_estimate(cosine, groups, seed),
        unit="cosine",
        title="Features as they were, cosine",
        **common,
    )
