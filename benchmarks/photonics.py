"""How much faster are labels made than by MPB? Prints one line per solver and the ratio.

uv run python benchmarks/photonics.py [cells=2] [kind=p1] [device=cpu]

Both get the same 32-pixel cells, 10 TM bands with group velocities; MPB at the 313 k-points that time
reversal leaves (E-SSL's pipeline solved all 625). The solve is timed, not the start of Python, in seconds of
the processor, so that other work on the machine does not count. MPB comes with Debian:
apt-get install mpb python3-meep python3-matplotlib python3-h5py
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from equissl.photonics.cells import cell_kind
from equissl.photonics.dos import Spectrum, density_of_states, k_grid, relative_errors, smoothed
from equissl.photonics.waves import Bands, operator, solve
from equissl.random import Stream

HERE = Path(__file__).parent
PYTHON = os.environ.get("EQUISSL_MPB_PYTHON", "/usr/bin/python3")


def by_mpb(epsilon: torch.Tensor, k: torch.Tensor, bands: int) -> tuple[list[Bands], float]:
    """Bands of every cell, and processor seconds per cell."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "cells.json", Path(folder) / "bands.json"
        problem = {"epsilon": epsilon.tolist(), "k": k.tolist(), "bands": bands, "polarisation": "tm"}
        source.write_text(json.dumps(problem))
        command = [PYTHON, "-I", str(HERE / "mpb_bands.py"), str(source), str(target)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, capture_output=True, check=True, cwd=folder, env=environment)
        found = json.loads(target.read_text())
    solved = [
        Bands(torch.tensor(f["frequency"]).double(), torch.tensor(f["velocity"]).double(), torch.empty(0))
        for f in found
    ]
    return solved, sum(f["seconds"] for f in found) / len(found)


def label(bands: Bands, scale: torch.Tensor, weight: torch.Tensor, spectrum: Spectrum) -> torch.Tensor:
    """The density of states that follows from MPB's bands; without the last k-point, the cone at k = 0."""
    rows = slice(0, -1)
    halves = bands.velocity[rows].abs() * scale / (2 * spectrum.grid)
    weights = weight[rows, None].expand(bands.frequency[rows].shape).flatten()
    centre = (bands.frequency[rows] * scale).flatten()[None]
    return smoothed(centre, halves.flatten(0, 1)[None], weights, spectrum)


def main(cells: int = 2, kind: str = "p1", device: str = "cpu") -> None:
    torch.set_num_threads(1)
    spectrum = Spectrum()
    epsilon = cell_kind(kind).sample(Stream.of(torch.arange(cells), 0, "benchmark"), 32).epsilon.double()
    k, weight = k_grid(spectrum.grid)
    density_of_states(epsilon[:1].to(device), spectrum)
    began = time.process_time() if device == "cpu" else time.perf_counter()
    batches = epsilon.split(1 if device == "cpu" else 32)
    ours = torch.cat([density_of_states(e.to(device), spectrum).cpu() for e in batches])
    taken = (time.process_time() if device == "cpu" else time.perf_counter()) - began
    print(f"equissl, {device}, {platform.machine()}: {taken / cells:.3f} s per cell")
    theirs, seconds = by_mpb(epsilon, k, spectrum.bands)
    print(f"MPB, 1 core, 313 k-points: {seconds:.2f} s per cell")
    print(f"ratio: {seconds * cells / taken:.0f}")
    off, errors = [], []
    for cell, bands in enumerate(theirs):
        mine = solve(operator(epsilon[cell : cell + 1]), k, spectrum.bands)
        off.append(float((mine.frequency[0] - bands.frequency).abs().max()))
        target = label(bands, epsilon[cell].mean().sqrt(), weight, spectrum)
        errors.append(float(relative_errors(ours[cell : cell + 1], target)))
    print(f"largest difference of a frequency: {max(off):.1e}; of a label: {max(errors):.2%} (mean absolute)")


if __name__ == "__main__":
    given = dict(word.partition("=")[::2] for word in sys.argv[1:])
    main(int(given.get("cells", 2)), given.get("kind", "p1"), given.get("device", "cpu"))
