"""Can the changed image be found from the prediction? MRR, H@k and the prediction retrieval error.

Source: SIE (arXiv:2302.10283, section 5 and its two evaluation scripts). The source image of an object and
a change give a prediction; the images of the same object are ranked by its similarity to them (MRR, H@k),
and the most similar image of any object is compared with the wanted one, factor by factor (PRE).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.encoder.encoder import Encoded
from equissl.evaluate.base import Estimate, Score, estimate
from equissl.evaluate.equivariance.embedded import Embedded, Sources, by_object
from equissl.evaluate.features import evaluating
from equissl.evaluate.titles import RETRIEVAL, title
from equissl.objective import Predictive
from equissl.params import between, concatenate
from equissl.progress import Progress, no_progress

HITS = (1, 2, 5, 10)
_NUMBERS = 1 << 26  # floats of a temporary tensor: 0.27 GB


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Which questions are asked.

    Args:
        sources: every object's "first" image is the source, or "every" image in turn.
        identity: whether the source itself is asked for, too (no change).
        source_counts: whether the source is among the candidates.
        normalise: cosine similarity; otherwise the dot product.
    """

    sources: Sources = "first"
    identity: bool = False
    source_counts: bool = False
    normalise: bool = True

    def __post_init__(self) -> None:
        if self.identity and not self.source_counts:
            raise ValueError("identity=True asks for the source, so source_counts must be True, too")


ORIGINAL = Protocol(identity=True, source_counts=True)  # SIE's scripts to the letter


@dataclass(frozen=True)
class Answers:
    """One entry per query.

    Args:
        rank: (Q,) float64 from 1; images of equal similarity share their mean rank.
        choices: (Q,) how many candidates there were.
        owner: (Q,) int64, the object.
        wanted: (Q,) int64, the row asked for.
        found: bank name -> (Q,) int64, the most similar row of the bank's sets one after the other.
    """

    rank: Tensor
    choices: Tensor
    owner: Tensor
    wanted: Tensor
    found: Mapping[str, Tensor]


