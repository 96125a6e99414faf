"""Golden files: outputs of the original implementations, any number of seeds of each."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(os.environ.get("EQUISSL_GOLDEN", Path(__file__).parent / "golden"))


def golden(family: str) -> list[Path]:
    """Every file of a family, such as "lars"; fails if there is none."""
    found = sorted(FOLDER.glob(f"{family}_seed*.npz"))
    if not found:
        raise FileNotFoundError(f"no golden file {family}_seed*.npz in {FOLDER}; set EQUISSL_GOLDEN")
    return found
