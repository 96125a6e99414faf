"""How features change with the images, in words: one sentence per factor, and one of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from equissl.report import display_names as names
from equissl.report.audit import words
from equissl.report.audit.equivariance import UNCHANGED, Change, Curve, Equivariance, Prediction, Product
from equissl.report.audit.intervals import Interval

LINEAR = 0.1  # of the change is left by a map that is called linear
LAWS = {
    "two_steps": "two predicted steps end {} from the image",
    "product": "two steps are {} from one",
    "inverse": "a step and back ends {} from the start",
    "neutral": "no change moves by {}",
}
_CLAIMS = {
    "linear": "change linearly with {}",
    "partly linear": "change partly linearly with {}",
    "no linear map": "follow no linear map under {}",
    "invariant": "do not move under {}",
}


def degree_of(change: Change) -> str:
    """The word of one change: a linear map is claimed where its interval is below maps without a fit."""
    if change.error is None:
        return "invariant"
    if not _is_better(change):
        return "no linear map"
    return "linear" if change.error.value <= LINEAR else "partly linear"


def degree(found: Equivariance) -> str:
    """The word of a factor: that of all its changes that move features, if it is one; "" without changes."""
    all_of = list(dict.fromkeys(degree_of(c) for c in found.changes))
    moving = [d for d in all_of if d != "invariant"]
    return (moving or all_of)[0] if len(moving) < 2 and all_of else "partly linear" if all_of else ""


def claim(found: Sequence[Equivariance]) -> str:
    """All factors in one sentence; "" if no change was measured."""
    by_degree: dict[str, list[str]] = {}
    for one in found:
        if one.changes:
            by_degree.setdefault(degree(one), []).append(words.lower(one.title))
    clauses = [said.format(names.listed(by_degree[d])) for d, said in _CLAIMS.items() if d in by_degree]
    return f"Features {'; they '.join(clauses)}." if clauses else ""


def sentence(found: Equivariance) -> str:
    """One factor: how far features move, what a linear map leaves, products, the curve, and predictions."""
    parts = [p for p in (_maps(found), *_curves(found.curve), *_predictions(found.predictions)) if p]
    return f"{words.lower(found.title)}: {'; '.join(parts)}"


def _maps(found: Equivariance) -> str:
    moving = [c for c in found.changes if c.error is not None]
    if not moving:
        return "features do not move" if found.changes else ""
    still = [c for c in found.changes if c.error is None]
    better = [c for c in moving if _is_better(c)]
    said = f"features move by {_span([c.moved for c in moving])} of the way to another image"
    if still:
        said += f" (under {names.listed([words.lower(c.title) for c in still])} not at all)"
    errors = _span([c.error for c in moving if c.error])
    without = f"{_span([Interval(c.bound) for c in moving])} without a fit"
    if better:
        said += f"; a linear map leaves {errors} of the change ({without})"
        if len(better) < len(moving):
            said += f", surely less for {names.listed([words.lower(c.title) for c in better])} only"
    else:
        said += f"; no linear map surely does better than none ({errors}; {without})"
    return said + _beside_untrained(moving) + (_products(found.products) if better else "")


def _beside_untrained(moving: Sequence[Change]) -> str:
    compared = [c for c in moving if c.untrained]
    if not compared:
        return ""
    every = _span([Interval(v) for c in compared for v in (min(c.untrained), max(c.untrained))])
    clauses = []
    for word, side in (("below untrained", "less"), ("above untrained", "more")):
        if of_word := [c for c in compared if c.verdict == word]:
            which = [words.lower(c.title) for c in of_word]
            clauses.append(side if len(of_word) == len(compared) else f"{side} for {names.listed(which)}")
    said = f"{' and '.join(clauses)} than" if clauses else "not clearly other than"
    return f", {said} untrained networks ({every})"


def _products(products: Sequence[Product]) -> str:
    if not products:
        return ""
    errors = _span([p.error for p in products])
    which = "that of both" if any(p.whole != UNCHANGED for p in products) else "no change"
    return f"; one map after another is {errors} from {which}"


def _curves(curve: Curve | None) -> Iterator[str]:
    if curve is not None:
        (weak, least), (strong, most) = curve.points[0], curve.points[-1]
        moved = _span([least, most])
        yield f"from {weak:g} to {strong:g} ({curve.unit}) features move by {moved} in cosine distance"


def _predictions(predictions: Sequence[Prediction]) -> Iterator[str]:
    for module in dict.fromkeys(p.module for p in predictions):
        of_one = [p for p in predictions if p.module == module and p.law in LAWS]
        said = [LAWS[p.law].format(words.interval(p.error)) + _ignoring(p) for p in of_one]
        if said:
            yield f"predicted by {module}: {', '.join(said)} (1 is the change itself)"


def _ignoring(prediction: Prediction) -> str:
    """A note where another image's parameters do as well."""
    shuffled = prediction.baselines.get("shuffled")
    high = prediction.error.value if prediction.error.high is None else prediction.error.high
    return " (another image's parameters do as well)" if shuffled is not None and high >= shuffled else ""


def _is_better(change: Change) -> bool:
    """Whether the interval of the error lies below the best map without a fit."""
    error = change.error
    return error is not None and (error.value if error.high is None else error.high) < change.bound


def _span(found: Sequence[Interval]) -> str:
    """ "0.41 [0.36, 0.46]" of one number, "0.41 to 0.52" of several."""
    if len(found) == 1:
        return words.interval(found[0])
    ends = dict.fromkeys((_two(min(i.value for i in found)), _two(max(i.value for i in found))))
    return " to ".join(ends)


def _two(value: float) -> str:
    return names.decimal(value, 2)