def answer(
    module: Predictive,
    asked: Embedded,
    banks: Mapping[str, Sequence[Embedded]] | None = None,
    *,
    protocol: Protocol = Protocol(),
    device: torch.device | str = "cpu",
    progress: Progress = no_progress,
) -> Answers:
    """Ask every question of ``protocol`` about the objects of ``asked``, in pieces of bounded size.

    Args:
        module: in evaluation mode.
        banks: name -> sets in which to look for the most similar image, for PRE; none if absent.
    """
    order, starts, counts = by_object(asked.groups)
    kept = torch.arange(len(asked.groups)) if protocol.sources == "every" else order[starts]
    place = torch.empty(len(asked.groups), dtype=torch.int64)  # row -> where its features are
    place[kept.sort().values] = torch.arange(len(kept))
    most, width = int(counts.max()), asked.vectors.shape[1]
    steps = most if protocol.sources == "every" else 1
    found: dict[str, list[Tensor]] = {name: [] for name in banks or {}}
    columns: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    pieces = torch.split(torch.arange(len(counts)), max(1, _NUMBERS // (most * max(width, most))))
    for done, objects in enumerate(pieces):
        slots = torch.arange(most)
        real = slots < counts[objects, None]
        rows = order[starts[objects, None] + torch.minimum(slots, counts[objects, None] - 1)]
        candidates = _similar(asked.vectors[rows].to(device).float(), protocol)
        for step in range(steps):
            source = rows[:, step]
            predicted = _predict(module, asked, source, rows, place, device)
            predicted = _similar(predicted, protocol)
            asks = real & (step < counts[objects, None]) & (protocol.identity | (slots != step))
            counted = real & (protocol.source_counts | (slots != step))
            rank = _ranks(predicted @ candidates.transpose(1, 2), counted.to(device)).cpu()
            number = counted.sum(1, keepdim=True).expand_as(asks)
            owners = asked.groups[rows[:, :1]].expand_as(asks)
            columns.append((rank[asks], number[asks], owners[asks], rows[asks]))
            query, own = predicted[asks.to(device)], source[:, None].expand_as(asks)[asks]
            for name, bank in (banks or {}).items():
                hidden = None if protocol.source_counts else own
                found[name].append(_nearest(query, bank, asked, hidden, protocol))
        progress("retrieval", done + 1, len(pieces))
    rank, choices, owner, wanted = (torch.cat(c) for c in zip(*columns, strict=True))
    return Answers(rank, choices, owner, wanted, {name: torch.cat(f) for name, f in found.items()})


def retrieval(
    module: Predictive,
    asked: Embedded,
    banks: Mapping[str, Sequence[Embedded]] | None = None,
    *,
    split: str = "test",
    protocol: Protocol = Protocol(),
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = no_progress,
) -> Iterator[Score]:
    """MRR and H@k of one set, and PRE of every factor in every bank.

    Baseline "constant": a candidate chosen by chance, in closed form for MRR and H@k.

    Args:
        split: part of the names "retrieval/<split>/mrr", "retrieval/<split>/hits@1", ...
        banks: name -> sets to look in, "retrieval/<split>/pre/<bank>/<factor>"; the set itself, called
            "same", if absent. SIE's third variant is ``{"all": (train, val)}``.
    """
    banks = {"same": (asked,)} if banks is None else banks
    modules = [module] if isinstance(module, nn.Module) else []
    with evaluating(*modules), torch.inference_mode():
        got = answer(module, asked, banks, protocol=protocol, device=device, progress=progress)
    n = got.choices.double()
    harmonic = torch.tensor([sum(1 / k for k in range(1, m + 1)) for m in range(int(n.max()) + 1)])
    rows = {"mrr": (1 / got.rank, harmonic[got.choices].double() / n)}
    rows |= {f"hits@{k}": ((got.rank <= k).double(), (k / n).clamp(max=1)) for k in HITS}
    for name, bank in banks.items():
        known = concatenate([b.params for b in bank])
        chance = torch.randint(len(known), (len(n),), generator=torch.Generator().manual_seed(seed))
        for factor in module.space:
            values, wanted = known.values[factor.name], asked.params.values[factor.name][got.wanted]
            errors = [factor.error(factor.encode(values[r]), wanted) for r in (got.found[name], chance)]
            rows[f"pre/{name}/{factor.name}"] = (errors[0].double(), errors[1].double())
    for name, (values, chance_values) in rows.items():
        is_error = name.startswith("pre/")
        for baseline, numbers in (("", values), ("constant", chance_values)):
            yield Score(
                f"retrieval/{split}/{name}",
                **asdict(_mean(numbers, got.owner, seed)),
                unit="error" if is_error else "",
                count=len(n),
                baseline=baseline,
                seed=seed,
                extra=asdict(protocol),
                title=_title(name, split),
                group=RETRIEVAL,
                higher_is_better=not is_error,
            )


def _title(name: str, split: str) -> str:
    """``mrr`` -> "MRR", ``hits@1`` -> "H@1", ``pre/same/pose`` -> "PRE, pose"; with any split but "test"."""
    kind, _, rest = name.partition("/")
    bank, _, factor = rest.partition("/")
    words = [kind.upper().replace("HITS", "H"), *([title(factor).lower()] if factor else [])]
    words += [f"among {bank}"] if bank not in ("", "same") else []
    return ", ".join(words + ([split] if split != "test" else []))


def _mean(values: Tensor, owner: Tensor, seed: int) -> Estimate:
    """The mean with its interval; objects are summed first, so that millions of queries cost no more."""
    _, which, counts = torch.unique(owner, return_inverse=True, return_counts=True)
    sums = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, which, values)
    sizes = counts.double()
    return estimate(lambda r: float(sums[r].sum() / sizes[r].sum()), torch.arange(len(counts)), seed=seed)


def _predict(
    module: Predictive,
    asked: Embedded,
    source: Tensor,
    rows: Tensor,
    place: Tensor,
    device: torch.device | str,
) -> Tensor:
    """From ``source`` (O,) towards every image of ``rows`` (O, V): (O, V, d)."""
    start = source.repeat_interleave(rows.shape[1])
    change = between(asked.params[start], asked.params[rows.flatten()], module.space)
    features = asked.features[place[start]].to(device)
    moved = module.predict(Encoded(features, None, asked.parts), change.to(device))
    return moved.float().view(*rows.shape, -1)


def _similar(x: Tensor, protocol: Protocol) -> Tensor:
    return F.normalize(x, dim=-1) if protocol.normalise else x


def _ranks(similarity: Tensor, counted: Tensor) -> Tensor:
    """(O, V, V) of query v with candidate c, (O, V) which candidates count -> (O, V), float64."""
    own = similarity.diagonal(dim1=1, dim2=2)[..., None]
    others = counted[:, None] & ~torch.eye(counted.shape[1], dtype=torch.bool, device=counted.device)
    above, equal = ((mask & others).sum(2).double() for mask in (similarity > own, similarity == own))
    return 1 + above + equal / 2


def _nearest(
    query: Tensor, bank: Sequence[Embedded], asked: Embedded, hidden: Tensor | None, protocol: Protocol
) -> Tensor:
    """The most similar row of the bank for each query (Q, d), counted through all its sets: (Q,)."""
    best = torch.full((len(query),), -math.inf, device=query.device)
    found, offset = torch.zeros(len(query), dtype=torch.int64, device=query.device), 0
    for part in bank:
        step = max(1, _NUMBERS // max(len(query), part.vectors.shape[1]))
        for start in range(0, len(part.vectors), step):
            rows = part.vectors[start : start + step].to(query.device).float()
            similarity = query @ _similar(rows, protocol).T
            if hidden is not None and part is asked:
                here = ((hidden >= start) & (hidden < start + len(rows))).nonzero()[:, 0]
                similarity[here.to(query.device), (hidden[here] - start).to(query.device)] = -math.inf
            value, column = similarity.max(1)
            better = value > best
            best = torch.where(better, value, best)
            found = torch.where(better, column + start + offset, found)
        offset += len(part.vectors)
    return found.cpu()
