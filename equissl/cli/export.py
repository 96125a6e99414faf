"""``equissl export``."""

from __future__ import annotations

from pathlib import Path

from equissl.cli import shared
from equissl.cli.arguments import Given
from equissl.runs import export
from equissl.runs import folder as runs
from equissl.runs import load as models


def run(given: Given) -> None:
    """Write the encoder of a run for others to use."""
    given.check()
    found = runs.open_run(Path(given.things[0]))
    loaded = models.load_run(found, shared.trusted(given))
    out: Path = given["out"] or found.path / "export"
    if given["format"] == "onnx":
        difference = export.export_onnx(loaded, out)
        print(f"wrote {out / 'model.onnx'}: images in [0, 1] -> features")
        print(f"largest difference between onnxruntime and torch: {difference:.1e} of the largest feature")
        return
    export.export_timm(loaded, out, found.rows("scores.jsonl"))
    print(f"wrote {out}\n\n{export.snippet(loaded, out)}")
