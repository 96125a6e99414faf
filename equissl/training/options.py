"""How a run is carried out: devices, loggers, and when to log, save and stop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from equissl.config.serialize import from_dict, to_dict
from equissl.config.validation import Checked, check_bounds
from equissl.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options(Checked):
    """Settings of a run that do not change its numbers; a resumed run keeps those it was started with.

    Args:
        accelerator: "auto" (cuda where there is one, otherwise cpu, on a Mac too), "cpu", "cuda".
        devices: number of processes, at most the cores or GPUs; the recipe's batch size is divided among
            them, and BatchNorm has statistics of all of it. Under torchrun they are its processes.
        loggers: besides ``log.jsonl``: "tensorboard", "wandb", "mlflow".
        log_every: steps between logged rows.
        save_every: steps between checkpoints, besides one every ``save_minutes`` and those at start and end.
        stop_after: steps after which to stop as if interrupted; 0 for never.
        silent: show no progress, the default from Python; the commands pass False.
    """

    accelerator: str = "auto"
    devices: int = 1
    loggers: tuple[str, ...] = ("tensorboard",)
    log_every: int = 10
    save_every: int = 0
    save_minutes: float = 5.0
    stop_after: int = 0
    silent: bool = True

    def __post_init__(self) -> None:
        try:
            check_bounds(self, "devices", "log_every", low=1)
            check_bounds(self, "save_every", "save_minutes", "stop_after", low=0)
        except ValueError as error:
            raise UserError(str(error)) from error

    def stored(self) -> Any:
        """Plain data of what a resumed run keeps."""
        return to_dict(replace(self, accelerator="auto", stop_after=0, silent=True))

    @classmethod
    def kept(cls, environment: Any) -> Options:
        """The options in a run's ``environment.json``; loggers that write outside its folder are left out.

        Raises:
            UserError: they are damaged.
        """
        stored = environment.get("options") if isinstance(environment, dict) else None
        if stored is None:
            return cls()
        try:
            options: Options = from_dict(stored, cls)
        except UserError as error:
            raise UserError(
                [f"environment.json: options: {p}; give options of your own" for p in error.problems]
            ) from error
        local = tuple(name for name in options.loggers if name == "tensorboard")
        return replace(options, accelerator="auto", stop_after=0, silent=True, loggers=local)
