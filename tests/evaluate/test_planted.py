"""The audit ranks encoders correctly whose content is known."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from equissl.data.solids import Solids


def test_planted_encoders_rank_correctly_on_solids() -> None:
    path = Path(__file__).parents[2] / "benchmarks" / "audit_planted.py"
    spec = importlib.util.spec_from_file_location("audit_planted", path)
    assert spec is not None and spec.loader is not None
    planted = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = planted  # dataclasses look their module up
    spec.loader.exec_module(planted)
    dataset = Solids(size=planted.SIDE, objects=150, views=1).open_all()
    found = planted.read(dataset, 150, draws=1)
    assert planted.failures(found) == []
    blind = {name: dict(found[name], hue=found["grey"]["hue"]) for name in found}
    assert planted.failures(blind)  # the checks can fail
