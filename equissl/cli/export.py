"""``equissl export``."""

from __future__ import annotations

from pathlib import Path

from equissl.cli import shared
from equissl.cli.grammar.arguments import Arguments
from equissl.runs.export import export_onnx, export_timm, snippet
from equissl.runs.folder import open_run
from equissl.runs.load import load_run


def run(args: Arguments) -> None:
    """Write the encoder of a run for others to use."""
    args.check()
    loaded = load_run(open_run(Path(args.positionals[0])), shared.trusted(args))
    out: Path = args["out"] or loaded.run.path / "export"
    if args["format"] == "onnx":
        difference = export_onnx(loaded, out)
        print(f"wrote {out / 'model.onnx'}: images in [0, 1] -> features")
        print(f"largest difference between onnxruntime and torch: {difference:.1e} of the largest feature")
        return
    export_timm(loaded, out, loaded.run.rows("scores.jsonl"))
    print(f"wrote {out}\n\n{snippet(loaded, out)}")
