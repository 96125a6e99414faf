"""Export an encoder for use without equissl."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import nn

from equissl.errors import UserError
from equissl.runs.export import export_timm
from equissl.runs.hub import check_hub, upload
from equissl.runs.load import Loaded, LoadedEncoder, LoadedRun, load_encoder
from equissl.runs.onnx_export import export_onnx


def export(
    model: Loaded | Path | str,
    out: Path | str | None = None,
    format: Literal["timm", "onnx"] = "timm",
    *,
    opset: int = 0,
    hub: str = "",
    private: bool = False,
    trusted: Sequence[str] = (),
    backbone: nn.Module | None = None,
) -> Path:
    """Write an encoder as a folder that timm loads without equissl, or as ``model.onnx``.

    Args:
        model: a name as of ``load_encoder``, such as a run folder; or what it returned.
        out: folder to write; ``export`` in the run folder if absent.
        opset: version of ONNX's operators; 0 for torch's default.
        hub: USER/NAME on the Hugging Face Hub, where the folder is uploaded to, see ``runs.hub.upload``; timm
            loads it from there as ``hf-hub:USER/NAME``.
        private: whether a repository that is made for it is.
        backbone: a module like the one the run was trained with, if that was your own.

    Returns:
        The folder.

    Raises:
        UserError: the encoder is not timm's, ``out`` holds something else, the ONNX extra is missing, or
            the upload fails (the folder is complete then).
    """
    check_opset(format, opset)
    check_upload(format, hub)
    if isinstance(model, LoadedEncoder | LoadedRun):
        loaded: Loaded = model
    else:
        loaded = load_encoder(str(model), trusted=trusted, backbone=backbone)
    folder = export_folder(loaded, None if out is None else Path(out))
    if format == "onnx":
        export_onnx(loaded, folder, opset=opset)
    else:
        export_timm(loaded, folder, scores_of(loaded), hub)
    if hub:
        upload(folder, hub, private)
    return folder


def check_opset(format: str, opset: int) -> None:
    """Raises UserError: ``opset`` is given for a format without operators."""
    if opset and format != "onnx":
        raise UserError(f"opset={opset} has no effect with format={format}: add format=onnx, or leave it out")


def check_upload(format: str, hub: str) -> None:
    """Raises UserError: ``hub`` is no name of a repository, or the format is not one that timm loads."""
    if hub and format != "timm":
        raise UserError(f"hub={hub} uploads what timm loads: leave format={format} out")
    if hub:
        check_hub(hub)


def export_folder(loaded: Loaded, out: Path | None) -> Path:
    """Where an encoder is written: ``out``, or ``export`` in its run folder.

    Raises:
        UserError: it is no run and ``out`` is absent.
    """
    if out is not None:
        return out
    if isinstance(loaded, LoadedRun):
        return loaded.run.path / "export"
    raise UserError(
        f"out=DIR is missing: {loaded.name!r} is no run folder, so there is no usual place for it"
    )


def scores_of(loaded: Loaded) -> list[dict[str, Any]]:
    """Score rows for the card of a run; none of another model."""
    return loaded.run.scores if isinstance(loaded, LoadedRun) else []
