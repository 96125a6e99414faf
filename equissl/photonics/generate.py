"""CrystalRecords in a file: cells, their densities of states, and the plan that made them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from equissl.errors import Stopped, UserError
from equissl.photonics.cells import Kind, kind_of
from equissl.photonics.dos import Spectrum, density_of_states
from equissl.photonics.lattice import Lattice
from equissl.photonics.waves import check_size
from equissl.progress import Progress
from equissl.random import Stream
from equissl.storage import atomic_path, write_text
from equissl.training.signals import Interruption

CHUNK = 128  # cells between two savings
_BATCH = {"cpu": 1}  # cells per solve: on a CPU one fits its cache and threads share the rest
_CUDA_BATCH = 32
_FORMAT = "equissl crystals 1"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that decides what is in the file.

    Args:
        kind: "blob", "gpm" (the paper's name for pm), or a plane group.
        count: cells.
        labelled: of the last so many the density of states is computed, -1 for all.
        size: side in pixels.
        harmonics: of a level set, 0 for the fewest that show its group.
        seed: of the cells; a longer file with the same seed starts with the same cells.

    Raises:
        UserError: listing every field that is out of its range.
    """

    kind: str
    count: int
    labelled: int = -1
    size: int = 32
    harmonics: int = 0
    seed: int = 0
    spectrum: Spectrum = field(default_factory=Spectrum)

    def __post_init__(self) -> None:
        problems = []
        if self.count < 1:
            problems.append(f"count must be at least 1, got {self.count}")
        if not -1 <= self.labelled <= self.count:
            problems.append(f"labelled must be 0 ... count={self.count}, or -1 for all, got {self.labelled}")
        for check in (
            lambda: kind_of(self.kind, self.harmonics),
            lambda: check_size(self.size, self.spectrum.order),
        ):
            try:
                check()
            except UserError as error:
                problems += error.problems
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise UserError(problems)

    @property
    def maker(self) -> Kind:
        return kind_of(self.kind, self.harmonics)

    @property
    def labels(self) -> int:
        """How many cells have a label: the last ones."""
        return self.count if self.labelled < 0 else self.labelled

    def stream(self, start: int, stop: int) -> Stream:
        return Stream.of(torch.arange(start, stop), self.seed, "crystal")

    def text(self) -> str:
        return json.dumps({"format": _FORMAT, **asdict(self)}, sort_keys=True)

    @staticmethod
    def read(text: str) -> Plan:
        """What ``text`` gave.

        Raises:
            UserError: the text is of something else.
        """
        stored = json.loads(text)
        if stored.pop("format", "") != _FORMAT:
            raise UserError("it was not written by `equissl render photonics`")
        return Plan(**{**stored, "spectrum": Spectrum(**stored["spectrum"])})


@dataclass(frozen=True)
class CrystalRecords:
    """What a file holds.

    Args:
        epsilon: float32 (N, size, size); inside, outside, fill: float32 (N,).
        dos: normalised density of states of the last cells, float32 (M, kept), M <= N.
    """

    plan: Plan
    epsilon: Tensor
    inside: Tensor
    outside: Tensor
    fill: Tensor
    dos: Tensor


def generate(
    plan: Plan, out: Path, *, device: str = "cpu", threads: int = 0, progress: Progress | None = None
) -> int:
    """Write the file ``out``; interrupted at any time, the same call goes on where the last one stopped.

    Args:
        threads: cells solved side by side on a CPU; 0 for as many as torch uses.

    Returns:
        How many cells this call made: less than the plan's count if some were there before.

    Raises:
        UserError: ``out`` holds something else. ``Stopped``: an interruption; what is done is saved.
    """
    parts = out.with_name(f".{out.name}.parts")
    if out.exists():
        if out.is_dir() or not _same(out, plan):
            raise UserError(f"out={out} holds something else; choose another file")
        return 0
    _claim(parts, plan, out)
    made, done = 0, 0
    with Interruption() as interruption:
        for start in range(0, plan.count, CHUNK):
            stop = min(start + CHUNK, plan.count)
            part = parts / f"{start:09d}.safetensors"
            if not part.is_file():
                _save(part, _chunk(plan, start, stop, device, threads), {})
                made += stop - start
            done = stop
            if progress is not None:
                progress("cells", done, plan.count)
            if interruption.requested and done < plan.count:
                raise Stopped(
                    f"interrupted after {done} of {plan.count} cells; they are saved, "
                    "and the same command goes on"
                )
    chunks = [_load(p)[0] for p in sorted(parts.glob("*.safetensors"))]
    whole = {name: torch.cat([c[name] for c in chunks]) for name in chunks[0]}
    _save(out, whole, {"plan": plan.text()})
    shutil.rmtree(parts)
    return made


def load(path: Path) -> CrystalRecords:
    """
    Raises:
        UserError: there is no such file, or it is no file of crystals.
    """
    if not path.is_file():
        raise UserError(f"no file {path}; make one: equissl render photonics kind=blob count=2000 out={path}")
    try:
        tensors, notes = _load(path)
        plan = Plan.read(notes.get("plan", "{}"))
    except (SafetensorError, UserError, TypeError, KeyError) as error:
        raise UserError(f"{path} is not a file of crystals: {error}") from error
    return CrystalRecords(plan, **tensors)


def labels(
    epsilon: Tensor, spectrum: Spectrum, lattice: Lattice, *, device: str = "cpu", threads: int = 0
) -> Tensor:
    """Densities of states of many cells: float32 or float64 (N, size, size) -> float64 (N, kept), on the CPU.

    A cell's label does not depend on the others on a CPU; on a GPU it may by rounding.
    """
    batch = _BATCH.get(torch.device(device).type, _CUDA_BATCH)

    def one(cells: Tensor) -> Tensor:
        return density_of_states(cells.to(device), spectrum, lattice).cpu()

    if not len(epsilon):
        return torch.empty(0, spectrum.kept, dtype=torch.float64)
    pieces = torch.split(epsilon, batch)
    if torch.device(device).type != "cpu":
        return torch.cat([one(piece) for piece in pieces])
    with _single_threads() as available, ThreadPoolExecutor(threads or available) as pool:
        return torch.cat(list(pool.map(one, pieces)))


def _chunk(plan: Plan, start: int, stop: int, device: str, threads: int) -> dict[str, Tensor]:
    cells = plan.maker.draw(plan.stream(start, stop), plan.size)
    wanted = cells.epsilon[max(plan.count - plan.labels - start, 0) :]
    dos = labels(wanted, plan.spectrum, plan.maker.lattice, device=device, threads=threads)
    return {
        "epsilon": cells.epsilon,
        "inside": cells.inside,
        "outside": cells.outside,
        "fill": cells.fill,
        "dos": dos.float(),
    }


@contextmanager
def _single_threads() -> Iterator[int]:
    """One thread per operation: the matrices are small, and cells are shared among threads instead."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def _claim(parts: Path, plan: Plan, out: Path) -> None:
    """Make the folder of parts, or make sure that it is of the same plan."""
    note = parts / "plan.json"
    if note.is_file() and note.read_text(encoding="utf-8") != plan.text():
        raise UserError(
            f"{parts} holds the beginning of another plan for {out}; finish that one or remove it"
        )
    parts.mkdir(parents=True, exist_ok=True)
    write_text(note, plan.text())


def _same(out: Path, plan: Plan) -> bool:
    try:
        return load(out).plan == plan
    except UserError:
        return False


def _save(path: Path, tensors: dict[str, Tensor], notes: dict[str, str]) -> None:
    with atomic_path(path) as partial:
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial, notes)


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
