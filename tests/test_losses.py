"""Losses against slow references, on hand data, and sharded over two processes."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor

from equissl.invariance.byol import byol_loss
from equissl.losses.contrastive import Negatives, nt_xent, nt_xent_without_sibling


def embeddings(n: int, d: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g, dtype=torch.float64), torch.randn(
        n, d, generator=g, dtype=torch.float64
    )


def slow_nt_xent(a: Tensor, b: Tensor, temperature: float, negatives: str) -> Tensor:
    rows = F.normalize(torch.cat([a, b]), dim=1)
    n, total = len(a), torch.zeros((), dtype=a.dtype)
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        own_side = i // n
        others = [k for k in range(2 * n) if k != i and (negatives == "all" or k // n != own_side)]
        weights = torch.stack([(rows[i] @ rows[k] / temperature).exp() for k in others])
        total = total - (rows[i] @ rows[partner] / temperature - weights.sum().log())
    return total / (2 * n)


def slow_sibling_free(y: Tensor, predicted: Tensor, temperature: float, positive_counts: bool) -> Tensor:
    y, predicted = F.normalize(y, dim=1), F.normalize(predicted, dim=1)
    n, total = len(y) // 2, torch.zeros((), dtype=y.dtype)
    for i in range(2 * n):
        positive = y[i] @ predicted[i] / temperature
        weights = [(y[i] @ y[k] / temperature).exp() for k in range(2 * n) if k % n != i % n]
        weights += [positive.exp()] if positive_counts else []
        total = total - (positive - torch.stack(weights).sum().log())
    return total / (2 * n)


@pytest.mark.parametrize("negatives", ["all", "other_view"])
@pytest.mark.parametrize("n", [2, 5])
def test_nt_xent_equals_a_double_loop(n: int, negatives: Negatives) -> None:
    a, b = embeddings(n)
    torch.testing.assert_close(nt_xent(a, b, 0.3, negatives), slow_nt_xent(a, b, 0.3, negatives))
    torch.testing.assert_close(nt_xent(a, b, 0.3, negatives), nt_xent(b, a, 0.3, negatives))


@pytest.mark.parametrize("counts", [True, False])
def test_sibling_free_equals_a_double_loop(counts: bool) -> None:
    y, predicted = embeddings(6)
    found = nt_xent_without_sibling(y, predicted, 0.2, positive_in_denominator=counts)
    torch.testing.assert_close(found, slow_sibling_free(y, predicted, 0.2, counts))


def test_the_sibling_is_no_negative() -> None:
    """Only row i reads prediction i, so its gradient shows what that row is contrasted with."""
    y, predicted = embeddings(8)

    def pull(target: Tensor, contrast: str) -> Tensor:
        guess = predicted.clone().requires_grad_()
        if contrast == "paper":
            loss = nt_xent_without_sibling(target, guess, 0.2, positive_in_denominator=True)
        else:
            loss = nt_xent(target, guess, 0.2)
        return torch.autograd.grad(loss, guess)[0][0]

    moved = y.clone()
    moved[4] = -moved[4]
    torch.testing.assert_close(pull(moved, "paper"), pull(y, "paper"), atol=1e-12, rtol=0)
    assert not torch.allclose(pull(moved, "released_code"), pull(y, "released_code"))


def test_random_embeddings_cost_the_logarithm_of_the_candidates() -> None:
    g = torch.Generator().manual_seed(0)
    a, b = (torch.randn(512, 2048, generator=g) for _ in range(2))
    assert float(nt_xent(a, b, 0.5)) == pytest.approx(math.log(2 * 512 - 1), abs=0.02)


def test_collapse_has_a_finite_gradient() -> None:
    a = torch.ones(4, 3, requires_grad=True)
    nt_xent(a, a * 2, 0.5).backward()
    assert a.grad is not None and a.grad.isfinite().all()


def test_byol_range() -> None:
    a, _ = embeddings(4)
    assert float(byol_loss(a, a)) == pytest.approx(0.0, abs=1e-12)
    assert float(byol_loss(a, -a)) == pytest.approx(4.0)


def _shard(rank: int, folder: str, kind: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    a, b = embeddings(8)
    if kind == "nt_xent_without_sibling":  # rows are [first views; second views] on every rank
        chosen = torch.cat([torch.arange(2) + 2 * rank, torch.arange(2) + 2 * rank + 4])
    else:
        chosen = torch.arange(4) + 4 * rank
    a, b = a[chosen].requires_grad_(), b[chosen].requires_grad_()
    loss = _loss(kind, a, b)
    loss.backward()
    torch.save((chosen, loss.detach(), a.grad, b.grad), os.path.join(folder, f"{rank}.pt"))
    dist.destroy_process_group()


def _loss(kind: str, a: Tensor, b: Tensor) -> Tensor:
    if kind == "nt_xent_without_sibling":
        return nt_xent_without_sibling(a, b, 0.2, positive_in_denominator=True)
    return nt_xent(a, b, 0.3, "all" if kind == "all" else "other_view")


@pytest.mark.parametrize("kind", ["all", "other_view", "nt_xent_without_sibling"])
def test_sharded_equals_single_process(kind: str, tmp_path: Path) -> None:
    """The mean over ranks of loss and gradient, as DDP takes it, is that of the whole batch."""
    mp.start_processes(_shard, (str(tmp_path), kind), nprocs=2, start_method="spawn")
    a, b = (x.requires_grad_() for x in embeddings(8))
    whole = _loss(kind, a, b)
    whole.backward()
    parts = [torch.load(tmp_path / f"{r}.pt") for r in range(2)]
    torch.testing.assert_close(sum(p[1] for p in parts) / 2, whole.detach())
    for position, wanted in ((2, a.grad), (3, b.grad)):
        for part in parts:
            torch.testing.assert_close(part[position] / 2, wanted[part[0]])
