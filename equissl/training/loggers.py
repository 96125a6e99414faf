"""Loggers: ``log.jsonl`` always, TensorBoard by default, Weights & Biases and MLflow on request."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from equissl.errors import UserError, nearest


class Logger(Protocol):
    """Receives rows of named numbers."""

    def log(self, row: Mapping[str, Any]) -> None:
        """``row`` has "step" and any number of named values."""

    def close(self) -> None: ...


class JsonLines:
    """One line per row, flushed at once."""

    def __init__(self, path: Path):
        self.file = path.open("a", encoding="utf-8")

    def log(self, row: Mapping[str, Any]) -> None:
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()

    def close(self) -> None:
        self.file.close()


class TensorBoard:
    """Scalars below ``tensorboard/`` in the run folder."""

    def __init__(self, folder: Path, name: str):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard"))

    def log(self, row: Mapping[str, Any]) -> None:
        for key, value in _numbers(row).items():
            self.writer.add_scalar(key, value, row["step"])

    def close(self) -> None:
        self.writer.close()


class WandB:
    """Weights & Biases, the extra ``equissl[wandb]``; offline unless logged in."""

    def __init__(self, folder: Path, name: str):
        import wandb

        self.run = wandb.init(project="equissl", name=name, dir=str(folder), resume="allow")

    def log(self, row: Mapping[str, Any]) -> None:
        self.run.log(_numbers(row), step=row["step"])

    def close(self) -> None:
        self.run.finish()


class MLflow:
    """MLflow, the extra ``equissl[mlflow]``; a local folder unless MLFLOW_TRACKING_URI says otherwise."""

    def __init__(self, folder: Path, name: str):
        import mlflow

        self.mlflow = mlflow
        mlflow.set_experiment("equissl")
        mlflow.start_run(run_name=name)

    def log(self, row: Mapping[str, Any]) -> None:
        self.mlflow.log_metrics(_numbers(row), step=row["step"])

    def close(self) -> None:
        self.mlflow.end_run()


_LOGGERS: dict[str, Callable[[Path, str], Logger]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "mlflow": MLflow,
}


def check_names(names: Sequence[str]) -> None:
    """Raises UserError if a logger does not exist."""
    unknown = [n for n in names if n not in _LOGGERS]
    if unknown:
        raise UserError([f"loggers: no logger {n!r}; {nearest(n, _LOGGERS)}" for n in unknown])


def check_installed(names: Sequence[str]) -> None:
    """Raises UserError if a logger does not exist or its package is not installed."""
    check_names(names)
    missing = [n for n in names if importlib.util.find_spec(n) is None]
    if missing:
        raise UserError([f"loggers={n}: not installed; pip install 'equissl[{n}]'" for n in missing])


def open_loggers(folder: Path, names: Sequence[str]) -> list[Logger]:
    """``log.jsonl`` in ``folder`` and the named others.

    Raises:
        UserError: one does not exist or is not installed.
    """
    check_installed(names)
    others = [_LOGGERS[name](folder, folder.name) for name in names]
    return [JsonLines(folder / "log.jsonl"), *others]


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in row.items() if isinstance(v, int | float)}
