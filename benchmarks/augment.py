"""How fast views are made, against what people use today.

    uv run --group peers python benchmarks/augment.py [--rounds 5] [--compile]
        [--only cifar|imagenet|instruction-sets|cores]

Every candidate makes the same kind of view from the same 8-bit images, in turns within one process, on one
thread; a rate is images per second of processor time (equal to wall time on a quiet machine), the median of
the rounds with their spread. Ratios are taken round by round. Decoding is not part of it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NO_ALBUMENTATIONS_UPDATE"):
    os.environ.setdefault(variable, "1")

import albumentations  # noqa: E402
import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from lightly.transforms.simclr_transform import SimCLRTransform  # noqa: E402
from PIL import Image  # noqa: E402
from policies import (  # noqa: E402
    CIFAR,
    IMAGENET,
    MEAN,
    STD,
    Policy,
    Run,
    engine,
    kornia,
    make_images,
    torchvision_steps,
)
from torch import Tensor  # noqa: E402
from torchvision.transforms import v2  # noqa: E402

from equissl.augment import base, native, native_compile  # noqa: E402
from equissl.augment.engine import Engine  # noqa: E402
from equissl.params import Params, Space  # noqa: E402


def torchvision_pil(policy: Policy, images: Tensor, flush: bool = False) -> Run:
    ending = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    transform = v2.Compose([*torchvision_steps(policy), *ending])
    sources = [Image.fromarray(i.permute(1, 2, 0).numpy()) for i in images[: policy.few]]

    def run() -> Tensor:
        torch.set_flush_denormal(flush)
        try:
            return torch.stack([transform(s) for s in sources])
        finally:
            torch.set_flush_denormal(False)

    return run


def lightly(policy: Policy, images: Tensor) -> Run:
    """Its SimCLR transform; two views a call, counted as two. It has no solarize."""
    b, c, s, h = policy.jitter
    transform = SimCLRTransform(
        input_size=policy.size, cj_strength=1.0, cj_bright=b, cj_contrast=c, cj_sat=s, cj_hue=h,
        gaussian_blur=policy.blur, sigmas=(0.1, 2.0), normalize={"mean": list(MEAN), "std": list(STD)},
    )  # fmt: skip
    sources = [Image.fromarray(i.permute(1, 2, 0).numpy()) for i in images[: policy.few // 2]]
    return lambda: torch.stack([view for s in sources for view in transform(s)])


def albumentation(policy: Policy, images: Tensor) -> Run:
    A = albumentations
    steps: list[Any] = [
        A.RandomResizedCrop((policy.size, policy.size), scale=(0.08, 1.0)),
        A.HorizontalFlip(),
        A.ColorJitter(*((max(0, 1 - j), 1 + j) for j in policy.jitter[:3]), policy.jitter[3], p=0.8),
        A.ToGray(p=0.2),
    ]
    if policy.blur:
        steps += [A.GaussianBlur(blur_limit=(23, 23), sigma_limit=(0.1, 2.0), p=policy.blur)]
        steps += [A.Solarize((0.5, 0.5), p=policy.solarize)]
    transform = A.Compose([*steps, A.Normalize(MEAN, STD)])
    sources = [np.ascontiguousarray(i.permute(1, 2, 0).numpy()) for i in images]

    def run() -> Tensor:
        made = [transform(image=s)["image"] for s in sources]
        return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).contiguous()

    return run


def candidates(policy: Policy) -> dict[str, tuple[Run, int]]:
    """Name -> what makes views, and how many it makes."""
    images = make_images(policy)
    many, few = policy.count, policy.few
    return {
        "torchvision, PIL": (torchvision_pil(policy, images), few),
        "torchvision, PIL, denormals flushed": (torchvision_pil(policy, images, flush=True), few),
        "lightly": (lightly(policy, images), few // 2 * 2),
        "kornia": (kornia(policy, images), many),
        "albumentations": (albumentation(policy, images), many),
        "equissl torch": (engine(policy, images, "torch"), many),
        "equissl native": (engine(policy, images, "native"), many),
        "equissl native, bfloat16": (engine(policy, images, "native", dtype=torch.bfloat16), many),
        "equissl native, channels last": (engine(policy, images, "native", channels_last=True), many),
    }


def interleaved(runs: dict[str, tuple[Run, int]], rounds: int) -> dict[str, list[float]]:
    """Images per second of processor time, candidate by candidate, round after round."""
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for run, _ in runs.values():
        run()
    for number in range(rounds):
        for name, (run, count) in runs.items():
            began, repeats = time.process_time(), 0
            while time.process_time() - began < 0.3:
                run()
                repeats += 1
            rates[name].append(count * repeats / (time.process_time() - began))
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return rates


def table(policy: Policy, rates: dict[str, list[float]]) -> str:
    peers = [n for n in rates if not n.startswith("equissl")]
    lines = [
        f"### {policy.name}",
        "",
        "| | images/s | spread | torch / it | native / it |",
        "|---|---|---|---|---|",
    ]
    for name, values in rates.items():
        cells = [name, f"{statistics.median(values):,.0f}", f"{min(values):,.0f} to {max(values):,.0f}"]
        for way in ("torch", "native"):
            pairs = zip(rates[f"equissl {way}"], values, strict=True)
            cells.append(f"{statistics.median(a / b for a, b in pairs):.2f}" if name in peers else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def instruction_sets(rounds: int) -> str:
    """Native code on each instruction set that this processor has, against the best; sampling included."""
    names = list(native_compile.instruction_sets())
    names = names[names.index(native.instruction_set()) :]
    lines = ["### Instruction sets", "", f"| | {' | '.join(names)} | torch |"]
    lines.append("|---|" + "---|" * (len(names) + 1))
    for policy in (CIFAR, IMAGENET):
        images = make_images(policy)
        runs = {name: (on(name, engine(policy, images, "native")), policy.count) for name in names}
        runs["torch"] = (engine(policy, images, "torch"), policy.count)
        rates = interleaved(runs, rounds)
        ratios = [
            statistics.median(a / b for a, b in zip(values, rates[names[0]], strict=True))
            for values in rates.values()
        ]
        lines.append(f"| {policy.name} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")
    return "\n".join([*lines, ""])


def on(instruction_set: str, run: Run) -> Run:
    def chosen() -> Any:
        with mock.patch.object(native, "instruction_set", return_value=instruction_set):
            return run()

    return chosen


class Bare:
    """What a draw must hold for the images' sake alone: no flags, no checks, no space."""

    device = None

    def __init__(self, values: dict[str, Tensor], count: int):
        self.values, self.count = values, count

    @staticmethod
    def merge(parts: list[Bare], count: int) -> Bare:
        return Bare({name: value for part in parts for name, value in part.values.items()}, count)

    @staticmethod
    def of(
        space: Space, values: dict[str, Tensor], applied: Tensor | None = None, count: int | None = None
    ) -> Bare:
        if applied is None:
            return Bare(values, count or 0)
        on = applied[:, None]
        return Bare({f.name: torch.where(on, values[f.name], f.neutral(1)) for f in space}, len(applied))


