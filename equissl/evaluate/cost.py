"""What an evaluation will cost, said before it begins."""

from __future__ import annotations

import time
from collections.abc import Iterable

from equissl.evaluate.context import SPLITS, EvaluationContext
from equissl.evaluate.features import extract
from equissl.progress import duration

MANY_IMAGES = 2000  # passes through a network from which their time is worth a line
TIMED_IMAGES = 32


def cost(context: EvaluationContext, names: Iterable[str], steer: int = 0) -> str:
    """A line on what will be measured and how long features take, with what makes it less.

    Features of a few images are timed first where there are many.

    Args:
        names: of the evaluations.
        steer: images of the steering explorer.
    """
    counts = {split: len(context.rows[split]) for split in SPLITS}
    passes = 2 * sum(counts.values())  # of the model and of an untrained network
    images = " and ".join(f"{counts[s]:,} {noun}" for s, noun in SPLITS.items())
    what = f"evaluating: {', '.join(names)}; {images} images, by the model and by an untrained network"
    if passes < MANY_IMAGES:
        return what
    seconds = _seconds_per_image(context) * passes
    less = "count=N and train_count=N take less" + (", steer=0 too" if steer else "")
    return f"{what}: about {duration(seconds)} for features, then probes; {less}"


def _seconds_per_image(context: EvaluationContext) -> float:
    rows = context.rows["test"][:TIMED_IMAGES]
    taken = []
    for _ in range(2):  # the first is slower
        start = time.perf_counter()
        extract(context.encoder, context.datasets["test"], index=rows, device=context.device)
        taken.append(time.perf_counter() - start)
    return min(taken) / max(len(rows), 1)
