"""SIE's predictor by contraction against explicit per-image weights: time and memory of one step.

    uv run python benchmarks/sie.py            # d = 1024, B = 1024; the explicit one needs about 9 GB

Each variant runs in a process of its own, so that its peak of resident memory can be read.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from equissl.nn.predictors import Hypernetwork, HypernetworkPredictor

STEPS = 3


def explicit(predictor: HypernetworkPredictor, source: Tensor, change: Tensor) -> Tensor:
    """The same prediction with a matrix for every image, (B, d, d)."""
    (weight,) = predictor.weights
    matrices = (change @ weight.flatten(1)).view(len(change), *weight.shape[1:])
    return torch.bmm(source[:, None], matrices)[:, 0]


def contraction(predictor: HypernetworkPredictor, source: Tensor, change: Tensor) -> Tensor:
    result: Tensor = predictor(source, change)
    return result


VARIANTS: dict[str, Callable[[HypernetworkPredictor, Tensor, Tensor], Tensor]] = {
    "contraction": contraction,
    "explicit": explicit,
}


def peak() -> float:
    """Most resident memory so far, in 10^9 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def run(name: str, batch: int, width: int) -> dict[str, float]:
    torch.manual_seed(0)
    predictor = Hypernetwork().build(width, torch.tensor([1.0, 0.0, 0.0, 0.0]))
    assert isinstance(predictor, HypernetworkPredictor)
    source = torch.randn(batch, width, requires_grad=True)
    change = torch.nn.functional.normalize(torch.randn(batch, 4), dim=1)
    before, times = peak(), []
    for _ in range(STEPS):
        start = time.perf_counter()
        VARIANTS[name](predictor, source, change).square().mean().backward()
        times.append(time.perf_counter() - start)
    assert source.grad is not None
    return {"seconds": min(times), "memory": peak() - before, "check": float(source.grad.double().norm())}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--only", choices=VARIANTS)
    given = parser.parse_args()
    if given.only:
        print(json.dumps(run(given.only, given.batch, given.width)))
        return
    print(f"forward and backward, B={given.batch}, d={given.width}, k=4, float32; best of {STEPS}; ", end="")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {os.cpu_count()} cores")
    print("| predictor | seconds | extra memory (GB) |\n|---|---|---|")
    for name in VARIANTS:
        size = ["--batch", str(given.batch), "--width", str(given.width)]
        process = subprocess.run(
            [sys.executable, __file__, "--only", name, *size], check=True, capture_output=True, text=True
        )
        result = json.loads(process.stdout)
        print(f"| {name} | {result['seconds']:.3f} | {result['memory']:.2f} |")


if __name__ == "__main__":
    main()
