"""Export an encoder for use without equissl."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from equissl.runs.export import export_onnx, export_timm
from equissl.runs.folder import open_run
from equissl.runs.load import load_run


def export(
    run: Path | str,
    out: Path | str | None = None,
    format: Literal["timm", "onnx"] = "timm",
    *,
    trusted: Sequence[str] = (),
) -> Path:
    """Write the encoder of a run as a folder that timm loads without equissl, or as ``model.onnx``.

    Args:
        out: folder to write; ``export`` in the run folder if absent.

    Returns:
        The folder.

    Raises:
        UserError: the encoder is not timm's, ``out`` holds something else, or the ONNX extra is missing.
    """
    loaded = load_run(open_run(Path(run)), trusted)
    folder = Path(out) if out is not None else loaded.run.path / "export"
    if format == "onnx":
        export_onnx(loaded, folder)
    else:
        export_timm(loaded, folder, loaded.run.rows("scores.jsonl"))
    return folder
