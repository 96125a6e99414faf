"""The processes that share a batch: how many, started, watched, and ended in words when one of them dies."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch.distributed as dist

from equissl.distributed import check_devices
from equissl.errors import UserError

GRACE = 20.0  # seconds that a process has to end by itself, in its own words, after another has died
_PARENT = "EQUISSL_PARENT"  # process number of the first process, for those that it starts


@dataclass(frozen=True)
class Layout:
    """How many processes there are on a machine, and how many machines."""

    devices: int
    nodes: int = 1

    @property
    def count(self) -> int:
        """Processes on all machines."""
        return self.devices * self.nodes


@dataclass
class _Others:
    """The processes that this one has started, by their rank from 1, and the run they now train together."""

    children: list[subprocess.Popen[bytes]] = field(default_factory=list)
    run: Path | None = None

    def dead(self) -> str:
        """Which of them ended before training did, as a clause; "" if none."""
        for rank, child in enumerate(self.children, 1):
            if code := child.poll():
                name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                hint = " (out of memory?)" if name == "SIGKILL" else ""
                return f"process {rank} of {len(self.children) + 1} ended by {name}{hint}"
        parent = os.environ.get(_PARENT)
        return "the first process ended" if parent and os.getppid() != int(parent) else ""


_OTHERS = _Others()


def start_processes(devices: int, accelerator: str) -> Layout:
    """Start ``devices`` - 1 more processes with this one's command line, unless a launcher already has.

    Under torchrun, or another launcher that sets LOCAL_RANK and WORLD_SIZE, the processes are the
    launcher's.

    Raises:
        UserError: more than the machine has cores or GPUs, another number than the launcher's, or no
            command line that could be repeated.
    """
    started = int(os.environ.get("WORLD_SIZE", 1)) if "LOCAL_RANK" in os.environ else 1
    if started > 1:
        if devices not in (1, started):
            raise UserError(
                f"devices={devices}, but a launcher such as torchrun started {started} processes "
                f"(WORLD_SIZE); leave devices= out, or start without the launcher"
            )
        if _PARENT in os.environ and not _OTHERS.children:
            _watch()
        local = int(os.environ.get("LOCAL_WORLD_SIZE", started))
        return Layout(local, started // local)
    check_devices(devices, accelerator)
    if devices > 1:
        _start(devices)
    return Layout(devices)


def _start(devices: int) -> None:
    if hasattr(sys, "ps1") or "ipykernel" in sys.modules or sys.argv[0] in ("", "-"):
        raise UserError(
            f"devices={devices} needs the command `equissl`, a script or a module, to start again"
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(devices)}
    os.environ |= {"NODE_RANK": "0", "LOCAL_RANK": "0"}
    for rank in range(1, devices):
        environment = os.environ | {"LOCAL_RANK": str(rank), _PARENT: str(os.getpid())}
        command = [sys.executable, *sys.orig_argv[1:]]
        _OTHERS.children.append(subprocess.Popen(command, env=environment))
    atexit.register(_end_children)
    _watch()


def _end_children() -> None:
    deadline = time.monotonic() + GRACE
    for child in _OTHERS.children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()


def _watch() -> None:
    """End this process, too, if another dies during training and the communication does not notice."""

    def watch() -> None:
        while True:
            time.sleep(0.5)
            if _OTHERS.run and _OTHERS.dead():
                time.sleep(GRACE)
                if _OTHERS.run:
                    print(f"error: {_lost()}", file=sys.stderr, flush=True)
                    for child in _OTHERS.children:
                        child.kill()
                    os._exit(2)

    threading.Thread(target=watch, daemon=True, name="equissl-processes").start()


@contextmanager
def lost_processes_in_words(run: Path) -> Iterator[None]:
    """What training runs in: a connection that broke says which process ended.

    Raises:
        UserError: instead of the errors of torch's communication.
    """
    _OTHERS.run = run
    try:
        yield
    except RuntimeError as error:
        if "finished reduction in the prior iteration" in str(error):
            raise UserError(
                "the model has parameters that no loss depends on, which several processes cannot share: "
                "set requires_grad_(False) on them, choose another encoder, or train with devices=1"
            ) from error
        broken = isinstance(error, dist.DistError) or "gloo" in str(error).lower()
        if not broken or not dist.is_initialized():
            raise
        deadline = time.monotonic() + 5
        while not _OTHERS.dead() and time.monotonic() < deadline:
            time.sleep(0.1)
        raise UserError(_lost()) from error
    finally:
        _OTHERS.run = None


def _lost() -> str:
    return (
        f"{_OTHERS.dead() or 'the connection to another process broke'}, so this one cannot go on; what it "
        f"said stands above. `equissl resume {_OTHERS.run}` goes on from the last checkpoint"
    )