def unrecorded(run: Run) -> Run:
    def bare() -> Any:
        with mock.patch.object(Params, "of", Bare.of), mock.patch.object(base, "merge", Bare.merge):
            return run()

    return bare


def recording(rounds: int) -> str:
    """What the record costs: the same draws and images with it and without."""
    lines = ["### Recording", "", "| | fraction of the time |", "|---|---|"]
    for policy in (CIFAR, IMAGENET):
        images = make_images(policy)
        runs: dict[str, tuple[Run, int]] = {
            "whole": (engine(policy, images, "native"), 1),
            "bare": (unrecorded(engine(policy, images, "native")), 1),
        }
        rates = interleaved(runs, rounds)
        pairs = zip(rates["whole"], rates["bare"], strict=True)
        share = statistics.median(1 - whole / other for whole, other in pairs)
        lines.append(f"| {policy.name}, {policy.count} images | {share:.1%} |")
    return "\n".join([*lines, ""])


def memory() -> str:
    """Peak memory while a batch is made, beyond what was there, against the bytes of the batch."""
    lines = ["### Memory", "", "| | peak / bytes of the views |", "|---|---|"]
    for policy in (CIFAR, IMAGENET):
        for way in ("torch", "native"):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                ratio = pool.apply(_peak, (policy, way))
            lines.append(f"| {way}, {policy.name} | {ratio:.1f} |")
    return "\n".join([*lines, ""])


