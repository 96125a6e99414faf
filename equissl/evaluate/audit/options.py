"""Options of an audit."""

from __future__ import annotations

from dataclasses import dataclass

from equissl.config.validation import Checked, check_bounds
from equissl.errors import UserError, nearest
from equissl.evaluate.audit.factors import AUDITS
from equissl.evaluate.probes.pair_kernels import PRECISION

MIN_IMAGES = 40  # or groups of them


@dataclass(frozen=True, kw_only=True)
class AuditOptions(Checked):
    """How many images an audit reads, how often and how exactly.

    Args:
        count: images at most. The time of the probes grows with its cube.
        draws: repeats, each with new parameters of the augmentations and other folds.
        untrained: copies of the encoder with random weights, for the baseline "random" and the verdicts;
            below two there are no verdicts.
        factors: names in ``AUDITS``; all if empty.
        precision: to which features are read: the deviation of the noise that is added to every column, in
            units of the column's deviation between images.
        seed: of the choice of images, the augmentations, the noise and the folds.

    Raises:
        UserError: a number is too small, or an unknown name.
    """

    count: int = 400
    draws: int = 2
    untrained: int = 3
    factors: tuple[str, ...] = ()
    precision: float = PRECISION
    seed: int = 0

    def __post_init__(self) -> None:
        check_bounds(self, "count", low=MIN_IMAGES)
        check_bounds(self, "draws", low=1)
        check_bounds(self, "untrained", "precision", low=0)
        check_names(self.factors)


def check_names(names: tuple[str, ...]) -> None:
    """Raise UserError with every name that is no audit."""
    unknown = [n for n in names if n not in AUDITS]
    if unknown:
        raise UserError([f"factors: no audit is called {n!r}; {nearest(n, AUDITS)}" for n in unknown])
