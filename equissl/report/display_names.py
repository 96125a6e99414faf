"""What people read instead of the names and numbers of rows."""

from __future__ import annotations

import re
from collections.abc import Iterable

WORDS = {
    "linear/top1": "Linear accuracy, top-1",
    "linear/top5": "Linear accuracy, top-5",
    "linear_sgd/top1": "Linear accuracy by SGD, top-1",
    "homography/corner_error": "Corners of a warp, mean error (fraction of the side, lower is better)",
    "homography/corners": "Corners of a warp, R²",
    "alignment/simclr": "Alignment of two views",
    "knn/top1": "kNN accuracy, top-1",
    "knn/top5": "kNN accuracy, top-5",
    "probe/knn": "kNN accuracy, online",
    "rank_me": "RankMe",
    "collapse/rank_me": "RankMe",
    "std": "Embedding std",
    "collapse/std": "Embedding std",
    "collapse/uniformity": "Uniformity",
    "loss": "Total loss",
}
UNITS = {"R2": "R²", "fraction": ""}  # needs no word: its measure is called an accuracy
SHOT = re.compile(r"fewshot/(\d+)")
TUNED = re.compile(r"finetune/([\d.e-]+)")
# Beside the factor, in a line of its own definition or probe.
KINDS = {
    "factor_mlp": "by a network",
    "factor_degrees": "",
    "factor_mlp_degrees": "by a network",
    "relative_degrees": "change",
    "factor_mean": "mean over columns",
    "factor_mlp_mean": "by a network, mean over columns",
    "relative_mean": "change, mean over columns",
    "family": "both images, by a network",
    "family_linear": "both images, linear",
    "factor_flat": "one mean for all columns",
    "factor_mlp_flat": "by a network, one mean for all columns",
    "relative_flat": "change, one mean for all columns",
}
SILENT = ("factor", "audit", "relative", "equivariance", "sensitivity")  # the heading above already says it
NAMES = {"rgb": "RGB", "hsv": "HSV", "equimod": "EquiMod", "simclr": "SimCLR", "byol": "BYOL", "sie": "SIE"}


def label(name: str) -> str:
    """``factor/floor_hue`` -> "Floor hue"."""
    if name in WORDS:
        return WORDS[name]
    if shot := SHOT.fullmatch(name):
        return f"{shot[1]}-shot accuracy"
    if tuned := TUNED.fullmatch(name):
        return f"Accuracy, fine-tuned on {100 * float(tuned[1]):g} %"
    head, *rest = name.split("/")
    if head in KINDS:
        words = ", ".join(_words(p) for p in rest)
        return f"{words[:1].upper()}{words[1:]}" + (f" ({KINDS[head]})" if KINDS[head] else "")
    parts = rest if rest and head in SILENT else [head, *rest]
    words = ", ".join(_words(p) for p in parts)
    return words[:1].upper() + words[1:]


def _words(part: str) -> str:
    spaced = re.sub(r"[_\s]+", " ", part).strip()
    return " ".join(NAMES.get(word, word) for word in spaced.split(" "))


def unit(name: str) -> str:
    """``R2`` -> "R²"."""
    return UNITS.get(name, name)


def digits(values: Iterable[float], widths: Iterable[float] = ()) -> int:
    """Decimals worth showing for numbers of this size known to this width."""
    largest = max((abs(v) for v in values), default=0.0)
    narrow = min((w for w in widths if w > 0), default=1.0)
    for limit, shown in ((100, 0), (10, 1)):
        if largest >= limit:
            return shown
    if largest < 0.01:
        return 4
    return 3 if largest < 0.1 or narrow < 0.01 else 2


def decimal(value: float, shown: int) -> str:
    """A number with so many decimals, and never a negative zero."""
    rounded = f"{value:.{shown}f}"
    return rounded.lstrip("-") if float(rounded) == 0 else rounded


def listed(items: list[str]) -> str:
    """``a, b and c``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def duration(seconds: float) -> str:
    """``3725`` -> "1 h 2 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def typeset(shown: str) -> str:
    """Numbers with true minus signs, and comparisons that no line break tears apart."""
    signed = re.sub(r"(?<!\w)-(?=\d)", "\N{MINUS SIGN}", shown)
    signed = signed.replace("top-", "top\N{NON-BREAKING HYPHEN}")
    return re.sub(r"(?<=R²) | (?=vs )|(?<=vs) ", "\N{NO-BREAK SPACE}", signed)
