"""Readouts on disk, so that an audit that was interrupted goes on, and two encoders can be compared later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from equissl.evaluate.audit.interval import Resampled
from equissl.evaluate.audit.readout import Readout
from equissl.params import Factor, Space
from equissl.storage import parse_json, write_bytes
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
    """

    readout: Readout
    absolute: Resampled | None = None
    curve: Mapping[int, float] | None = None
    together: Resampled | None = None


_MORE = ("absolute", "together")  # scores of a finding beside those of its readout


@dataclass(frozen=True)
class ReadoutStore:
    """A folder with one file for each audit; one that cannot be read is made anew. None of it is executed.

    Args:
        folder: created with the first file; None keeps nothing.
        key: a digest of all that the readouts depend on.
    """

    folder: Path | None = None
    key: str = ""

    def read(self, audit: str, space: Space) -> Readouts | None:
        """What was read for an audit, if it is there.

        Args:
            space: the factors that the audit may have.
        """
        return None if self.folder is None else read_readouts(self._path(audit), space, self.key)

    def write(self, audit: str, readouts: Readouts) -> None:
        if self.folder is not None:
            write_bytes(self._path(audit), _packed(readouts, self.key))

    def _path(self, audit: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{file_name(audit)}.safetensors"


def read_readouts(path: Path, space: Space, key: str = "") -> Readouts | None:
    """The readouts in a file; None if there are none, or they have another key."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = parse_json((file.metadata() or {})["readouts"])
            if key and facts["key"] != key:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        result: dict[Key, dict[str, Finding]] = {}
        for k, row in enumerate(facts["rows"]):
            part = result.setdefault((str(row["row"]), str(row["part"])), {})
            if row["factor"] is not None:
                part[str(row["factor"])] = _finding(row, f"{k}/", tensors, space[str(row["factor"])])
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError, IndexError):
        return None
    return result


def _packed(readouts: Readouts, key: str) -> bytes:
    tensors: dict[str, Tensor] = {}
    rows: list[dict[str, object]] = []
    for (row, part), findings in readouts.items():
        if not findings:
            rows.append({"row": row, "part": part, "factor": None})
        for name, finding in findings.items():
            prefix, r = f"{len(rows)}/", finding.readout
            scores = {"score": r.score, "shuffled": r.shuffled}
            for what, score in (scores | {n: getattr(finding, n) for n in _MORE}).items():
                if score is not None:
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
                    "live": r.live,
                    "width": r.width,
                    "curve": None if finding.curve is None else list(finding.curve.items()),
                }
            )
    # Copies, because safetensors refuses tensors that share memory.
    packed = {k: v.clone().contiguous() for k, v in tensors.items()} or {"empty": torch.zeros(1)}
    return save(packed, {"readouts": json.dumps({"key": key, "rows": rows})})


def _finding(
    row: Mapping[str, object], prefix: str, tensors: Mapping[str, Tensor], factor: Factor
) -> Finding:
    regress = bool(row["regress"])

    def score(what: str) -> Resampled | None:
        values = tensors.get(f"{prefix}{what}/values")
        return None if values is None else Resampled(values, tensors[f"{prefix}{what}/resamples"], regress)

    own, probes, curve = score("score"), row["probes"], row["curve"]
    if own is None or not isinstance(probes, Mapping):
        raise ValueError("the file lacks a score")
    readout = Readout(
        factor,
        own,
        score("shuffled"),
        {str(k): float(v) for k, v in probes.items()},
        str(row["chosen"]),
        float(str(row["amplitude"])),
        int(str(row["live"])),
        int(str(row["width"])),
        tensors[f"{prefix}predictions"],
        tensors[f"{prefix}targets"],
    )
    points = {int(n): float(v) for n, v in curve} if isinstance(curve, list) else None
    return Finding(readout, curve=points, **{n: score(n) for n in _MORE})
