"""The order of a comparison's headings, and which of them the headline and the bar chart read."""

from __future__ import annotations

ACCURACY = "Accuracy"
FACTORS = ("Ground-truth factors", "Augmentation factors (audit)")  # the bar chart
READ = (*FACTORS, "Transformation parameters, from both images")  # the headline's "keeps"
CHANGES = "Factor changes between two images of one object"
JUDGED = (*READ, CHANGES)  # whose scores get a word: kept, lost, not readable
OTHER = "Other measures"  # of scores that name no group
FIRST = (
    ACCURACY,
    *FACTORS,
    CHANGES,
    "Transformation parameters, from both images",
    "Equivariance of the predictor",
    "Retrieval of the predicted image",
)
LAST = (
    "Median angular error",
    "Other definitions of R²",
    OTHER,
    "Sensitivity of the features",
    "Collapse indicators",
)


def ordered(groups: list[str]) -> list[str]:
    """Headings as they stand in a report; those not listed here come in between, as given."""
    given = list(dict.fromkeys(groups))
    middle = [g for g in given if g not in FIRST and g not in LAST]
    return [g for g in (*FIRST, *middle, *LAST) if g in given]
