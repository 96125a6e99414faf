"""Does ``keep=hue`` keep hue? Three requirements on a task whose classes are colours.

    python benchmarks/keep.py OUT [seeds] [epochs]

renders Solids into OUT/images, labels every image with the hue of its floor (eight bins of the circle;
shape, pose and light say nothing about it), and pretrains the same small encoder without labels three times:
hue ignored (as SimCLR does), not mentioned, and kept. The results are in OUT/study/table.md. Started
again, it continues where it stopped.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path

from equissl.auto.default import simclr_augself
from equissl.auto.requirements import build_recipe, resolve
from equissl.data.export import export_dataset
from equissl.data.image_folder import ImageFolder
from equissl.data.solids import Solids
from equissl.encoder.backbone import EncoderConfig
from equissl.recipe import Recipe
from equissl.study import runner
from equissl.study.plan import Bars, Cell, Measure, Study

SIZE, BINS = 32, 8
IGNORED = ("crop", "flip", "brightness", "contrast", "saturation")
REQUIREMENTS = {
    "hue ignored": ((), (*IGNORED, "hue")),
    "hue not mentioned": ((), IGNORED),
    "hue kept": (("hue",), IGNORED),
}


def images(out: Path, objects: int = 160, views: int = 8) -> ImageFolder:
    """A folder of solids, labelled by the hue of the floor they stand on."""
    labels = out / "labels.csv"
    if not labels.is_file():
        data, rows = Solids(size=SIZE, objects=objects, views=views), []
        for split in ("train", "test"):
            export_dataset(data.open(split), out, split)
            with (out / f"{split}.csv").open(newline="", encoding="utf-8") as file:
                hues = [(r["file"], float(r["floor_hue"])) for r in csv.DictReader(file)]
            rows += [(name, f"hue_{int(hue * BINS) % BINS}") for name, hue in hues]
        with labels.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("file", "label"), *rows])
    return ImageFolder(str(out.resolve()), SIZE, str(labels.resolve()))


def recipe(data: ImageFolder, name: str, epochs: int) -> Recipe:
    """What ``equissl pretrain keep=... ignore=...`` trains, with a smaller encoder."""
    options = {"channels": (32, 64, 64, 64), "stem_width": 16}
    encoder = EncoderConfig(name="resnet10t", options=options, size=SIZE)
    start = simclr_augself(SIZE, encoder, epochs, batch_size=64)
    chosen = build_recipe(start, resolve(*REQUIREMENTS[name]))
    return replace(chosen, data=data, monitor_every=0)


def main(out: Path, seeds: int = 3, epochs: int = 12) -> None:
    data = images(out / "images")
    study = Study(
        title="Keep hue: classes are floor colours of Solids",
        cells=tuple(Cell({"requirements": name}, recipe(data, name, epochs)) for name in REQUIREMENTS),
        measures=(
            Measure("linear/top1", "floor colour, top-1"),
            Measure("knn/top1", "floor colour, kNN"),
            Measure("audit/hue", "hue shift, R2"),
        ),
        figure=Bars(groups="requirements"),
        about="Top-1 of eight colour classes (chance about 0.125) and what can be read of a shift of hue.",
        audits=("hue",),
        compare=("requirements", "hue ignored"),
    )
    print(runner.run(study, out / "study", seeds=seeds, silent=False).read_text(encoding="utf-8"))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python benchmarks/keep.py OUT [seeds] [epochs]")
    main(Path(sys.argv[1]), *map(int, sys.argv[2:4]))
