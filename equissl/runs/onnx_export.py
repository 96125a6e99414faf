"""Export of an encoder to ONNX, checked with onnxruntime at other batch sizes and image sizes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equissl.encoder.encoder import Encoder
from equissl.errors import UserError
from equissl.locks import folder_lock
from equissl.runs.load import Loaded
from equissl.storage import atomic_path

STEP = 32  # px: what is added to a size to see whether the model reads others, too
BATCH = 3  # of the images that are traced; torch keeps 0 and 1 as constants


@dataclass(frozen=True)
class OnnxExport:
    """What was written.

    Args:
        path: of ``model.onnx``.
        difference: largest one from the original over all checked batches, relative to the largest feature.
        any_batch, any_size: whether the file takes batches and images of other sizes.
        opset: version of ONNX's operators.
    """

    path: Path
    difference: float
    any_batch: bool
    any_size: bool
    opset: int

    def __str__(self) -> str:
        free = [name for name, taken in (("batch", self.any_batch), ("image size", self.any_size)) if taken]
        inputs = f"any {' and '.join(free)}" if free else f"batches of {BATCH}"
        return f"wrote {self.path}: images in [0, 1] -> features; takes {inputs}; opset {self.opset}"


class _Features(nn.Module):
    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        vector: Tensor = self.encoder(images).vector
        return vector


def export_onnx(loaded: Loaded, out: Path, tolerance: float = 1e-3, opset: int = 0) -> OnnxExport:
    """Write ``model.onnx``: images (B, C, H, W) in [0, 1] -> features (B, D), normalisation included.

    B is free, and H and W are where the model reads images of other sizes.

    Args:
        tolerance: largest difference from the original, relative to the largest feature.
        opset: version of ONNX's operators; 0 for torch's default.

    Raises:
        UserError: the extra is not installed, torch cannot export the model or has no such opset, or
            onnxruntime's result differs by more than ``tolerance``.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"ONNX needs the extra: pip install 'equissl[onnx]' ({error})") from error
    model = _Features(loaded.encoder).eval()
    side, channels = loaded.config.size, len(loaded.config.mean)
    other = side + STEP if _reads(model, channels, side + STEP) else 0
    with folder_lock(out), atomic_path(out / "model.onnx") as partial:
        other = _trace_freely(model, partial, channels, side, other, opset)
        written = onnx.load(partial, load_external_data=False)
        version = next(o.version for o in written.opset_import if o.domain in ("", "ai.onnx"))
        if opset and version != opset:
            raise UserError(
                f"opset={opset}: torch writes this model with opset {version}, and cannot convert it"
            )
        session = onnxruntime.InferenceSession(str(partial), providers=["CPUExecutionProvider"])
        shape = session.get_inputs()[0].shape
        any_batch, any_size = (
            isinstance(shape[0], str),
            isinstance(shape[2], str) and isinstance(shape[3], str),
        )
        batches = (BATCH, 1, 2 * BATCH) if any_batch else (BATCH,)
        checks = [(b, side) for b in batches] + ([(BATCH, other)] if any_size and other else [])
        difference = max(_difference(model, session, b, channels, s) for b, s in checks)
        if not difference < tolerance:
            raise UserError(f"onnxruntime's features differ by {difference:.1e} of the largest: not exported")
    return OnnxExport(out / "model.onnx", difference, any_batch, any_size, version)


def _trace_freely(model: nn.Module, path: Path, channels: int, side: int, other: int, opset: int) -> int:
    """Write the model with the batch left open, and the sizes too if it reads images of the side ``other``.

    Returns:
        ``other``, or 0 where the sizes cannot be left open.

    Raises:
        UserError: torch cannot export the model.
    """
    try:
        _trace(model, path, channels, side, {0, 2, 3} if other else {0}, opset)
    except Exception as error:  # torch's exporter raises whatever the model's code does
        if other:
            return _trace_freely(model, path, channels, side, 0, opset)
        raise UserError(f"format=onnx: torch cannot export this model: {_first_line(error)}") from error
    return other


def _trace(model: nn.Module, path: Path, channels: int, side: int, free: set[int], opset: int) -> None:
    """Write the model, with the dimensions in ``free`` left open as far as the model does not fix them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (_images(BATCH, channels, side),),
            str(path),
            input_names=["images"],
            output_names=["features"],
            dynamic_shapes=(dict.fromkeys(sorted(free), torch.export.Dim.AUTO),),
            dynamo=True,
            external_data=False,
            verbose=False,
            opset_version=opset or None,
        )


def _images(batch: int, channels: int, side: int) -> Tensor:
    return torch.rand(batch, channels, side, side, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def _reads(model: nn.Module, channels: int, side: int) -> bool:
    """Whether a model takes images of another size."""
    try:
        model(_images(1, channels, side))
    except Exception:  # each model refuses in its own way
        return False
    return True


@torch.inference_mode()
def _difference(model: nn.Module, session: Any, batch: int, channels: int, side: int) -> float:
    """Largest difference of onnxruntime's features, relative to the largest feature."""
    images = _images(batch, channels, side)
    features = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
    reference = model(images)
    return float((features - reference).abs().max() / reference.abs().max())


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__
