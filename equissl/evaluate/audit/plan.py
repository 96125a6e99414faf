"""How long an audit takes, and what to leave out where that is too long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import torch

from equissl.encoder.untrained import BATCH, CALIBRATION_IMAGES
from equissl.evaluate.audit.factors import Audited
from equissl.evaluate.audit.options import MOST_IMAGES, AuditOptions
from equissl.evaluate.audit.references import REFERENCES
from equissl.evaluate.probes.cross_fit import cross_fit, fold_numbers
from equissl.evaluate.probes.pair_kernels import PairFeatures, pair_kernels

# From most to least: what is left out first costs least information.
CHOICES = ((MOST_IMAGES, 2, 4), (MOST_IMAGES, 1, 4), (300, 1, 4), (200, 1, 4), (200, 1, 3), (100, 1, 3))
TRIAL_IMAGES = 32
_SIZES = (100, 300)  # of the trial of the probes
_GROWTH = 2.5  # of their time with the number of images, between its square and its cube
# Probes for each row, in units of those that read changes: of the model also targets of other images, the
# changed images alone, statistics beside them and a learning curve, of untrained networks also the
# changed images alone.
_MODEL, _UNTRAINED = 3.0, 1.8
_RECORDED = 2.0  # of the class, and of each factor's others, alone and beside the features


@dataclass(frozen=True)
class Speed:
    """How fast this machine audits this encoder.

    Args:
        views: seconds to make one image of each audit, and features that need no network.
        forward: seconds of one image through the network.
        fit: seconds of the probes of one draw of one audit, whatever the number of images,
        growing: and what is to be multiplied with that number to the power of 2.5.
        parts: of the features, each of which has probes of its own.
    """

    views: float
    forward: float
    fit: float
    growing: float
    parts: int = 1

    def seconds(self, count: int, draws: int, untrained: int, audits: int, recorded: int = 0) -> float:
        """Of an audit of ``count`` images, which has ``recorded`` factors beside augmentations."""
        networks = 1 + untrained
        views = (audits * draws + 2) / max(audits, 1) * count * self.views
        copied = untrained * (BATCH + min(count, CALIBRATION_IMAGES) / 2)  # every second copy is calibrated
        forward = ((audits * draws + 2) * count * networks + copied) * self.forward
        probes = (_MODEL + _UNTRAINED * untrained) * self.parts + len(REFERENCES)
        fits = audits * probes + (probes + _RECORDED * (1 + recorded) if recorded else 0.0)
        return views + forward + draws * fits * (self.fit + self.growing * float(count**_GROWTH))


def measure(
    forward: Callable[[int], object],
    views: Callable[[Audited, int], object],
    audits: Sequence[Audited],
    widths: Sequence[int],
) -> Speed:
    """Times a few images and probes on random numbers; takes a second or two.

    Args:
        forward: passes n images through the network.
        views: makes n images of an audit, and the features that need no network.
        widths: of the parts of the features.
    """
    forward(TRIAL_IMAGES)
    network = _seconds(lambda: forward(TRIAL_IMAGES)) / TRIAL_IMAGES
    for audit in audits:
        views(audit, 2)
    made = sum(_seconds(lambda a=audit: views(a, TRIAL_IMAGES)) for audit in audits) / TRIAL_IMAGES  # type: ignore[misc]
    width = round(sum(widths) / len(widths))
    small, large = (min(_trial_fit(size, width) for _ in range(2)) for size in _SIZES)
    growing = max(large - small, 0.0) / (_SIZES[1] ** _GROWTH - _SIZES[0] ** _GROWTH)
    return Speed(made, network, max(small - growing * _SIZES[0] ** _GROWTH, 0.0), growing, len(widths))


def choose(
    options: AuditOptions, speed: Speed | None, audits: int, available: int, recorded: int = 0
) -> tuple[AuditOptions, float]:
    """The options with a number in each field, and the seconds that they will take.

    What is given stays as it is. What is not is the most that fits into ``options.minutes``, or into half of
    them where equivariance is measured too, which takes about as long.

    Args:
        speed: None to choose the most, whatever it takes.
        available: number of images there are.
        recorded: number of factors that the dataset records.
    """
    for count, draws, untrained in CHOICES:
        count = count if options.count is None else options.count
        draws = draws if options.draws is None else options.draws
        untrained = untrained if options.untrained is None else options.untrained
        seconds = speed.seconds(min(count, available), draws, untrained, audits, recorded) if speed else 0.0
        if seconds <= options.minutes * 60 / (2 if options.equivariance else 1):
            break
    return replace(options, count=count, draws=draws, untrained=untrained), seconds


def _trial_fit(count: int, width: int) -> float:
    generator = torch.Generator().manual_seed(0)
    plain, noise = (torch.randn(count, width, generator=generator) for _ in range(2))
    targets = torch.rand(count, 2, generator=generator).double()
    changed = plain + noise + targets[:, :1].float()

    def fit() -> None:
        kernels, columns = pair_kernels(PairFeatures.of(plain, changed))
        groups = torch.arange(count)
        cross_fit(kernels, columns, [targets], groups, fold_numbers(groups, 5, 0))

    return _seconds(fit)


def _seconds(run: Callable[[], object]) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start
