"""Devices and cores, and the collective operations of objectives: the identity in a single process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from joblib import cpu_count
from threadpoolctl import threadpool_limits
from torch import Tensor

from equissl.errors import UserError


def resolve_device(name: str) -> str:
    """The device called ``name``: "cpu", "cuda", "cuda:1", or "auto" for cuda where there is one.

    Raises:
        UserError: it is not there, or no such device.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            "device=cuda: this machine has no CUDA device that torch can use (see `equissl doctor`)"
        )
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or not number.isascii() or (":" in name and not number.isdecimal()):
        raise UserError(f"device={name}: expected auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if number and int(number[:9]) >= count:
        raise UserError(f"device={name}: this machine has {count} of them, counted from {kind}:0")
    return name


def available_cores() -> int:
    """Cores that this process may use: those of its affinity, or fewer where its cgroup limits it.

    Raises:
        UserError: joblib's environment variable LOKY_MAX_CPU_COUNT, which limits them too, is no number.
    """
    try:
        return min(int(cpu_count()), _cores_of_own_groups())
    except ValueError as error:
        given = os.environ.get("LOKY_MAX_CPU_COUNT")
        raise UserError(
            f"the number of cores cannot be found ({error}); LOKY_MAX_CPU_COUNT={given} must be a whole "
            "number, or not set"
        ) from error


def _cores_of_own_groups(root: Path = Path("/")) -> int:
    """Cores that the limits of this process's own cgroup and of those above allow; ``sys.maxsize`` if none.

    joblib reads the uppermost one only, which is a process's own in a container but not below systemd.
    """
    cores, mount = sys.maxsize, root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()  # number:controllers:path
    except OSError:  # not Linux
        return cores
    for controllers, path in (line.split(":", 2)[1:] for line in lines):
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = mount / controllers
        group = top / path.lstrip("/")
        for folder in (group, *(p for p in group.parents if p.is_relative_to(top))):
            files = [folder / "cpu.max"] if not controllers else []
            files = files or [folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us"]
            try:
                quota, period = map(int, " ".join(f.read_text() for f in files).split())
            except (OSError, ValueError):  # no such file, or "max": no limit
                continue
            if quota > 0 and period > 0:
                cores = min(cores, -(-quota // period))
    return cores


def limit_threads(processes: int = 1) -> str:
    """Let torch and BLAS use no more threads than there are cores for this process.

    Args:
        processes: how many share the cores.

    Returns:
        Their number and why, one line, where this lowers it or the machine has more cores; else "".
    """
    cores = available_cores()
    threads = max(1, cores // processes)
    if torch.get_num_threads() > threads:
        torch.set_num_threads(threads)
        threadpool_limits(threads, "blas")
    elif cores >= (os.cpu_count() or 1):
        return ""
    shared = f", which {processes} processes share" if processes > 1 else ""
    there = f"there are {cores} cores" if cores > 1 else "there is 1 core"
    return f"threads={torch.get_num_threads()}: {there} here{shared}"


def use_free_cores() -> str:
    """Let torch and BLAS use no more threads than there are cores that others leave free.

    The load average of the last minute counts as what others use, where the system tells it.

    Returns:
        Their number and why, one line, where this lowers it; else "".
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    cores = available_cores()
    free = max(1, min(cores, round((os.cpu_count() or cores) - load)))
    if torch.get_num_threads() <= free:
        return ""
    torch.set_num_threads(free)
    threadpool_limits(free, "blas")
    return f"threads={free}: others use the rest of {cores} cores (load {load:.1f})"


def check_devices(count: int, device: str) -> None:
    """Raises UserError if ``count`` processes are more than the cores, or GPUs, that there are for them."""
    device = resolve_device(device)
    have = torch.cuda.device_count() if device == "cuda" else available_cores()
    if count > max(have, 1):
        kind = "GPU" if device == "cuda" else "CPU core"
        raise UserError(
            f"devices={count}: this machine has {have} {kind}{'s' * (have > 1)}; set devices={have} or less"
        )


def to_device(values: Tensor, device: torch.device | str) -> Tensor:
    """The same values on ``device``; the host goes on while they are copied to a GPU.

    A copy from a GPU to the host waits for it.
    """
    device = torch.device(device)
    if values.device.type != "cpu" or device.type == "cpu":
        return values.to(device)
    if device.type == "cuda":  # a GPU reads pinned memory without the host
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world_size() > 1 else 0


class _Mean(torch.autograd.Function):
    """The mean over ranks; since all ranks depend on it, its gradient is the mean of theirs."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        return _averaged(local)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _averaged(grads[0])


def _averaged(values: Tensor) -> Tensor:
    total = values.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total / world_size()


def mean(values: Tensor) -> Tensor:
    """The mean over ranks of equally shaped tensors, differentiable; every rank must call it.

    As for ``gather``: with gradients averaged over ranks, training is that on the whole batch.
    """
    if world_size() == 1:
        return values
    result: Tensor = _Mean.apply(values)
    return result


def any_rank(local: bool, device: torch.device) -> bool:
    """Whether ``local`` is true in any process; every rank must call it, and it waits for the device."""
    if world_size() == 1:
        return local
    return bool(mean(torch.tensor(float(local), device=device)) > 0)


class _Gather(torch.autograd.Function):
    """All ranks' rows, with the gradients of every rank's loss flowing back to the rank that owns a row."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        parts = [torch.empty_like(local) for _ in range(world_size())]
        dist.all_gather(parts, local.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous()
        dist.all_reduce(total)
        return total.chunk(world_size())[rank()]


def gather(local: Tensor) -> Tensor:
    """(n, d) on each rank -> (world * n, d) on every rank, differentiable.

    With a loss that is a mean over local rows, and gradients averaged over ranks as DDP does, the gradient
    is that of the mean over all rows: exact global-batch training. Every rank must hold the same n.
    """
    if world_size() == 1:
        return local
    result: Tensor = _Gather.apply(local)
    return result
