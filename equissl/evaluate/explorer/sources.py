"""One source image of the steering explorer: predictions, nearest images and truth along its sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.augment.batched import as_float
from equissl.data.base import Dataset
from equissl.encoder.encoder import Encoded, Encoder
from equissl.evaluate.explorer.factor_sweeps import FactorSweep, distance, factor_sweeps
from equissl.evaluate.explorer.sprite import sprite
from equissl.evaluate.finite import check_finite
from equissl.objective import Predictive
from equissl.params import Params, between

_BATCH = 256
_TIE = 1e-6  # rounding must not rank an image before its own copy


@dataclass(frozen=True)
class Network:
    """A module that predicts, in evaluation mode, and the encoder below it, both on ``device``."""

    module: Predictive
    encoder: Encoder
    device: torch.device | str

    def embed(self, images: Tensor) -> tuple[Encoded, Tensor]:
        """Images (B, C, H, W) -> the encoding of the first, unit embeddings (B, d) on the CPU."""
        encodings = [self.encoder(part.to(self.device)) for part in torch.split(images, _BATCH)]
        vectors = torch.cat([self.module.target(e).float().cpu() for e in encodings])
        check_finite(vectors, "the embeddings")
        first = Encoded(encodings[0].vector[:1], None, encodings[0].parts)
        return first, F.normalize(vectors, dim=1)

    def predict(self, source: Encoded, start: Params, target: Params) -> Tensor:
        """From one image to P others: unit embeddings (P, d) on the CPU."""
        change = between(start, target, self.module.space).to(self.device)
        many = Encoded(source.vector.expand(len(target), -1), None, source.parts)
        predicted = self.module.predict(many, change).float().cpu()
        check_finite(predicted, "the predicted embeddings")
        return F.normalize(predicted, dim=1)


@dataclass(frozen=True)
class Bank:
    """The real images that are searched.

    Args:
        rows: (N,) samples of the dataset, ascending.
        images: (N, C, H, W) float.
        vectors: (N, d) unit embeddings.
        params: all factors that the data records of them.
        groups: (N,) the object.
    """

    rows: Tensor
    images: Tensor
    vectors: Tensor
    params: Params
    groups: Tensor


@dataclass(frozen=True)
class Source:
    """A source image with its sweeps.

    Args:
        row: of the image in ``bank``.
        encoded: its encoding.
        unit: (1 + M, d) unit embeddings of it and of all its changed versions, slider by slider.
        sweeps: one per slider.
        first: where the versions of each slider begin among the M; None where there are none.
    """

    row: int
    bank: Bank
    network: Network
    encoded: Encoded
    unit: Tensor
    sweeps: tuple[FactorSweep, ...]
    first: tuple[int | None, ...]

    def sweep_rows(self, nearest: int) -> list[dict[str, Any]]:
        return [self._sweep_row(k, nearest) for k in range(len(self.sweeps))]

    def identity_nearest(self, nearest: int) -> list[int]:
        """The rows of the bank that are most like the image itself, without it."""
        similarity = self.bank.vectors @ self.unit[0]
        similarity[self.row] = -torch.inf
        nearest_rows: list[int] = similarity.topk(min(nearest, len(similarity) - 1)).indices.tolist()
        return nearest_rows

    def searched(self, slider: int) -> Tensor:
        """Which of the bank and the versions, (N + M,), may be found; versions only of an augmentation.

        Every slider has a version without a change, and one is enough.
        """
        count = len(self.bank.rows)
        allowed = torch.zeros(count + len(self.unit) - 1, dtype=torch.bool)
        allowed[:count] = True
        allowed[self.row] = False
        if self.sweeps[slider].images is None:
            return allowed
        for k, (sweep, first) in enumerate(zip(self.sweeps, self.first, strict=True)):
            if sweep.images is not None and first is not None:
                begin = count + first
                allowed[begin : begin + len(sweep.values)] = (sweep.values != sweep.neutral_value) | (
                    k == slider
                )
        return allowed

    def _sweep_row(self, slider: int, nearest: int) -> dict[str, Any]:
        sweep, bank = self.sweeps[slider], self.bank
        count = len(sweep.values)
        allowed = self.searched(slider)
        everything = torch.cat([bank.vectors, self.unit[1:]])
        start = bank.params[torch.full((count,), self.row)]
        predicted = self.network.predict(self.encoded, start, sweep.target)
        similarity = (predicted @ everything.T).masked_fill(~allowed, -torch.inf)
        best = similarity.topk(min(nearest, int(allowed.sum())), 1)
        kind, truth = self._truth(slider)
        row: dict[str, Any] = {
            "name": sweep.name,
            "unit": sweep.unit,
            "direction_labels": list(sweep.direction_labels),
            "values": _rounded(sweep.values),
            "neutral_value": round(sweep.neutral_value, 4),
            "kind": kind,
            "nearest": best.indices.tolist(),
            "nearest_similarity": [_rounded(row) for row in best.values],
        }
        if sweep.factor:
            row["nearest_distance"] = [_rounded(row) for row in self._distances(sweep, best.indices)]
        if truth is None:
            return row
        target = everything[truth]
        own = (predicted * target).sum(1)
        rivals = similarity.scatter(1, truth[:, None], -torch.inf)
        row |= {
            "truth": truth.tolist(),
            "similarity": _rounded(own),
            "identity_similarity": _rounded(target @ self.unit[0]),
            "rank": (1 + (rivals > own[:, None] + _TIE).sum(1)).tolist(),
            "num_candidates": (rivals > -torch.inf).sum(1).add(1).tolist(),
        }
        if kind == "recorded":
            row["truth_distance"] = _rounded(self._distances(sweep, truth[:, None])[:, 0])
        return row

    def _truth(self, slider: int) -> tuple[str, Tensor | None]:
        """What kind of truth there is, and which of the bank and the versions it is, (P,)."""
        sweep, first = self.sweeps[slider], self.first[slider]
        if first is not None:
            kind = "rendered" if sweep.images is None else "augmented"
            return kind, torch.arange(first, first + len(sweep.values)) + len(self.bank.rows)
        bank = self.bank
        same = (bank.groups == bank.groups[self.row]).nonzero()[:, 0]
        same = same[same != self.row]
        if not len(same):
            return "", None
        distance = torch.zeros(len(sweep.values), len(same))
        for factor in bank.params.space:
            known, target = bank.params.values[factor.name][same], sweep.target.values[factor.name]
            guesses = factor.encode(target.repeat_interleave(len(same), 0))
            distance += factor.error(guesses, known.repeat(len(target), 1)).view_as(distance)
        return "recorded", same[distance.argmin(1)]

    def _distances(self, sweep: FactorSweep, rows: Tensor) -> Tensor:
        """How far images (P, k) of the bank are from the target value of the sweep's factor: (P, k)."""
        factor = self.bank.params.space[sweep.factor]
        target, known = sweep.target.values[factor.name], self.bank.params.values[factor.name]
        return torch.stack([distance(factor, target, known[column]) for column in rows.T], 1)


