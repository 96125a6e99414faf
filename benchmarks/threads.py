"""Milliseconds of a step with threads that spin, spin for a moment, or sleep while they wait, and with one.

    uv run python benchmarks/threads.py [--seconds 10] [--rounds 2] [--busy 0]

Each is a process of its own, in turn; ``--busy`` starts so many processes that compute beside them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from multiprocessing import get_context

from arguments import at_least, in_words, seconds

TWO = {"OMP_NUM_THREADS": "2"}
WAYS = {
    "two threads, OpenMP's default": TWO,
    "two threads, 10,000 spins": TWO | {"GOMP_SPINCOUNT": "10000"},  # as the command sets it
    "two threads, asleep": TWO | {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}


def measure(seconds: float) -> None:
    """Print the median milliseconds of a step of the quickstart's network."""
    import torch

    from equissl.recipes.quickstart import invariant

    network = invariant().encoder.backbone().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters())
    images = torch.rand(256, 3, 32, 32).to(memory_format=torch.channels_last)
    times: list[float] = []
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends or len(times) < 3:
        began = time.perf_counter()
        loss = network(images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - began)
    print(1000 * statistics.median(times[1:]))


def burn() -> None:
    while True:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=seconds, default=10.0, help="of each measurement (default 10)")
    parser.add_argument("--rounds", type=at_least(1), default=2, help="of all four (default 2)")
    parser.add_argument(
        "--busy", type=at_least(0), default=0, help="processes that compute beside (default none)"
    )
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.seconds)
        return
    busy = [get_context("spawn").Process(target=burn, daemon=True) for _ in range(options.busy)]
    for process in busy:
        process.start()
    found: dict[str, list[str]] = {way: [] for way in WAYS}
    command = [sys.executable, __file__, "--measure", "--seconds", str(options.seconds)]
    for _ in range(options.rounds):
        for way, environment in WAYS.items():
            done = subprocess.run(command, env=os.environ | environment, capture_output=True, check=True)
            found[way].append(f"{float(done.stdout):.0f}")
    for process in busy:
        process.terminate()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {options.busy} processes beside")
    for way, times in found.items():
        print(f"{way:30} {', '.join(times)} ms")


if __name__ == "__main__":
    in_words(main)
