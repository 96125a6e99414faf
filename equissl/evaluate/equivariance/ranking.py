"""Ranks of target images by similarity to predicted embeddings, and the nearest images of a bank."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.config.validation import Checked
from equissl.encoder.encoder import Encoded
from equissl.evaluate.equivariance.embeddings import ObjectEmbeddings, Sources, sort_by_object
from equissl.evaluate.finite import check_finite
from equissl.objective import Predictive
from equissl.params import between
from equissl.progress import Progress, no_progress

_MAX_NUMBERS = 1 << 26  # floats of a temporary tensor: 0.27 GB


@dataclass(frozen=True, kw_only=True)
class RetrievalProtocol(Checked):
    """Which queries are made and which candidates they have.

    Args:
        sources: every object's "first" image is the source, or "every" image in turn.
        identity: whether the source itself is a target, too (no change).
        source_is_candidate: whether the source is among the candidates.
        normalize: cosine similarity; otherwise the dot product.
    """

    sources: Sources = "first"
    identity: bool = False
    source_is_candidate: bool = False
    normalize: bool = True

    def __post_init__(self) -> None:
        if self.identity and not self.source_is_candidate:
            raise ValueError("identity=True makes the source a target, so source_is_candidate must be True")

    def similar(self, x: Tensor) -> Tensor:
        """Embeddings whose dot products are the similarities."""
        return F.normalize(x, dim=-1) if self.normalize else x


SIE_PROTOCOL = RetrievalProtocol(identity=True, source_is_candidate=True)  # SIE's scripts to the letter


@dataclass(frozen=True)
class RetrievalResults:
    """One entry per query.

    Args:
        rank: (Q,) float64 from 1; images of equal similarity share their mean rank.
        num_candidates: (Q,) int64.
        groups: (Q,) int64, the object.
        targets: (Q,) int64, the row of the target.
        nearest: bank name -> (Q,) int64, the most similar row of the bank's sets one after the other.
    """

    rank: Tensor
    num_candidates: Tensor
    groups: Tensor
    targets: Tensor
    nearest: Mapping[str, Tensor]


def retrieve(
    module: Predictive,
    embeddings: ObjectEmbeddings,
    banks: Mapping[str, Sequence[ObjectEmbeddings]] | None = None,
    *,
    protocol: RetrievalProtocol = RetrievalProtocol(),
    device: torch.device | str = "cpu",
    progress: Progress = no_progress,
) -> RetrievalResults:
    """Make every query of ``protocol`` about the objects of ``embeddings``, in pieces of bounded size.

    Args:
        module: in evaluation mode.
        banks: name -> sets in which to look for the most similar image, for PRE; none if absent.

    Raises:
        ValueError: ``protocol`` predicts from images whose features ``embeddings`` did not keep.
    """
    order, starts, counts = sort_by_object(embeddings.groups)
    most, width = int(counts.max()), embeddings.vectors.shape[1]
    nearest: dict[str, list[Tensor]] = {name: [] for name in banks or {}}
    columns: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    pieces = torch.split(torch.arange(len(counts)), max(1, _MAX_NUMBERS // (most * max(width, most))))
    for done, objects in enumerate(pieces):
        slots = torch.arange(most)
        exists = slots < counts[objects, None]
        rows = order[starts[objects, None] + torch.minimum(slots, counts[objects, None] - 1)]
        candidates = protocol.similar(embeddings.vectors[rows].to(device).float())
        for k in range(most if protocol.sources == "every" else 1):
            source = rows[:, k]
            queries = protocol.similar(_predict(module, embeddings, source, rows, device))
            is_query = exists & (k < counts[objects, None]) & (protocol.identity | (slots != k))
            is_candidate = exists & (protocol.source_is_candidate | (slots != k))
            rank = _ranks(queries @ candidates.transpose(1, 2), is_candidate.to(device)).cpu()
            number = is_candidate.sum(1, keepdim=True).expand_as(is_query)
            groups = embeddings.groups[rows[:, :1]].expand_as(is_query)
            columns.append((rank[is_query], number[is_query], groups[is_query], rows[is_query]))
            query, own = queries[is_query.to(device)], source[:, None].expand_as(is_query)[is_query]
            for name, bank in (banks or {}).items():
                excluded = None if protocol.source_is_candidate else own
                nearest[name].append(_nearest(query, bank, embeddings, excluded, protocol))
        progress("retrieval", done + 1, len(pieces))
    rank, number, groups, targets = (torch.cat(column) for column in zip(*columns, strict=True))
    joined = {name: torch.cat(rows) for name, rows in nearest.items()}
    return RetrievalResults(rank, number, groups, targets, joined)


def _predict(
    module: Predictive,
    embeddings: ObjectEmbeddings,
    source: Tensor,
    rows: Tensor,
    device: torch.device | str,
) -> Tensor:
    """From ``source`` (O,) towards every image of ``rows`` (O, V): (O, V, d)."""
    start = source.repeat_interleave(rows.shape[1])
    change = between(embeddings.params[start], embeddings.params[rows.flatten()], module.space)
    features = embeddings.features_of(start).to(device)
    predicted = module.predict(Encoded(features, None, embeddings.parts), change.to(device))
    check_finite(predicted, "the predicted embeddings")
    return predicted.float().view(*rows.shape, -1)


def _ranks(similarity: Tensor, is_candidate: Tensor) -> Tensor:
    """(O, V, V) of query v with candidate c, (O, V) which are candidates -> (O, V), float64."""
    own = similarity.diagonal(dim1=1, dim2=2)[..., None]
    diagonal = torch.eye(is_candidate.shape[1], dtype=torch.bool, device=is_candidate.device)
    others = is_candidate[:, None] & ~diagonal
    above, equal = ((mask & others).sum(2).double() for mask in (similarity > own, similarity == own))
    return 1 + above + equal / 2


def _nearest(
    queries: Tensor,
    bank: Sequence[ObjectEmbeddings],
    embeddings: ObjectEmbeddings,
    excluded: Tensor | None,
    protocol: RetrievalProtocol,
) -> Tensor:
    """The most similar row of the bank for each query (Q, d), counted through all its sets: (Q,)."""
    best = torch.full((len(queries),), -math.inf, device=queries.device)
    nearest, offset = torch.zeros(len(queries), dtype=torch.int64, device=queries.device), 0
    for part in bank:
        step = max(1, _MAX_NUMBERS // max(len(queries), part.vectors.shape[1]))
        for start in range(0, len(part.vectors), step):
            rows = part.vectors[start : start + step].to(queries.device).float()
            similarity = queries @ protocol.similar(rows).T
            if excluded is not None and part is embeddings:
                here = ((excluded >= start) & (excluded < start + len(rows))).nonzero()[:, 0]
                similarity[here.to(queries.device), (excluded[here] - start).to(queries.device)] = -math.inf
            value, column = similarity.max(1)
            better = value > best
            best = torch.where(better, value, best)
            nearest = torch.where(better, column + start + offset, nearest)
        offset += len(part.vectors)
    return nearest.cpu()
