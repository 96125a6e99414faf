"""Threads of torch's operations on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[int]:
    """One thread per operation of torch, for many small operations; yields how many there were.

    A second thread takes longer to start and to wait for than a small operation lasts, and then keeps its
    core busy waiting (OpenMP): drawing the parameters of 64 images took 25 times the processor time.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)
