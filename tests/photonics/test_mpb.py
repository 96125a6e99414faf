"""Against MPB itself, where Debian's package is installed (see the reason for skipping)."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from equissl.photonics.cells import cell_kind
from equissl.photonics.dos import Spectrum, density_of_states, k_grid, smoothed
from equissl.photonics.waves import operator, solve
from equissl.random import Stream

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "mpb_bands.py"
PYTHON = os.environ.get("EQUISSL_MPB_PYTHON", "/usr/bin/python3")
pytestmark = pytest.mark.mpb


@functools.cache
def available() -> bool:
    try:
        command = [PYTHON, "-I", "-c", "from meep import mpb"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def by_mpb(epsilon: Tensor, k: Tensor, bands: int, folder: Path) -> list[dict[str, Any]]:
    if not available():
        pytest.skip(f"{PYTHON} has no MPB: apt-get install mpb python3-meep python3-matplotlib python3-h5py")
    asked = {"epsilon": epsilon.tolist(), "k": k.tolist(), "bands": bands, "polarisation": "tm"}
    (folder / "cells.json").write_text(json.dumps(asked))
    command = [PYTHON, "-I", str(SCRIPT), str(folder / "cells.json"), str(folder / "bands.json")]
    subprocess.run(command, capture_output=True, check=True, cwd=folder)
    found: list[dict[str, Any]] = json.loads((folder / "bands.json").read_text())
    return found


def test_bands_and_labels_of_random_cells(tmp_path: Path) -> None:
    """Frequencies and velocities on the same 32-pixel image; and the label made from MPB's."""
    draws = [cell_kind(n).sample(Stream.of(torch.arange(2), 5), 32).epsilon for n in ("p1", "pm", "blob")]
    epsilon, spectrum = torch.cat(draws).double(), Spectrum(grid=5, sigma=0.03)
    k, weight = k_grid(spectrum.grid)
    ours = solve(operator(epsilon), k, spectrum.bands)
    label = density_of_states(epsilon, spectrum)
    for cell, mpb in enumerate(by_mpb(epsilon, k, spectrum.bands, tmp_path)):
        frequency, velocity = (torch.tensor(mpb[n]).double() for n in ("frequency", "velocity"))
        off = (ours.frequency[cell] - frequency).abs()
        assert float(off.max()) < 5e-3 and float(off.mean()) < 2e-3
        # Where bands nearly touch, velocities are those of whatever vectors a solver returns.
        wrong = (ours.velocity[cell] - velocity)[:-1].abs().amax(-1)
        assert float(wrong.median()) < 2e-3 and float((wrong < 0.02).double().mean()) > 0.9
        scale = epsilon[cell].mean().sqrt()
        halves = velocity.abs() * scale / (2 * spectrum.grid)
        modes = (frequency * scale).flatten()[None], halves.flatten(0, 1)[None]
        theirs = smoothed(*modes, weight[:, None].expand(frequency.shape).flatten(), spectrum)[0, 100:]
        error = (label[cell, 100:] - theirs).abs().sum() / theirs.sum()
        assert float(error) < 3e-3  # the specs' acceptance check
