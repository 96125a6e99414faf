"""Legs of the CIFAR-10 recipes: each call trains them for a while and leaves checkpoints to go on from.

The networks are narrow (ResNet-18 with 20 to 160 channels, heads of at most 320), so that a checkpoint with
its optimizer stays below 16 MB; views, objectives, optimizers and schedules are the recipes' own.
"""

from __future__ import annotations

import lzma
import os
import shutil
import signal
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from equissl.api.pretrain import pretrain, resume
from equissl.augment.engine import Engine
from equissl.data.image_folder import ImageFolder, write_images
from equissl.encoder.backbone import EncoderConfig
from equissl.equivariance.equimod import EquiMod
from equissl.equivariance.essl import ESSL
from equissl.errors import Stopped, UserError
from equissl.invariance.simclr import SimCLR
from equissl.recipe import Recipe
from equissl.recipes import equimod, essl
from equissl.runs.folder import Run
from equissl.storage import read_json
from equissl.training import checkpoint
from equissl.training.options import Options
from equissl.training.signals import sigterm_interrupts

LEGS: dict[str, Callable[[], Recipe]] = {
    "simclr": equimod.baseline_simclr_cifar10,
    "simclr_equimod": equimod.simclr_cifar10,
    "essl": essl.simclr_cifar10,
}
CHANNELS, HEAD = (20, 40, 80, 160), 320
MAX_CHECKPOINT = 16_000_000  # bytes


def narrow(recipe: Recipe) -> Recipe:
    """The recipe with a narrow encoder and narrow heads."""
    assert isinstance(recipe.encoder, EncoderConfig) and isinstance(recipe.base, SimCLR.Config)
    options = {**recipe.encoder.options, "channels": CHANNELS, "stem_width": CHANNELS[0]}
    modules = {name: replace(w, module=_narrow_module(w.module)) for name, w in recipe.modules.items()}
    return replace(
        recipe,
        encoder=replace(recipe.encoder, options=options),
        base=replace(recipe.base, projector=_widths(recipe.base.projector)),
        modules=modules,
    )


def _narrow_module(module: Any) -> Any:
    if isinstance(module, EquiMod.Config):
        return replace(module, projector=_widths(module.projector))
    assert isinstance(module, ESSL.Config)
    return replace(module, hidden=_widths(module.hidden))


def _widths(widths: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(min(width, HEAD) for width in widths)


def leg(name: str, data: ImageFolder, tiny: bool, engine: Engine) -> Recipe:
    """The recipe of a leg; ``tiny``: of a rehearsal on a CPU."""
    recipe = replace(
        narrow(LEGS[name]()), data=data, precision="bf16-mixed", compile=True, engine=engine, monitor_every=0
    )
    if not tiny:
        return recipe
    assert isinstance(recipe.encoder, EncoderConfig)
    encoder = replace(recipe.encoder, name="test_resnet", stem="timm", options={})
    return replace(recipe, encoder=encoder, compile=False, batch_size=8, epochs=100, precision="32-true")


def images(archive: Path, folder: Path, tiny: bool) -> ImageFolder:
    """CIFAR-10 from its archive, unpacked below ``folder`` once; random images without it.

    Raises:
        UserError: the archive is damaged, or has no folder "train".
    """
    known = archive.is_file() and not tiny
    train = folder / ("cifar10" if known else "random")
    if not train.is_dir():  # it appears whole: a call may be ended at any moment
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as partial:
            made = Path(partial, "train")
            if known:
                _unpack(archive, Path(partial))
            else:
                write_images(made, dict.fromkeys("ab", 16 if tiny else 2048), side=32)
            made.rename(train)
    return ImageFolder(str(train), size=32, labels="folders")


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, lzma.LZMAError, OSError) as error:
        raise UserError(f"{archive} cannot be unpacked ({error}); copy it again") from error
    if not (folder / "train").is_dir():
        raise UserError(f"{archive} has no folder train; expected train/CLASS/NAME.jpg")


@contextmanager
def stopped_after(seconds: float, is_up: threading.Event) -> Iterator[None]:
    """Ask this process to stop, as SIGTERM does: training ends between two steps, with a checkpoint.

    ``is_up`` is set then; where it is not, a user stopped the process.
    """

    def stop() -> None:
        is_up.set()
        os.kill(os.getpid(), signal.SIGTERM)

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def run_leg(recipe: Recipe, out: Path, earlier: Path, seconds: float, steps: int = 0) -> dict[str, Any]:
    """Train from the checkpoint in ``out`` or in ``earlier``, if there is one, for so many seconds.

    Args:
        steps: to do at most; 0 for as many as there is time for.

    Returns:
        "steps" and "images_per_second" of this call (None where no row was logged), "step" and "loss" at its
        end, "checkpoint" in bytes, "resumed", and "recipe" as the run has it.

    Raises:
        Stopped: by someone else than the time.
        UserError: a damaged checkpoint, or no time to begin.
    """
    if not out.exists() and (earlier / "recipe.json").is_file():
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent) as partial:
            shutil.copytree(earlier, Path(partial, "run")).rename(out)
    begun = (out / "recipe.json").is_file()
    data = recipe.data
    assert isinstance(data, ImageFolder)
    run, began = Run(out), time.monotonic()
    try:
        before = _saved_step(run) if begun else 0
    except UserError as error:
        raise UserError(f"{error}; remove {out} to begin this leg again") from error
    options = Options(loggers=(), log_every=10 if not steps else 1, stop_after=before + steps if steps else 0)
    time_is_up = threading.Event()
    try:
        with sigterm_interrupts(), stopped_after(seconds, time_is_up):
            if begun:
                resume(out, {"data.path": data.path}, options)
            else:
                pretrain(recipe, out, options)
    except (Stopped, KeyboardInterrupt):  # before training, a signal is the latter
        by_steps = steps and (out / "recipe.json").is_file() and _saved_step(run) == before + steps
        if not (time_is_up.is_set() or by_steps):
            raise
        if not (out / "recipe.json").is_file():
            raise UserError(f"{seconds:.0f} s were too short to begin") from None
    (run.checkpoints / "previous.pt").unlink(missing_ok=True)  # what comes back is small
    rows = [r for r in run.log if "loss" in r]
    last = rows[-1] if rows else {}
    size = (run.checkpoints / "last.pt").stat().st_size
    if size > MAX_CHECKPOINT:
        raise AssertionError(f"the checkpoint has {size:,} bytes, more than {MAX_CHECKPOINT:,}")
    rates = sorted(r["images_per_second"] for r in rows if r["step"] > before)
    return {
        "steps": _saved_step(run) - before,
        "seconds": time.monotonic() - began,
        "images_per_second": rates[len(rates) // 2] if rates else None,
        "step": _saved_step(run),
        "loss": last.get("loss"),
        "checkpoint": size,
        "resumed": begun,
        "recipe": read_json(out / "recipe.json"),
    }


def _saved_step(run: Run) -> int:
    return int(checkpoint.load(run.checkpoints)["step"])
