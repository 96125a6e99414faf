"""Checkpoints: what a run needs to be resumed bit for bit, and files that are written whole or not at all."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from equissl.config.own_code import own_errors_in_words
from equissl.config.validation import fits
from equissl.data.base import Dataset
from equissl.digest import check_dense, digest
from equissl.errors import NonFiniteError, UserError
from equissl.model import Model
from equissl.storage import atomic_open
from equissl.text import shell_path

FORMAT = 2
_CONTENT: Mapping[str, Any] = {  # of a checkpoint
    **dict.fromkeys(("step", "epoch", "batch", "world_size"), int),
    **dict.fromkeys(("optimizer", "scaler", "random", "recipe"), Mapping[str, Any]),
    "model": Mapping[str, Tensor],
    "data": str,
}


@dataclass
class TrainState:
    """Position of a run: steps and epochs done, batches done of the current epoch, and the last step's lr."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    lr: float = 0.0


@dataclass(frozen=True)
class Snapshot:
    """Copies the whole state of a run into a checkpoint, and back."""

    fabric: Fabric
    model: Model
    optimizer: torch.optim.Optimizer
    dataset: Dataset
    recipe: Mapping[str, Any]  # as plain data
    epochs: int
    made_infinite: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        names = frozenset(_non_finite(self.model.named_buffers()))
        object.__setattr__(self, "made_infinite", names)

    def capture(self, state: TrainState) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.fabric.strategy.precision.state_dict(),
            "random": random_state(),
            "step": state.step,
            "epoch": state.epoch,
            "batch": state.batch,
            "epochs": self.epochs,
            "recipe": self.recipe,
            "world_size": self.fabric.world_size,
            "data": data_digest(self.dataset),
        }

    def save(self, folder: Path, state: TrainState) -> Path:
        """Write a checkpoint, of finite tensors only.

        Raises:
            NonFiniteError: a tensor is not finite; ``WriteError``: the checkpoint cannot be written.
        """
        if name := self.non_finite():
            raise NonFiniteError(f"the weights are not finite after step {state.step} (in {name})")
        return save(folder, self.capture(state))

    def restore(self, saved: Mapping[str, Any]) -> TrainState:
        """
        Raises:
            UserError: the number of processes or the data differ from those of the checkpoint.
        """
        if saved["world_size"] != self.fabric.world_size:
            raise UserError(
                f"devices={self.fabric.world_size}: the run was started on {saved['world_size']}, and its "
                "batches and BatchNorm statistics would change. Resume with the same number."
            )
        data = data_digest(self.dataset)
        if saved["data"] != data:
            raise UserError(
                f"the data is no longer what the run was started on ({saved['data']} then, {data} now: "
                "number of samples and a digest of their content, or of the sizes and times of their "
                "files), so it cannot be resumed exactly. Restore the data (files too many for memory with "
                "their times: `cp -p`, `rsync -a`) or start a new run."
            )
        if saved["batch"] * self.recipe["batch_size"] > len(self.dataset):
            raise UserError(f"the checkpoint is at batch {saved['batch']}, and an epoch has fewer")
        try:
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self._check_optimizer()
            self.fabric.strategy.precision.load_state_dict(saved["scaler"])
            restore_random_state(saved["random"])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"the checkpoint does not fit the recipe and cannot be resumed: {error}"
            ) from error
        return TrainState(saved["step"], saved["epoch"], saved["batch"])

    def _check_optimizer(self) -> None:
        """Raises ValueError if a tensor of the optimizer is not of its parameter's shape, nor one number."""
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor) and value.numel() != 1 and value.shape != parameter.shape:
                    shapes = f"{tuple(value.shape)} instead of {tuple(parameter.shape)}"
                    raise ValueError(f"{key} of {name} in the optimizer has the shape {shapes}")

    def non_finite(self) -> str:
        """The first parameter, buffer or tensor of the optimizer that is not finite, by name; "" if all are.

        A buffer that was built with infinities (a mask of attention) is left out.
        """
        return next((n for n in _non_finite(self._tensors()) if n not in self.made_infinite), "")

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.model.state_dict().items()
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    yield f"{key} of {name} in the optimizer", value


def _non_finite(tensors: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Names of the tensors that hold an infinity or NaN; waits for the device once."""
    floating = {name: values for name, values in tensors if values.is_floating_point()}
    if not floating:
        return []
    device = next(iter(floating.values())).device
    finite = torch.stack([values.isfinite().all().to(device) for values in floating.values()])
    return list(itertools.compress(floating, (~finite).tolist()))


def data_digest(dataset: Dataset) -> str:
    """Number of samples and ``Dataset.digest``."""
    with own_errors_in_words(dataset, "batch"):
        return f"{len(dataset)}/{dataset.digest}"


def random_state() -> dict[str, Any]:
    """Torch's global random state: only a backbone's own dropout depends on it."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def save(folder: Path, state: Mapping[str, Any]) -> Path:
    """Write ``last.pt`` with a digest of all in it; the one before it stays as ``previous.pt``.

    Args:
        state: tensors and plain data only, so that it loads with ``weights_only=True``.

    Raises:
        WriteError: it cannot be written; those before it stay as they are.
    """
    last = folder / "last.pt"
    content = {"format": FORMAT, **state}
    with atomic_open(last, "wb", keep=folder / "previous.pt") as file:
        torch.save({**content, "digest": digest(content)}, file)
    return last


def load(folder: Path, name: str = "last.pt") -> dict[str, Any]:
    """Read a checkpoint, every bit of which is checked.

    Raises:
        UserError: there is none, or it is damaged; the message says what can be used instead.
    """
    path, previous = folder / name, folder / "previous.pt"
    if not path.is_file() and name == "last.pt" and previous.is_file():
        return load(folder, "previous.pt")  # killed between the two renames of save
    if not path.is_file():
        raise UserError(
            f"no checkpoint in {folder}: nothing can be resumed or read. Delete {folder.parent} and start "
            "the run again"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = state.get("format")
        check_dense(state)
    except Exception as error:
        raise UserError(_damaged(path, previous, type(error).__name__)) from error
    if found != FORMAT:
        raise UserError(f"checkpoint {path} has format {found}, this version reads {FORMAT}")
    stored = state.pop("digest", None)
    if stored != digest(state):
        raise UserError(_damaged(path, previous, "its content differs from its digest"))
    if wrong := [k for k, kind in _CONTENT.items() if not fits(state.get(k), kind)]:
        raise UserError(_damaged(path, previous, f"no valid {', '.join(wrong)}"))
    if wrong := [k for k in ("step", "epoch", "batch") if state[k] < 0]:
        raise UserError(_damaged(path, previous, f"negative {', '.join(wrong)}"))
    content: dict[str, Any] = state
    return content


def _damaged(path: Path, previous: Path, reason: str) -> str:
    remedy = f"; go on from the one before it: cp {shell_path(previous)} {shell_path(path)}"
    usable = path != previous and previous.is_file()
    return f"checkpoint {path} is damaged ({reason}){remedy if usable else ''}"
