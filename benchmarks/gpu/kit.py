"""The GPU kit; ``run.sh`` starts it. Parts share the time, and one that finds none left says so.

Without a CUDA device everything runs on the CPU with tiny sizes: a rehearsal, whose figures say nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import carried

if TYPE_CHECKING:
    from results import Results

carried.append_wheels()
ROOT = Path(__file__).resolve().parents[2]
RESERVE = 15.0  # seconds at the end, for checkpoints and files
MIN_SECONDS = 5.0  # a part that has less is left out
REHEARSED = 300.0  # seconds that any part of a rehearsal may take
SHARES = {"tests": 0.12, "augmentation": 0.15, "step": 0.2}  # of all time; the legs have the rest


def main(argument: str) -> int:
    out, folder = Path(os.environ["OUT"]), Path(os.environ["CARRY"])
    print(carried.instructions(folder))
    if argument == "what":
        return 0
    print("\n".join(carried.state(folder)), flush=True)
    if names := carried.missing(carried.WHEELS):
        print(f"nothing was run: {', '.join(names)} cannot be imported")
        return 1
    try:
        minutes = float(argument)
    except ValueError:
        minutes = -1.0
    if not 0 <= minutes <= 1440:
        print(f"minutes={argument}: expected a number from 0 to 1440, or `what`")
        return 2
    from equissl.errors import Stopped
    from equissl.training.signals import sigterm_interrupts

    try:
        with sigterm_interrupts():
            run(minutes, out, folder)
    except (Stopped, KeyboardInterrupt) as stop:
        print(f"stopped: {stop or 'interrupted'}; what was measured is in {out}")
        return 130
    return 0


def run(minutes: float, out: Path, folder: Path) -> None:
    """All parts, one after the other; a part that fails is written down with its reason."""
    import torch
    from results import Results

    cuda = torch.cuda.is_available()
    results = Results(out, environment_line(), 60 * minutes)
    if not cuda:
        say = "no CUDA device: a rehearsal on the CPU with tiny sizes, whose figures say nothing"
        results.add("environment", say, None, "")
    print(results.environment, flush=True)
    if cuda:  # all that was measured is written, and checkpoints are whole
        hard = threading.Timer(results.seconds + 20, os._exit, (3,))
        hard.daemon = True
        hard.start()
    results.write()
    engines: dict[str, float] = {}
    parts: dict[str, Callable[[float], None]] = {
        "tests": lambda seconds: tests(results, seconds),
        "augmentation": lambda seconds: engines.update(augmentation(results, seconds, cuda)),
        "step": lambda seconds: step(results, seconds, cuda),
        **legs(results, folder, out, engines, cuda),
    }
    for number, (name, part) in enumerate(parts.items()):
        left = results.left - RESERVE if cuda else results.left
        if not cuda and minutes:
            left = max(left, REHEARSED)  # tiny work, which is done to its end
        share = SHARES.get(name)
        seconds = min(left, share * results.seconds) if share else left / (len(parts) - number)
        if left < MIN_SECONDS:
            results.add(name, "skipped", None, "", f"the time is up ({max(0.0, left):.0f} s are left)")
        else:
            guarded(results, name, lambda part=part, seconds=seconds: part(max(seconds, MIN_SECONDS)))
        results.write()
    results.imported = third_party()
    results.write()
    print(f"written: {out / 'results.md'}, {out / 'results.json'}")


def guarded(results: Results, name: str, work: Callable[[], object]) -> None:
    """Do a part; whatever it raises becomes a row, and the next part goes on, unless a user stopped it."""
    from equissl.errors import Stopped

    try:
        work()
    except Stopped:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        results.add(name, "failed", None, "", f"{type(error).__name__}: {lines[0][:300]}")


def third_party() -> list[str]:
    """The modules that were imported from outside Python and this tree."""
    tops = {name.partition(".")[0] for name in sys.modules}
    files = {name: getattr(sys.modules.get(name), "__file__", None) or "" for name in tops}
    return sorted(name for name, file in files.items() if "site-packages" in file)


def environment_line() -> str:
    import torch

    words = [f"python {sys.version.split()[0]}", f"torch {torch.__version__}", f"{os.cpu_count()} CPU cores"]
    if torch.cuda.is_available():
        found = torch.cuda.get_device_properties(0)
        words += [found.name, f"{found.total_memory / 2**30:.0f} GiB", f"CUDA {torch.version.cuda}"]
    from equissl.runs.folder import environment

    return ", ".join([*words, f"equissl {environment()['commit'] or '(no commit known)'}"])


def tests(results: Results, seconds: float) -> None:
    """The tests marked ``cuda``, in a process of their own."""
    files = [str(p) for p in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.cuda" in p.read_text()]
    options = ["-m", "cuda", "-o", "addopts=--import-mode=importlib", "-p", "no:cacheprovider", "-q"]
    command = [sys.executable, "-m", "pytest", *options, *files]
    paths = os.pathsep.join(p for p in sys.path if p)
    try:
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True,
            timeout=max(seconds, 30), check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        results.add("tests", "marked cuda", None, "", f"not done after {seconds:.0f} s")
        return
    lines = done.stdout.strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    results.add("tests", "marked cuda", done.returncode, "exit code", "; ".join([*lines[-1:], *failed])[:500])


def augmentation(results: Results, seconds: float, cuda: bool) -> dict[str, float]:
    """Views per second on the device; returns those of equissl's engines on the CIFAR policy."""
    from views import measure

    found: dict[str, float] = {}
    for policy, name, value, note in measure(seconds, cuda):
        results.add("augmentation", f"{policy}: {name}", value, "images/s", note)
        results.write()
        if value is not None and name.startswith("equissl") and "32 px" in policy:
            found[name.removeprefix("equissl ")] = value
    return found


