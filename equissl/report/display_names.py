"""How names and numbers are written for people: labels, units, decimals, durations."""

from __future__ import annotations

import re
from collections.abc import Iterable

from equissl.text import printable

LOGGED = {
    "loss": "Total loss",
    "std": "Embedding std",
    "rank_me": "RankMe",
    "probe/knn": "kNN accuracy, online",
}
UNITS = {"R2": "R²", "fraction": ""}  # needs no word: its measure is called an accuracy
WORDS = {"rgb": "RGB", "hsv": "HSV", "equimod": "EquiMod", "simclr": "SimCLR", "byol": "BYOL", "sie": "SIE"}


def label(name: str) -> str:
    """``floor_hue`` -> "Floor hue"; ``equimod/contrast`` -> "EquiMod, contrast"."""
    words = LOGGED.get(name) or ", ".join(_words(part) for part in name.split("/"))
    return words if name in LOGGED else words[:1].upper() + words[1:]


def _words(part: str) -> str:
    spaced = re.sub(r"[_\s]+", " ", part).strip()
    return " ".join(WORDS.get(word, word) for word in spaced.split(" "))


def unit(name: str) -> str:
    """``R2`` -> "R²"."""
    return UNITS.get(name, name)


def digits(values: Iterable[float], widths: Iterable[float] = ()) -> int:
    """Decimals worth showing for numbers of this size with intervals of this width."""
    largest = max((abs(v) for v in values), default=0.0)
    narrow = min((w for w in widths if w > 0), default=1.0)
    for limit, decimals in ((100, 0), (10, 1)):
        if largest >= limit:
            return decimals
    if largest < 0.01:
        return 4
    return 3 if largest < 0.1 or narrow < 0.01 else 2


def decimal(value: float, decimals: int) -> str:
    """A number with so many decimals, and never a negative zero; from 1e12 on with three digits."""
    if abs(value) >= 1e12:
        return f"{value:.3g}"
    rounded = f"{value:.{decimals}f}"
    return rounded.lstrip("-") if float(rounded) == 0 else rounded


def short(text: str, width: int = 60) -> str:
    """A text as one line for a figure, without control characters, cut to ``width`` characters."""
    line = " ".join(printable(text).split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


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


def typeset(text: str) -> str:
    """Numbers with true minus signs, and comparisons that no line break tears apart."""
    signed = re.sub(r"(?<!\w)-(?=\d)", "\N{MINUS SIGN}", text)
    signed = signed.replace("top-", "top\N{NON-BREAKING HYPHEN}")
    return re.sub(r"(?<=R²) | (?=vs )|(?<=vs) ", "\N{NO-BREAK SPACE}", signed)
