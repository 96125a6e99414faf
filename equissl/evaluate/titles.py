"""What scores are called and the headings they stand under in reports."""

from __future__ import annotations

ACCURACY = "Accuracy"
FACTORS = "Ground-truth factors"
AUDIT = "Augmentation factors (audit)"
RELATIVE = "Factor changes between two images of one object"
FAMILIES = "Transformation parameters, from both images"
EQUIVARIANCE = "Equivariance of the predictor"
LINEAR_MAPS = "Linear maps of the features"
COMPOSITION = "Composition of predicted changes"
ERASED = "After a factor is erased"
RETRIEVAL = "Retrieval of the predicted image"
HOMOGRAPHY = "Corners of a warped image"
ANGLES = "Median angular error"
R2_VARIANTS = "Other definitions of R²"
RETENTION = "What the features hold of the original's"
SENSITIVITY = "Sensitivity of the features"
COLLAPSE = "Collapse indicators"
DIAGNOSTICS = (SENSITIVITY, COLLAPSE)  # neither end is better by itself


def title(name: str, note: str = "") -> str:
    """``floor_hue`` -> "Floor hue", with a note in brackets: "Floor hue (MLP probe)"."""
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:] + (f" ({note})" if note else "")
