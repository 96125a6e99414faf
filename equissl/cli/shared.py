"""What several verbs need: a device, a model by name, the packages to trust."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from equissl.cli.grammar.arguments import Arguments
from equissl.distributed import check_devices, resolve_device
from equissl.runs.load import Loaded, load_encoders
from equissl.training.options import Options


def device(args: Arguments) -> str:
    """The device asked for; "auto" is cuda where there is one."""
    return resolve_device(str(args["device"]))


def trusted(args: Arguments) -> tuple[str, ...]:
    """What a run or an export may do besides, see SECURITY.md: the packages of ``trust=``."""
    return tuple(args["trust"])


def load_models(names: Sequence[str], args: Arguments, say: Callable[[str], object]) -> list[Loaded]:
    """Encoders by name, with the keys ``weights``, ``size``, ``mean``, ``std``, ``seed`` and ``trust``.

    All of them are loaded and checked before any is returned; ``say`` is called with lines on what they are.
    """
    options = {name: args[name] for name in ("weights", "size", "mean", "std", "seed")}
    return load_encoders(names, trusted=trusted(args), say=say, **options)


def options(args: Arguments, kept: Options = Options()) -> Options:
    """How to carry out a run, from the keys of pretrain and resume; what is absent is as in ``kept``."""
    names = ("devices", "loggers", "log_every", "save_every", "stop_after")
    given = {name: args[name] for name in names if args[name] is not None}
    accelerator = {"cuda": "cuda", "cpu": "cpu"}[device(args)]
    check_devices(given.get("devices", 1), accelerator)
    return replace(kept, accelerator=accelerator, silent=False, **given)
