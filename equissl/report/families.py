"""Under which heading a measure stands, by the beginning of its name."""

from __future__ import annotations

HEADINGS = {
    "accuracy": "Accuracy",
    "factor": "Factors known by the data",
    "audit": "Factors read by the audit",
    "relative": "Changes between two images of one object",
    "family": "Transformations read from both images",
    "equivariance": "Equivariance measures",
    "sensitivity": "How far features move",
    "degrees": "Median error of angles, in degrees",
    "definitions": "Factors by other definitions of R²",
    "other": "Other measures",
    "health": "Health",
}
FAMILIES = {
    "linear": "accuracy",
    "linear_sgd": "accuracy",
    "knn": "accuracy",
    "fewshot": "accuracy",
    "finetune": "accuracy",
    "factor_mlp": "factor",
    **dict.fromkeys(("factor_degrees", "factor_mlp_degrees", "relative_degrees"), "degrees"),
    **dict.fromkeys(("factor_mean", "factor_mlp_mean", "relative_mean"), "definitions"),
    **dict.fromkeys(("factor_flat", "factor_mlp_flat", "relative_flat"), "definitions"),
    "family_linear": "family",
    "alignment": "health",
    "collapse": "health",
    "rank_me": "health",
    "std": "health",
}
COMPARED = (
    "accuracy",
    "factor",
    "audit",
    "relative",
    "family",
    "equivariance",
)  # more is better; the rest is for looking at
