"""What several verbs need: a folder of images, a device, the packages to trust."""

from __future__ import annotations

from pathlib import Path

import torch

from equissl.cli.arguments import Given
from equissl.data.base import Data
from equissl.data.image_folder import ImageFolder
from equissl.data.packs.threediebench_layout import Source
from equissl.data.threediebench import ThreeDIEBench
from equissl.errors import UserError
from equissl.training.options import Options


def device(given: Given) -> str:
    """The device asked for; "auto" is cuda where there is one.

    Raises:
        UserError: it is not there.
    """
    wanted = str(given["device"])
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            "device=cuda: this machine has no CUDA device that torch can use (see `equissl doctor`)"
        )
    if wanted not in ("cpu", "cuda"):
        raise UserError(f"device={wanted}: expected auto, cpu or cuda")
    return wanted


def folder(
    path: Path, size: int, labels: str = "none", test_share: float = 0.1, limit: int | None = None
) -> Data:
    """A user's images; the path is made absolute, so that a run can be resumed from anywhere.

    A folder in 3DIEBench's layout is read with what it knows of every image, in its own split and with its
    own labels; ``limit`` counts objects there.
    """
    if Source.recognises(path):
        return ThreeDIEBench(path=str(path.resolve()), size=size, paired=True, limit=limit)
    table = labels if labels in ("none", "folders") else str(Path(labels).expanduser().resolve())
    return ImageFolder(str(path.resolve()), size, table, test_share=test_share, limit=limit)


def trusted(given: Given) -> tuple[str, ...]:
    """Packages whose code a run may name."""
    return ("equissl", *given["trust"])


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
