"""Sensitivity curves: how far features move as a change of the images grows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from equissl.augment.base import Augmentation
from equissl.augment.color.color_jitter import ColorJitter
from equissl.errors import UserError, nearest
from equissl.evaluate.audit.factors import AUDITS, NEEDS_COLOR
from equissl.evaluate.audit.sensitivity.sensitivity import distance_to_others, needs_two_images
from equissl.evaluate.base import Score
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext
from equissl.evaluate.equivariance.changes import fixed
from equissl.evaluate.equivariance.measures import cosine_distance
from equissl.evaluate.statistics import estimate
from equissl.evaluate.titles import SENSITIVITY, title

_COLOR = ColorJitter(1.0, 1.0, 1.0, 0.5, p=1)


def _crop(area: float) -> Augmentation:
    side = math.sqrt(area)
    start = (1 - side) / 2
    return fixed(AUDITS["crop"], crop_top=start, crop_left=start, crop_height=side, crop_width=side)


# Change -> its unit, and the strengths from weak to strong with what they do.
CURVES: Mapping[str, tuple[str, Mapping[float, Augmentation]]] = {
    "crop": ("area", {a: _crop(a) for a in (0.95, 0.85, 0.7, 0.5, 0.3)}),
    "rotation": (
        "degrees",
        {d: fixed(AUDITS["rotation"], rotation=math.radians(d)) for d in (5, 10, 20, 45, 90, 180)},
    ),
    "hue": ("turns", {h: fixed(_COLOR, hue=h) for h in (0.02, 0.05, 0.1, 0.2, 0.35, 0.5)}),
    "saturation": ("factor", {s: fixed(_COLOR, saturation=s) for s in (0.9, 0.75, 0.5, 0.25, 0.0)}),
    "brightness": ("factor", {b: fixed(_COLOR, brightness=b) for b in (0.95, 0.9, 0.8, 0.6, 0.4)}),
    "contrast": ("factor", {c: fixed(_COLOR, contrast=c) for c in (0.95, 0.9, 0.8, 0.6, 0.4)}),
    "blur": ("pixels", {b: fixed(AUDITS["blur"], blur_sigma=b) for b in (0.4, 0.6, 1.0, 1.5, 2.0)}),
}


@dataclass(frozen=True)
class SensitivityCurves(EncoderEvaluation):
    """How far features move as a change grows: cosine distance, over that between different images.

    As ``Sensitivity``, with the same parameter for all images at each of five or six strengths. The score is
    that of the strongest; ``extra["curve"]`` holds [strength, value, low, high] of all, from weak to strong,
    in ``extra["of"]``. A curve that is flat and then leaps is of features that ignore small changes only.

    Args:
        changes: names in ``curves.CURVES``; all that suit the images if empty.
    """

    name: ClassVar[str] = "sensitivitycurves"
    scores: ClassVar[tuple[str, ...]] = ("curve",)

    changes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if unknown := [n for n in self.changes if n not in CURVES]:
            raise UserError([f"changes: no curve is called {n!r}; {nearest(n, CURVES)}" for n in unknown])

    def unavailable_reason(self, context: EvaluationContext) -> str:
        return needs_two_images(context)

    def run(self, context: EvaluationContext) -> Iterator[Score]:
        if self.unavailable_reason(context):
            return
        plain = context.features("test")
        for name in self._names(context.image_shape()):
            unit, strengths = CURVES[name]
            views = [context.features("test", augment) for augment in strengths.values()]
            for part, x in plain.by_part().items():
                others = distance_to_others(x)
                if not float(others.mean()) > 1e-9:
                    continue
                curve = []
                for view in views:
                    distance = cosine_distance(x, view.by_part()[part])
                    curve.append(
                        estimate(
                            lambda rows, d=distance, o=others: float(d[rows].mean() / o[rows].mean()),  # type: ignore[misc]
                            plain.groups,
                            seed=context.seed,
                        )
                    )
                points = [[s, e.value, e.low, e.high] for s, e in zip(strengths, curve, strict=True)]
                yield Score.of(
                    f"curve/{name}",
                    curve[-1],
                    unit="ratio",
                    count=len(plain),
                    part=part,
                    seed=context.seed,
                    extra={"curve": points, "of": unit},
                    title=title(name, f"at {points[-1][0]:g} {unit}"),
                    group=SENSITIVITY,
                )

    def passes(self, shape: tuple[int, ...]) -> int:
        """How often all images (C, H, W) go through the encoder, changed."""
        return sum(len(CURVES[name][1]) for name in self._names(shape))

    def _names(self, shape: tuple[int, ...]) -> Sequence[str]:
        grey = shape[0] != 3
        return self.changes or [n for n in CURVES if not (grey and n in NEEDS_COLOR)]

    @classmethod
    def example(cls) -> SensitivityCurves:
        return cls(("brightness",))
