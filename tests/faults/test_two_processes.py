"""Two CPU processes equal one: BatchNorm, its gradients and statistics, and whole runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from equissl.distributed import world_size
from equissl.nn.sync_batch_norm import SyncBatchNorm, synchronise_batch_norm

SPLIT = (3, 8)  # images of the first process, and of both: uneven on purpose


def _network() -> nn.Module:
    torch.manual_seed(0)
    fused = BatchNormAct2d(6)
    nn.init.uniform_(fused.weight)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False),
        fused,
        nn.BatchNorm2d(6, affine=False, momentum=None),
        nn.Flatten(),
        nn.Linear(6 * 36, 5),
        nn.BatchNorm1d(5, track_running_stats=False),
    ).double()


def _step(rows: slice, dtype: torch.dtype) -> dict[str, Any]:
    """Two forward passes and the gradients of the sum over the images ``rows``, all of 8."""
    network = _network().to(dtype)
    if world_size() > 1:
        network = synchronise_batch_norm(network, torch.device("cpu"))
        assert sum(isinstance(m, SyncBatchNorm) for m in network.modules()) == 3
    images = (1 if dtype == torch.float32 else 100) + torch.randn(
        8, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    weights = torch.randn(8, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(dtype)
    x = images.to(dtype)[rows].requires_grad_()
    for _ in range(2):
        out: Tensor = network(x)
    (out * weights[rows]).sum().backward()  # type: ignore[no-untyped-call]
    gradients = {n: p.grad for n, p in network.named_parameters()}
    return {"out": out.detach(), "x": x.grad, "gradients": gradients, "state": network.state_dict()}


def _shard(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    rows = (slice(0, SPLIT[0]), slice(*SPLIT))[rank]
    for dtype in (torch.float64, torch.float32):
        torch.save(_step(rows, dtype), os.path.join(folder, f"{dtype}{rank}.pt"))
    with pytest.raises(ValueError, match="one value per channel"):
        SyncBatchNorm(nn.BatchNorm1d(3))._track(torch.zeros(3), torch.zeros(3), 1.0)
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    mp.start_processes(_shard, (str(folder),), nprocs=2, start_method="spawn")
    return folder


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_batch_norm_over_two_uneven_processes_is_that_of_one(
    shards: Path, dtype: torch.dtype, tolerance: float
) -> None:
    whole = _step(slice(0, 8), dtype)
    a, b = (torch.load(shards / f"{dtype}{r}.pt") for r in range(2))
    close = {"rtol": tolerance, "atol": tolerance, "check_dtype": False}
    torch.testing.assert_close(torch.cat([a["out"], b["out"]]), whole["out"], **close)
    torch.testing.assert_close(torch.cat([a["x"], b["x"]]), whole["x"], **close)
    for name, gradient in whole["gradients"].items():
        torch.testing.assert_close(a["gradients"][name] + b["gradients"][name], gradient, **close)
    assert whole["state"].keys() == a["state"].keys() == b["state"].keys()
    for name, value in whole["state"].items():
        assert torch.equal(a["state"][name], b["state"][name])
        torch.testing.assert_close(a["state"][name], value, **close)
