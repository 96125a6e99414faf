"""Retrieval by predicted embeddings: MRR, H@k and the prediction retrieval error (PRE).

Source: SIE (arXiv:2302.10283, section 5 and its two evaluation scripts). The source image of an object and
a change give a predicted embedding, the query; the images of the same object are ranked by similarity to it
(MRR, H@k), and the most similar image of any object is compared with the target, factor by factor (PRE).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import torch
from torch import Tensor, nn

from equissl.encoder.modes import eval_mode
from equissl.evaluate.base import Score
from equissl.evaluate.equivariance.embeddings import ObjectEmbeddings
from equissl.evaluate.equivariance.ranking import RetrievalProtocol, RetrievalResults, retrieve
from equissl.evaluate.statistics import Estimate, estimate
from equissl.evaluate.titles import RETRIEVAL, title
from equissl.objective import Predictive
from equissl.params import concatenate
from equissl.progress import Progress, no_progress

HITS = (1, 2, 5, 10)


def retrieval_scores(
    module: Predictive,
    embeddings: ObjectEmbeddings,
    banks: Mapping[str, Sequence[ObjectEmbeddings]] | None = None,
    *,
    split: str = "test",
    protocol: RetrievalProtocol = RetrievalProtocol(),
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = no_progress,
) -> Iterator[Score]:
    """MRR and H@k of one set, and PRE of every factor in every bank.

    Baseline "constant": a candidate chosen at random, in closed form for MRR and H@k.

    Args:
        split: part of the names "retrieval/<split>/mrr", "retrieval/<split>/hits@1", ...
        banks: name -> sets to search, "retrieval/<split>/pre/<bank>/<factor>"; the set itself, called
            "same", if absent. SIE's third variant is ``{"all": (train, val)}``.
    """
    banks = {"same": (embeddings,)} if banks is None else banks
    modules = [module] if isinstance(module, nn.Module) else []
    with eval_mode(*modules), torch.inference_mode():
        results = retrieve(module, embeddings, banks, protocol=protocol, device=device, progress=progress)
    measures = rank_measures(results.rank, results.num_candidates)
    for name, bank in banks.items():
        for factor, errors in _retrieval_errors(module, embeddings, bank, results, name, seed).items():
            measures[f"pre/{name}/{factor}"] = errors
    for name, (values, chance) in measures.items():
        is_error = name.startswith("pre/")
        for baseline, numbers in (("", values), ("constant", chance)):
            yield Score.of(
                f"retrieval/{split}/{name}",
                _mean(numbers, results.groups, seed),
                unit="error" if is_error else "",
                count=len(results.rank),
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


def rank_measures(rank: Tensor, num_candidates: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Reciprocal rank ("mrr") and hits ("hits@k") of every query, and their expectations at random.

    Args:
        rank: (Q,) float64, from 1.
        num_candidates: (Q,) int64.

    >>> measures = rank_measures(torch.tensor([1.0, 4.0]), torch.tensor([4, 4]))
    >>> [round(float(x.mean()), 3) for x in measures["mrr"]]
    [0.625, 0.521]
    >>> [round(float(x.mean()), 3) for x in measures["hits@2"]]
    [0.5, 0.5]
    """
    n = num_candidates.double()
    harmonic = torch.tensor([sum(1 / k for k in range(1, m + 1)) for m in range(int(n.max()) + 1)])
    measures = {"mrr": (1 / rank, harmonic[num_candidates].double() / n)}
    return measures | {f"hits@{k}": ((rank <= k).double(), (k / n).clamp(max=1)) for k in HITS}


def _retrieval_errors(
    module: Predictive,
    embeddings: ObjectEmbeddings,
    bank: Sequence[ObjectEmbeddings],
    results: RetrievalResults,
    name: str,
    seed: int,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Factor name -> errors (Q,) of the nearest row of the bank and of a random one."""
    params = concatenate([b.params for b in bank])
    generator = torch.Generator().manual_seed(seed)
    chance = torch.randint(len(params), (len(results.rank),), generator=generator)
    errors = {}
    for factor in module.space:
        values = params.values[factor.name]
        targets = embeddings.params.values[factor.name][results.targets]
        nearest, random = (
            factor.error(factor.encode(values[rows]), targets).double()
            for rows in (results.nearest[name], chance)
        )
        errors[factor.name] = nearest, random
    return errors


def _mean(values: Tensor, groups: Tensor, seed: int) -> Estimate:
    """The mean with its interval; objects are summed first, so that millions of queries cost no more."""
    _, which, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    sums = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, which, values)
    sizes = counts.double()
    return estimate(lambda r: float(sums[r].sum() / sizes[r].sum()), torch.arange(len(counts)), seed=seed)
