"""Readouts on disk, so that an audit that was interrupted goes on, and two encoders can be compared later."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from equissl.errors import UserError
from equissl.evaluate.audit.readouts.interval import RESAMPLES, Resampled
from equissl.evaluate.audit.readouts.readout import Readout
from equissl.evaluate.checked_file import read_checked, write_checked
from equissl.params import Factor, Space
from equissl.text import file_name

Key = tuple[str, str]  # row ("model", "random 0", "pixels", ...) and part of the features
Readouts = Mapping[Key, Mapping[str, "Finding"]]


@dataclass(frozen=True)
class Finding:
    """A factor as it is read from one part of the features of one row.

    Args:
        absolute: the score of the factor from the changed images alone.
        curve: number of images -> score.
        together: the score from these features and statistics of the images together.
        from_class: of a recorded factor, the score from the images' class alone; ``with_class`` that from
            these features and the class together.
        from_others: likewise of the class, if there is one, and all other recorded factors.
    """

    readout: Readout
    absolute: Resampled | None = None
    curve: Mapping[int, float] | None = None
    together: Resampled | None = None
    from_class: Resampled | None = None
    with_class: Resampled | None = None
    from_others: Resampled | None = None
    with_others: Resampled | None = None


# Scores of a finding beside those of its readout.
_MORE = ("absolute", "together", "from_class", "with_class", "from_others", "with_others")


@dataclass(frozen=True)
class ReadoutStore:
    """A folder with one file for each audit; one that cannot be read is made anew. None of it is executed.

    Args:
        folder: created with the first file; None keeps nothing.
        key: a digest of all that the readouts depend on.
        rows: names of the rows that each file must have.
        count, draws: of images and of repeats.
    """

    folder: Path | None = None
    key: str = ""
    rows: frozenset[str] = frozenset()
    count: int = 0
    draws: int = 1

    def read(self, audit: str, space: Space) -> Readouts | None:
        """What was read for an audit, if it is there.

        Args:
            space: the factors that the audit may have.
        """
        if self.folder is None:
            return None
        found = _read_readouts(self._path(audit), space, self.key)
        return found if found is not None and self._is_whole(found) else None

    def write(self, audit: str, readouts: Readouts) -> None:
        if self.folder is not None:
            rows, tensors = _packed(readouts)
            write_checked(self._path(audit), {"key": self.key, "rows": rows}, tensors)

    def _is_whole(self, readouts: Readouts) -> bool:
        """Whether all rows are there, of the same factors, images and repeats."""
        findings = [f for part in readouts.values() for f in part.values()]
        scores = [s for f in findings for s in _scores(f).values()]
        return (
            {row for row, _ in readouts} == self.rows
            and all((row, "all") in readouts for row in self.rows)
            and len({frozenset(part) for part in readouts.values()}) == 1
            and all(len(f.readout.targets) == self.count for f in findings)
            and all((len(s.values), len(s.resamples)) == (self.draws, RESAMPLES) for s in scores)
        )

    def _path(self, audit: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{file_name(audit)}.safetensors"


def _read_readouts(path: Path, space: Space, key: str) -> Readouts | None:
    """The readouts in a file; None if there are none, they are damaged, or they have another key."""
    try:
        facts, tensors = read_checked(path)
        if facts["key"] != key:
            return None
        result: dict[Key, dict[str, Finding]] = {}
        for k, row in enumerate(facts["rows"]):
            part = result.setdefault((str(row["row"]), str(row["part"])), {})
            if row["factor"] is not None:
                part[str(row["factor"])] = _finding(row, f"{k}/", tensors, space[str(row["factor"])])
    except (OSError, UserError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError):
        return None
    return result


def _packed(readouts: Readouts) -> tuple[list[dict[str, object]], dict[str, Tensor]]:
    tensors: dict[str, Tensor] = {}
    rows: list[dict[str, object]] = []
    for (row, part), findings in readouts.items():
        if not findings:
            rows.append({"row": row, "part": part, "factor": None})
        for name, finding in findings.items():
            prefix, r = f"{len(rows)}/", finding.readout
            for what, score in _scores(finding).items():
                tensors |= {
                    f"{prefix}{what}/values": score.values,
                    f"{prefix}{what}/resamples": score.resamples,
                }
            tensors |= {f"{prefix}predictions": r.predictions, f"{prefix}targets": r.targets}
            rows.append(
                {
                    "row": row,
                    "part": part,
                    "factor": name,
                    "regress": r.score.regress,
                    "probes": dict(r.probes),
                    "chosen": r.chosen,
                    "amplitude": r.amplitude,
                    "recorded": r.recorded,
                    "live": r.live,
                    "width": r.width,
                    "curve": None if finding.curve is None else list(finding.curve.items()),
                }
            )
    return rows, tensors


def _scores(finding: Finding) -> dict[str, Resampled]:
    scores = {"score": finding.readout.score, "shuffled": finding.readout.shuffled}
    scores |= {n: getattr(finding, n) for n in _MORE}
    return {n: s for n, s in scores.items() if s is not None}


def _finding(
    row: Mapping[str, object], prefix: str, tensors: Mapping[str, Tensor], factor: Factor
) -> Finding:
    """
    Raises:
        ValueError: something is of another shape, type or range than an audit writes.
    """
    regress = not factor.discrete

    def score(what: str) -> Resampled | None:
        values = tensors.get(f"{prefix}{what}/values")
        return (
            values
            if values is None
            else Resampled.stored(values, tensors[f"{prefix}{what}/resamples"], regress)
        )

    own, probes, curve = score("score"), row["probes"], row["curve"]
    if own is None or not isinstance(probes, Mapping):
        raise ValueError("the file lacks a score")
    targets, predictions = tensors[f"{prefix}targets"], tensors[f"{prefix}predictions"]
    recorded = row["recorded"] is True
    _check_targets(targets, factor if recorded else factor.relative())
    _check_targets(predictions, factor if recorded else factor.relative())
    if len(targets) != len(predictions):
        raise ValueError("targets and predictions are of different images")
    readout = Readout(
        factor,
        own,
        score("shuffled"),
        {str(k): _finite(v) for k, v in probes.items()},
        str(row["chosen"]),
        None if recorded else _finite(row["amplitude"]),
        int(_finite(row["live"])),
        int(_finite(row["width"])),
        predictions,
        targets,
        recorded,
    )
    points = {int(_finite(n)): _finite(v) for n, v in curve} if isinstance(curve, list) else None
    return Finding(readout, curve=points, **{n: score(n) for n in _MORE})


def _check_targets(values: Tensor, factor: Factor) -> None:
    if factor.discrete:
        fits = values.dtype == torch.int64 and values.ndim == 1 and bool((values >= 0).all())
        fits = fits and bool((values < len(factor.elements())).all())
    else:
        fits = values.is_floating_point() and values.shape[1:] == (factor.encoded_size,)
        fits = fits and bool(values.isfinite().all())
    if not fits:
        raise ValueError(f"targets of {factor.name} are of another kind")


def _finite(value: object) -> float:
    number = float(str(value))
    if not math.isfinite(number):
        raise ValueError("a number is not finite")
    return number
