"""Options of an audit."""

from __future__ import annotations

from dataclasses import dataclass

from equissl.augment.base import Augmentation
from equissl.augment.factor_names import named_factors
from equissl.config.validation import Checked, check_bounds
from equissl.evaluate.probes.pair_kernels import PRECISION

MIN_IMAGES, MIN_GROUPS = 40, 10  # groups of them, such as objects, are resampled as wholes
MOST_NOISE = 1000.0  # of ``precision``: nothing can be read beside it
MOST_IMAGES = 400  # unless more are asked for
FEW_IMAGES = 200  # below which scores say little: flips were read significantly below chance


@dataclass(frozen=True, kw_only=True)
class AuditOptions(Checked):
    """How many images an audit reads, how often and how exactly.

    Args:
        count: images at most; the time of the probes grows faster than its square. If None, 400, or fewer
            where they would take more than ``minutes``.
        draws: repeats, each with new parameters of the augmentations and other folds. If None, 2, or 1.
        untrained: copies of the encoder with random weights, for the baseline "random" and the verdicts;
            below two there are no verdicts. If None, 4, or 3.
        factors: names in ``AUDITS``, of several of them ("color") or of factors that the dataset records, or
            augmentations of your own; if empty, all but ``ON_REQUEST`` and all that is recorded.
        precision: to which features are read: the deviation of the noise that is added to every column, in
            units of the column's deviation between images.
        minutes: that what is not given is chosen for; 0 for as long as it takes.
        equivariance: measure how features change with the images too (``audit.equivariance``); about as long
            again.
        seed: of the choice of images, the augmentations, the noise and the folds.

    Raises:
        UserError: a number is too small or too large.
    """

    count: int | None = None
    draws: int | None = None
    untrained: int | None = None
    factors: tuple[str | Augmentation, ...] = ()
    precision: float = PRECISION
    minutes: float = 10.0
    equivariance: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", named_factors(self.factors))
        for name, low in (("count", MIN_IMAGES), ("draws", 1), ("untrained", 0)):
            if getattr(self, name) is not None:
                check_bounds(self, name, low=low)
        check_bounds(self, "minutes", low=0)
        check_bounds(self, "precision", low=0, high=MOST_NOISE)
