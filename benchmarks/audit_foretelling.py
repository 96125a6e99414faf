"""Does the audit foretell how well encoders do tasks that need a factor?

    uv run python benchmarks/audit_foretelling.py [--data DIR] [--out DIR] [--encoders N]

Encoders of one small architecture are trained on CIFAR-10 with different augmentations and methods; some
need no training. Each is audited on 300 test images, and linear probes do tasks on 5,000 others: of each task
it is known which factor it needs. Over the encoders, what the audit says of a factor is correlated with the
score at the task that needs it, and with those at the other tasks; also when kNN accuracy of the classes is
partialled out, as a better encoder may be better at everything. What was found of an encoder is kept below
--out, and the same command goes on from there; the tables are printed and written to ``foretelling.md``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from arguments import at_least, in_words
from audit_foretelling_encoders import SIDE, WITHOUT_TRAINING, random_weights, recipes, without_training
from audit_foretelling_statistics import Array, Foretelling, foretelling, spearman
from audit_foretelling_tasks import AUDITS, KIND, NEEDS, SETS, probe_score
from numpy.typing import NDArray
from torch import Tensor

import equissl
from equissl.data.base import Data, Dataset
from equissl.data.image_folder import ImageFolder
from equissl.data.torchvision_sets import Cifar10
from equissl.distributed import limit_threads
from equissl.encoder.encoder import Encoder
from equissl.errors import UserError
from equissl.evaluate.base import Score
from equissl.evaluate.features import plain_images
from equissl.evaluate.probes.knn import knn
from equissl.random import shuffled
from equissl.recipe import Recipe
from equissl.storage import read_object, write_json, write_text

AUDITED = 300  # images
REPEATS, FITTED, SCORED = 2, 1500, 1000  # of the tasks: disjoint images
RANDOM = "random weights"


@dataclass(frozen=True)
class Study:
    """What every encoder is measured with.

    Args:
        audited: (600, 3, 32, 32) uint8, the second half for a second audit.
        bank, bank_labels: images in [0, 1] that the encoders were trained on, and their classes.
        held_out, labels: images of the tasks, for the repeats one after the other, and their classes.
    """

    out: Path
    audited: Tensor
    bank: Tensor
    bank_labels: Tensor
    held_out: Tensor
    labels: Tensor


def images_of(dataset: Dataset, rows: Tensor) -> tuple[Tensor, Tensor]:
    return plain_images(dataset, rows, "image", "cpu"), dataset.labels[rows]


def study_of(data: Data, test: Data, out: Path) -> Study:
    """The images, chosen by seed 0."""
    train, held_out = data.open("train"), test.open("test")
    first = AUDITED + REPEATS * (FITTED + SCORED)
    needed = first + AUDITED
    if len(held_out) < needed:
        raise UserError(f"--data: {len(held_out)} test images, but the study needs {needed}")
    rows = shuffled(len(held_out), 0, "foretelling")[:needed]
    audited, _ = images_of(held_out, torch.cat([rows[:AUDITED], rows[first:]]))
    bank = images_of(train, torch.arange(len(train)))
    return Study(out, (audited * 255).round().byte(), *bank, *images_of(held_out, rows[AUDITED:first]))


def trained(recipe: Recipe, folder: Path) -> Encoder:
    """The encoder of a run, which is started or goes on where it stopped."""
    options = equissl.Options(loggers=(), silent=True)
    started = (folder / "recipe.json").is_file()
    run = equissl.resume(folder, options=options) if started else equissl.pretrain(recipe, folder, options)
    return equissl.load_backbone(run.path)


@torch.inference_mode()
def features(encoder: Encoder, images: Tensor) -> Tensor:
    """(N, D) of images (N, 3, H, W) in [0, 1]."""
    return torch.cat([encoder(part).vector.float() for part in images.split(256)]).clone()


def audited(encoder: Encoder, images: Tensor) -> dict[str, dict[str, float]]:
    """Per task what the audit says of the factors it needs: of their change, and of themselves."""
    rows = equissl.audit(encoder, images, count=AUDITED, draws=1, untrained=0, minutes=0, factors=AUDITS)
    own = {r.name.removeprefix("audit/"): r for r in rows if not r.baseline and r.part == "all"}

    def mean(score: Callable[[Score], Any]) -> dict[str, float]:
        return {t: float(np.mean([score(own[f]) for f in factors])) for t, factors in NEEDS.items()}

    return {"relative": mean(lambda r: r.value), "absolute": mean(lambda r: r.extra["absolute"][0])}


def done(encoder: Encoder, study: Study) -> dict[str, list[float]]:
    """The score at each task in each repeat."""
    tasks: dict[str, list[float]] = {task: [] for task in NEEDS}
    for repeat, images in enumerate(study.held_out.split(FITTED + SCORED)):
        for make in SETS.values():
            made, targets = make(images, repeat)
            x = features(encoder, made)
            for task, y in targets.items():
                tasks[task].append(probe_score(x[:FITTED], y[:FITTED], x[FITTED:], y[FITTED:]))
    return tasks


def knn_accuracy(encoder: Encoder, study: Study) -> float:
    """Of the classes of the images of the tasks."""
    x, x_test = features(encoder, study.bank), features(encoder, study.held_out)
    return float((knn(x, study.bank_labels, x_test) == study.labels).double().mean())


def result_of(name: str, recipe: Recipe | None, study: Study, again: bool) -> dict[str, Any]:
    """What was found of an encoder: read if it is there, otherwise measured and written.

    Args:
        again: audit it a second time, on other images.
    """
    folder = study.out / name.replace("+ ", "with_").replace(" ", "_")
    result, repeated = folder / "result.json", folder / "again.json"
    if not result.is_file() or (again and not repeated.is_file()):
        times = [time.perf_counter()]
        if recipe is not None:
            encoder = trained(recipe, folder / "run")
        else:
            encoder = random_weights(seed=0) if name == RANDOM else without_training(name)
        encoder.eval()
        times.append(time.perf_counter())
        if not result.is_file():
            found: dict[str, Any] = {"name": name, **audited(encoder, study.audited[:AUDITED])}
            times.append(time.perf_counter())
            found |= {"tasks": done(encoder, study), "knn": knn_accuracy(encoder, study)}
            times.append(time.perf_counter())
            spent = np.diff(times).tolist()
            found["seconds"] = dict(zip(("training", "audit", "tasks"), spent, strict=True))
            write_json(result, found)
        if again and not repeated.is_file():
            write_json(repeated, audited(encoder, study.audited[AUDITED:]))
    return read_object(result) | ({"again": read_object(repeated)} if again else {})


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def encoder_table(found: Sequence[Mapping[str, Any]]) -> str:
    """Per encoder kNN accuracy, and per task the audit's score and the probe's."""
    rows = [
        [
            f["name"],
            f"{f['knn']:.2f}",
            *(f"{f['relative'][t]:.2f} / {np.mean(f['tasks'][t]):.2f}" for t in NEEDS),
        ]
        for f in found
    ]
    return table(["encoder", "kNN", *NEEDS], rows)


def arrays(found: Sequence[Mapping[str, Any]], predictor: str) -> tuple[Array, Array, Array]:
    scores = np.array([[f[predictor][t] for t in NEEDS] for f in found])
    tasks = np.array([[np.mean(f["tasks"][t]) for t in NEEDS] for f in found])
    return scores, tasks, np.array([f["knn"] for f in found])


def all_others() -> NDArray[np.bool_]:
    return ~np.eye(len(NEEDS), dtype=bool)


def other_kinds() -> NDArray[np.bool_]:
    """The pairs of a factor and a task of another kind."""
    kinds = np.array(list(KIND.values()))
    return kinds[:, None] != kinds[None]


def task_table(found: Sequence[Mapping[str, Any]]) -> str:
    """Per task its correlation with the audit's score, beside what else would foretell it."""
    scores, tasks, control = arrays(found, "relative")
    result = foretelling(scores, tasks, control, all_others())
    absolute = spearman(arrays(found, "absolute")[0], tasks)
    raw, by_knn = spearman(scores, tasks), spearman(control[:, None], tasks)[0]
    halves = [np.array([[f["tasks"][t][k] for t in NEEDS] for f in found]) for k in range(REPEATS)]
    repeated, names = np.diag(spearman(*halves)), list(NEEDS)
    again = ["-"] * len(NEEDS)
    if all("again" in f for f in found):
        second = np.array([[f["again"]["relative"][t] for t in NEEDS] for f in found])
        again = [f"{r:.2f}" for r in np.diag(spearman(scores, second))]
    rows = []
    for k, task in enumerate(NEEDS):
        best = int(np.nanargmax(np.where(np.arange(len(NEEDS)) == k, -np.inf, raw[:, k])))
        rows.append(
            [
                task,
                f"{tasks[:, k].min():.2f} to {tasks[:, k].max():.2f}",
                f"{repeated[k]:.2f}",
                again[k],
                str(result.own[k]),
                str(result.own_partial[k]),
                f"{absolute[k, k]:.2f}",
                f"{by_knn[k]:.2f}",
                f"{raw[best, k]:.2f} ({names[best]})",
            ]
        )
    header = ["task", "scores", "task again", "audit again", "own factor", "given kNN", "absolute", "kNN"]
    return table([*header, "best other factor"], rows)


