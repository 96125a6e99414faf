"""Encoders that are no modules of torch: functions of images, ONNX files, and programs of torch.export."""

from __future__ import annotations

import hashlib
import logging
import uuid
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from equissl.errors import UserError

PROGRAM_SUFFIXES = (".onnx", ".pt2")


@dataclass(frozen=True)
class Program:
    """A function (B, C, H, W) -> outputs that was read from a file.

    Args:
        function: of float32 images on the CPU.
        shape: B, C, H, W that it takes, 0 where any will do.
        digest: of the file.
    """

    function: Callable[[Tensor], Any]
    shape: tuple[int, int, int, int]
    digest: str


class FunctionBackbone(nn.Module):
    """A function as a backbone: images (B, C, H, W) -> tensors or arrays.

    It has no parameters that torch could see, so that no untrained copy can be made of it.

    Args:
        function: gets images on the CPU, float32, and returns what ``features.read_output`` reads.
        batch: images that it takes at a time; 0 for any number. A last batch is filled up with zeros.
        identity: tells it from other functions, where features are kept; by default no other is alike.
    """

    def __init__(self, function: Callable[[Tensor], Any], batch: int = 0, identity: str = ""):
        super().__init__()
        self.batch, self.identity = batch, identity or uuid.uuid4().hex
        self._function = (function,)  # in a tuple: a module would be one of this module's own

    def extra_repr(self) -> str:
        return self.identity

    def forward(self, images: Tensor) -> Any:
        (function,) = self._function
        x = images.float().cpu()
        if not self.batch:
            return _moved(function(x), images.device)
        parts = []
        for rows in torch.split(x, self.batch):
            filled = torch.cat([rows, rows.new_zeros(self.batch - len(rows), *rows.shape[1:])])
            parts.append(_first(_moved(function(filled), images.device), len(rows)))
        return _joined(parts)


def open_program(path: Path, trusted: Sequence[str] = ()) -> Program:
    """The function in an ONNX file, by onnxruntime on the CPU, or in a ``.pt2`` file of torch.export.

    Args:
        trusted: must hold "equissl" for ``.pt2``: ``torch.export.load`` unpickles what the file holds.

    Raises:
        UserError: it cannot be read, has not one input of images, or is not trusted.
    """
    if not path.is_file():
        raise UserError(f"no file {str(path)!r}")
    return _open_onnx(path) if path.suffix == ".onnx" else _open_exported(path, trusted)


def _open_onnx(path: Path) -> Program:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"{path}: ONNX needs the extra: pip install 'equissl[onnx]' ({error})") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # fatal ones; errors are raised as well
    with _in_words(path, "onnxruntime"):
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    stated = session.get_inputs()
    if len(stated) != 1 or stated[0].type != "tensor(float)" or len(stated[0].shape) != 4:
        said = ", ".join(f"{i.name}: {i.type} {i.shape}" for i in stated)
        raise UserError(
            f"{path}: expected one input of images, tensor(float) [B, C, H, W], but it has {said}"
        )
    name, names = stated[0].name, [o.name for o in session.get_outputs()]
    shape = _sizes(stated[0].shape)
    last = shape[3] in (1, 3) and shape[1] not in (1, 3)
    if last:
        shape = (shape[0], shape[3], shape[1], shape[2])

    def run(images: Tensor) -> Any:
        values = images.permute(0, 2, 3, 1) if last else images
        found = session.run(None, {name: values.contiguous().numpy()})
        outputs = dict(zip(names, (torch.from_numpy(np.asarray(v)) for v in found), strict=True))
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    return Program(run, shape, _digest(path))


def _open_exported(path: Path, trusted: Sequence[str]) -> Program:
    if "equissl" not in trusted:
        raise UserError(
            f"{path}: torch.export.load unpickles what the file holds, which can run any code, and is "
            "refused; if you trust the file: trust=equissl (a safe form of the model is format=onnx)"
        )
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is not a program of torch.export (no zip archive)")
    logger, level = logging.getLogger("torch.export"), logging.getLogger("torch.export").level
    try:
        logger.setLevel(logging.CRITICAL)  # it logs a traceback and tries an older format
        with _in_words(path, "torch.export"):
            program = torch.export.load(path)
            module = program.module()
    finally:
        logger.setLevel(level)
    users = set(program.graph_signature.user_inputs)
    inputs = [n.meta["val"] for n in program.graph.nodes if n.op == "placeholder" and n.name in users]
    if len(inputs) != 1 or not isinstance(inputs[0], Tensor) or inputs[0].dim() != 4:
        said = ", ".join(str(tuple(getattr(i, "shape", ()))) for i in inputs)
        raise UserError(f"{path}: expected one input of images (B, C, H, W), but it has {said or 'none'}")
    return Program(module, _sizes(inputs[0].shape), _digest(path))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _sizes(shape: Sequence[Any]) -> tuple[int, int, int, int]:
    b, c, h, w = (s if type(s) is int and s > 0 else 0 for s in shape)  # others are names or symbols
    return b, c, h, w


@contextmanager
def _in_words(path: Path, reader: str) -> Any:
    try:
        yield
    except Exception as error:  # each reader raises its own kinds
        said = str(error).strip().partition("\n")[0][:300] or type(error).__name__
        raise UserError(f"{path}: {reader} cannot read it: {said}") from error


def _moved(out: Any, device: torch.device) -> Any:
    """Arrays of an output as tensors on the device."""
    if isinstance(out, np.ndarray):
        out = torch.from_numpy(out)
    if isinstance(out, Tensor):
        return out.float().to(device) if out.is_floating_point() else out.to(device)
    if isinstance(out, Mapping):
        return {k: _moved(v, device) for k, v in out.items()}
    return [_moved(v, device) for v in out] if isinstance(out, tuple | list) else out


def _first(out: Any, count: int) -> Any:
    if isinstance(out, Tensor):
        return out[:count]
    if isinstance(out, dict):
        return {k: _first(v, count) for k, v in out.items()}
    return [_first(v, count) for v in out] if isinstance(out, list) else out


def _joined(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], Tensor):
        return torch.cat(list(parts))
    if isinstance(parts[0], dict):
        return {k: _joined([p[k] for p in parts]) for k in parts[0]}
    return [_joined(list(v)) for v in zip(*parts, strict=True)] if isinstance(parts[0], list) else parts[0]
