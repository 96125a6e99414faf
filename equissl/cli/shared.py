"""What several verbs need: a device, a model by name, the packages to trust."""

from __future__ import annotations

from equissl.cli.arguments import Given
from equissl.distributed import resolve_device
from equissl.runs.load import Loaded, load_encoder
from equissl.training.options import Options


def device(given: Given) -> str:
    """The device asked for; "auto" is cuda where there is one."""
    return resolve_device(str(given["device"]))


def trusted(given: Given) -> tuple[str, ...]:
    """Packages whose code a run may name."""
    return ("equissl", *given["trust"])


def load_model(name: str, given: Given) -> Loaded:
    """An encoder by name, with the keys ``weights``, ``size`` and ``trust``."""
    return load_encoder(name, weights=given["weights"], size=given["size"], trusted=trusted(given))


def options(given: Given) -> Options:
    """How to carry out a run, from the keys of pretrain and resume."""
    return Options(
        accelerator={"cuda": "cuda", "cpu": "cpu"}[device(given)],
        devices=given["devices"],
        loggers=tuple(given["loggers"]),
        log_every=given["log_every"],
        save_every=given["save_every"],
        stop_after=given["stop_after"],
    )