def median_table(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Medians over tasks, for groups of encoders, both predictors and both sets of other factors."""
    rows = []
    for group, found in groups.items():
        for predictor in ("relative", "absolute"):
            for label, others in (("all", all_others()), ("other kinds", other_kinds())):
                r: Foretelling = foretelling(*arrays(found, predictor), others)
                shown = (
                    r.matching,
                    r.other,
                    r.difference,
                    r.matching_partial,
                    r.other_partial,
                    r.difference_partial,
                )
                rows.append([f"{group} ({len(found)})", predictor, label, *map(str, shown)])
    header = ["encoders", "score", "others", "own", "other", "difference"]
    return table([*header, "own given kNN", "other given kNN", "difference given kNN"], rows)


def report(found: Sequence[Mapping[str, Any]], is_trained: Sequence[bool]) -> str:
    groups = {"all": found, "trained": [f for f, t in zip(found, is_trained, strict=True) if t]}
    seconds = {k: sum(f["seconds"][k] for f in found) for k in ("training", "audit", "tasks")}
    spent = ", ".join(f"{k} {s / 60:.0f} min" for k, s in seconds.items())
    parts = [
        "Audit / task of each encoder:",
        encoder_table(found),
        "Spearman's correlation over the encoders, per task:",
        task_table(found),
        "Medians over the tasks:",
        median_table({g: f for g, f in groups.items() if len(f) > 3}),
        f"Time: {spent}",
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="train/ and test/, each with a folder per class")
    parser.add_argument("--out", type=Path, default=Path("foretelling"))
    parser.add_argument("--encoders", type=at_least(4), default=1000, help="the first N; all if absent")
    parser.add_argument("--again", action="store_true", help="audit twice, on other images, for the spread")
    parser.add_argument("--epochs", type=at_least(1), default=10)
    parser.add_argument("--images", type=at_least(256), default=4000, help="that encoders are trained on")
    args = parser.parse_args()
    limit_threads()
    settings = {"epochs": args.epochs, "images": args.images}
    kept = args.out / "settings.json"
    if kept.is_file() and read_object(kept) != settings:
        raise UserError(f"{args.out} was begun with {read_object(kept)}; name another folder as --out")
    write_json(kept, settings)
    if args.data:
        test: Data = ImageFolder(str(args.data.resolve()), SIDE, "folders")
        data: Data = ImageFolder(str(args.data.resolve()), SIDE, "folders", limit=args.images)
    else:
        test, data = Cifar10(path="data"), Cifar10(path="data", limit=args.images)
    study = study_of(data, test, args.out)
    chosen: dict[str, Recipe | None] = dict.fromkeys((RANDOM, *WITHOUT_TRAINING))
    chosen |= recipes(data, args.epochs)
    chosen = dict(list(chosen.items())[: args.encoders])
    found = []
    for name, recipe in chosen.items():
        found.append(result_of(name, recipe, study, args.again))
        took = ", ".join(f"{k} {s:.0f} s" for k, s in found[-1]["seconds"].items())
        print(f"{len(found)} of {len(chosen)}: {name} ({took})", flush=True)
    text = report(found, [r is not None for r in chosen.values()])
    write_text(args.out / "foretelling.md", text)
    print(f"\n{text}")


if __name__ == "__main__":
    in_words(main)