def _peak(policy: Policy, way: Engine) -> float:
    torch.set_num_threads(1)
    images = make_images(policy).repeat(8, 1, 1, 1)
    engine(policy, images[:8], way)()  # libraries are loaded and caches filled
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = _kilobytes("VmRSS")
    views = engine(policy, images, way)()
    return 1024 * (_kilobytes("VmHWM") - before) / (views.numel() * views.element_size())


def _kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def scaling(rounds: int) -> str:
    """Two threads, and two processes, against one; in wall time."""
    lines = ["### Two cores", "", "| | against one |", "|---|---|"]
    for policy in (CIFAR, IMAGENET):
        run = engine(policy, make_images(policy), "native")
        gains = []
        for _ in range(rounds):
            rates = []
            for threads in (1, 2):
                torch.set_num_threads(threads)
                run()
                began, repeats = time.perf_counter(), 0
                while time.perf_counter() - began < 0.5:
                    run()
                    repeats += 1
                rates.append(repeats / (time.perf_counter() - began))
            gains.append(rates[1] / rates[0])
        torch.set_num_threads(1)
        lines.append(f"| two threads, {policy.name} | {_spread(gains)} |")
        context = multiprocessing.get_context("spawn")
        with context.Pool(2) as pool:
            pool.map(_alone, [(policy, 0.1)] * 2, chunksize=1)
            gains = []
            for _ in range(rounds):
                one = pool.map(_alone, [(policy, 1.0)], chunksize=1)[0]
                gains.append(sum(pool.map(_alone, [(policy, 1.0)] * 2, chunksize=1)) / one)
        lines.append(f"| two processes, {policy.name} | {_spread(gains)} |")
    return "\n".join([*lines, ""])


def _alone(job: tuple[Policy, float]) -> float:
    policy, seconds = job
    torch.set_num_threads(1)
    run = engine(policy, make_images(policy), "native")
    run()
    began, repeats = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        run()
        repeats += 1
    return repeats / (time.perf_counter() - began)


def compiled() -> str:
    """torch.compile on this device: start-up and speed."""
    policy = CIFAR
    images = make_images(policy)
    run = engine(policy, images, "compile")
    began = time.perf_counter()
    run()
    start = time.perf_counter() - began
    rate = statistics.median(interleaved({"c": (run, policy.count)}, 3)["c"])
    return f"### torch.compile, {policy.name}\n\n{rate:,.0f} images/s after {start:.0f} s of compiling\n"


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default 5)")
    parser.add_argument(
        "--only", choices=["cifar", "imagenet", "instruction-sets", "cores"], help="one table"
    )
    parser.add_argument("--compile", action="store_true", help="also torch.compile (minutes)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for name, policy in (("cifar", CIFAR), ("imagenet", IMAGENET)):
        if options.only in (None, name):
            print(table(policy, interleaved(candidates(policy), options.rounds)), flush=True)
    if options.only in (None, "instruction-sets"):
        print(instruction_sets(options.rounds), flush=True)
    if options.only is None:
        print(recording(options.rounds), flush=True)
        print(memory(), flush=True)
    if options.only in (None, "cores"):
        print(scaling(options.rounds), flush=True)
    if options.compile:
        print(compiled())


if __name__ == "__main__":
    main()