def start_source(
    network: Network, dataset: Dataset, bank: Bank, row: int, steps: int
) -> tuple[Source, Tensor | None]:
    """Begin at the sample ``row`` of ``bank``; also its versions (M, C, H, W), None if there are none."""
    position = int((bank.rows == row).nonzero()[0, 0])
    image, recorded = bank.images[position : position + 1], bank.params[torch.tensor([position])]
    sweeps = tuple(factor_sweeps(network.module.space, image, recorded, bank.params, steps))
    first: list[int | None] = []
    versions: list[Tensor] = []
    for sweep in sweeps:
        truth = sweep.images
        if truth is None:
            drawn = dataset.render(torch.full((len(sweep.values),), row), sweep.target)
            truth = None if drawn is None else as_float(drawn).cpu()
        first.append(None if truth is None else sum(map(len, versions)))
        versions += [] if truth is None else [truth]
    encoded, unit = network.embed(torch.cat([image, *versions]))
    source = Source(position, bank, network, encoded, unit, sweeps, tuple(first))
    return source, torch.cat(versions) if versions else None


def to_rows(source: Source, versions: Tensor | None, nearest: int) -> dict[str, Any]:
    """What the page needs of one image."""
    return {
        "index": int(source.bank.rows[source.row]),
        "bank": source.row,
        "sprite": None if versions is None else sprite(versions),
        "identity_nearest": source.identity_nearest(nearest),
        "sweeps": source.sweep_rows(nearest),
    }


def _rounded(values: Tensor) -> list[float]:
    return [round(v, 4) for v in values.tolist()]
