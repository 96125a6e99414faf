"""Loggers: ``log.jsonl`` always, TensorBoard by default, Weights & Biases and MLflow on request."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from equissl.errors import UserError, nearest
from equissl.storage import append, append_open, in_words, read_json, write_json

EXTERNAL = "loggers.json"  # the ids that services gave to a run


class Logger(Protocol):
    """Receives rows of named numbers."""

    def log(self, row: Mapping[str, Any]) -> None:
        """``row`` has "step" and any number of named values."""

    def close(self) -> None: ...


class JsonLines:
    """One line per row, flushed at once."""

    def __init__(self, path: Path):
        self.file = append_open(path)

    def log(self, row: Mapping[str, Any]) -> None:
        append(self.file, f"{json.dumps(row)}\n".encode())

    def close(self) -> None:
        self.file.close()


class TensorBoard:
    """Scalars below ``tensorboard/`` in the run folder; a resumed run hides those after its checkpoint."""

    def __init__(self, folder: Path, name: str, step: int):
        from torch.utils.tensorboard import SummaryWriter

        self.path = folder / "tensorboard"
        with in_words(self.path):
            self.writer = SummaryWriter(str(self.path), purge_step=step + 1 if step else None)

    def log(self, row: Mapping[str, Any]) -> None:
        with in_words(self.path):
            for key, value in _numbers(row).items():
                self.writer.add_scalar(key, value, row["step"])

    def close(self) -> None:
        with in_words(self.path):
            self.writer.close()


class WandB:
    """Weights & Biases, the extra ``equissl[wandb]``; offline unless logged in.

    A resumed run keeps its id.
    """

    def __init__(self, folder: Path, name: str, step: int):
        import wandb

        known = _external_id(folder, "wandb")
        self.run = wandb.init(project="equissl", name=name, dir=str(folder), id=known, resume="allow")
        _keep_external_id(folder, "wandb", self.run.id)

    def log(self, row: Mapping[str, Any]) -> None:
        self.run.log(_numbers(row), step=row["step"])

    def close(self) -> None:
        self.run.finish()


class MLflow:
    """MLflow, the extra ``equissl[mlflow]``; a local folder unless MLFLOW_TRACKING_URI says otherwise.

    A resumed run keeps its id.
    """

    def __init__(self, folder: Path, name: str, step: int):
        import mlflow

        self.mlflow = mlflow
        mlflow.set_experiment("equissl")
        known = _external_id(folder, "mlflow")
        try:
            run = mlflow.start_run(run_id=known, run_name=name)
        except mlflow.exceptions.MlflowException:
            if known is None:
                raise
            run = mlflow.start_run(run_name=name)  # another server, or deleted there
        _keep_external_id(folder, "mlflow", run.info.run_id)

    def log(self, row: Mapping[str, Any]) -> None:
        self.mlflow.log_metrics(_numbers(row), step=row["step"])

    def close(self) -> None:
        self.mlflow.end_run()


_LOGGERS: dict[str, Callable[[Path, str, int], Logger]] = {
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


def open_loggers(folder: Path, names: Sequence[str], step: int = 0) -> list[Logger]:
    """``log.jsonl`` in ``folder`` and the named others.

    Args:
        step: of the checkpoint that a run is resumed from.

    Raises:
        UserError: one does not exist or is not installed.
    """
    check_installed(names)
    others = [_LOGGERS[name](folder, folder.name, step) for name in names]
    return [JsonLines(folder / "log.jsonl"), *others]


def _external_id(folder: Path, logger: str) -> str | None:
    """The id under which a service knows the run in ``folder``."""
    path = folder / EXTERNAL
    stored = read_json(path) if path.is_file() else {}
    known = stored.get(logger) if isinstance(stored, dict) else None
    return known if isinstance(known, str) else None


def _keep_external_id(folder: Path, logger: str, value: str) -> None:
    path = folder / EXTERNAL
    if _external_id(folder, logger) != value:
        stored = read_json(path) if path.is_file() else {}
        write_json(path, {**stored, logger: value})


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in row.items() if isinstance(v, int | float)}