def step(results: Results, seconds: float, cuda: bool) -> None:
    """Images per second of the bare network and of a SimCLR step, eager and compiled."""
    import torch
    from step import NETWORKS, bare, equissl, interleaved

    device = torch.device("cuda" if cuda else "cpu")
    names = ("resnet18-cifar", "resnet50-128") if cuda else ("resnet10t-thin",)
    cases = [(n, c) for n in names for c in ((False, True) if cuda else (False,))]
    for name, compiled in cases:
        network = NETWORKS[name]
        if cuda:
            network = type(network)(network.encoder, 512 if network.size == 32 else 256)
        else:
            network = type(network)(network.encoder, 4)
        precision = "bf16-mixed" if cuda else "32-true"
        label = f"{name}, {precision}, {'compiled' if compiled else 'eager'}"
        steps = {way.__name__: way(network, device, precision, compiled) for way in (bare, equissl)}
        turn = seconds / len(cases) / 6 if cuda else 0.01
        rates = interleaved(steps, 2 * network.batch_size, 2 * turn, device, turn)
        medians = {n: sorted(values)[len(values) // 2] for n, values in rates.items()}
        for way, value in medians.items():
            results.add("step", f"{label}: {way}", value, "images/s")
        results.add("step", f"{label}: equissl / bare", medians["equissl"] / medians["bare"], "")
        results.write()


def legs(
    results: Results,
    folder: Path,
    out: Path,
    engines: dict[str, float],
    cuda: bool,
) -> dict[str, Callable[[float], None]]:
    """A part for each leg of the recipes."""
    from legs import LEGS, images, leg, run_leg

    scratch = Path(tempfile.gettempdir()) / f"equissl-gpu-kit-{os.getuid()}-{'cuda' if cuda else 'cpu'}"

    def train(name: str, seconds: float) -> None:
        archive = folder / carried.ARCHIVE
        data = images(archive, scratch, tiny=not cuda)
        engine = "compile" if engines.get("compile", 0) > engines.get("torch", 0) else "torch"
        recipe = leg(name, data, not cuda, engine)
        found = run_leg(recipe, out / "runs" / name, folder / "runs" / name, seconds, 0 if cuda else 2)
        what = "CIFAR-10 (JPEG copy)" if cuda and archive.is_file() else "random images"
        went_on = ", gone on with" if found["resumed"] else ""
        stored, loss = found["recipe"], found["loss"]
        ended = "" if loss is None else f"; loss {loss:.4g}"
        note = f"{what}, {stored['precision']}, engine {stored['engine']}{went_on}{ended}"
        if found["images_per_second"] is None:
            note += "; too few steps for a figure"
        results.add(name, "speed", found["images_per_second"], "images/s", note)
        results.add(name, "step", found["step"], f"({found['steps']} in this call)")
        results.add(name, "checkpoint", found["checkpoint"] / 1e6, "MB")

    return {name: lambda seconds, name=name: train(name, seconds) for name in LEGS}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "9"))
