"""Checkpoints: everything a run needs to go on exactly, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from equissl.errors import UserError
from equissl.storage import atomic_path

FORMAT = 1


def save(folder: Path, state: dict[str, Any]) -> Path:
    """Write ``last.pt``; the one before it stays as ``previous.pt``.

    Args:
        state: tensors and plain data only, so that it loads with ``weights_only=True``.
    """
    last = folder / "last.pt"
    with atomic_path(last) as partial:
        with partial.open("wb") as file:
            torch.save({"format": FORMAT, **state}, file)
        if last.exists():
            last.replace(folder / "previous.pt")
    return last


def load(folder: Path, name: str = "last.pt") -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        UserError: there is none, or it is damaged; the message says what can be used instead.
    """
    path = folder / name
    if not path.is_file() and name == "last.pt" and (folder / "previous.pt").is_file():
        return load(folder, "previous.pt")  # killed between the two renames of save
    if not path.is_file():
        raise UserError(f"no checkpoint in {folder}: the run stopped before its first one; start it again")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        previous = folder / "previous.pt"
        remedy = f"; copy {previous} over it to go on from there" if previous.is_file() else ""
        raise UserError(f"checkpoint {path} is damaged ({type(error).__name__}){remedy}") from error
    if state.get("format") != FORMAT:
        raise UserError(f"checkpoint {path} has format {state.get('format')}, this version reads {FORMAT}")
    return state


def random_state() -> dict[str, Any]:
    """Torch's global random state: only a backbone's own dropout depends on it."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
