"""What the report tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from report.fake_runs import EQUIVARIANT, INVARIANT, build_run


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """An invariant and an equivariant run."""
    return (
        build_run(tmp_path / "invariant", "invariant", INVARIANT, modules=False),
        build_run(tmp_path / "equivariant", "equivariant", EQUIVARIANT, modules=True),
    )
