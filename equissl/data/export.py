"""A dataset in memory as image files and a table of its factors."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from equissl.data.base import InMemoryDataset, Split, check_split
from equissl.storage import atomic_open
from equissl.tables import write_csv
from equissl.text import file_name


def export_dataset(dataset: InMemoryDataset, out: Path | str, split: Split) -> Path:
    """Write ``<split>/<class>/<number>.png`` and ``<split>.csv`` with label, object and factors of each.

    Returns:
        The table's path. It is written last: where it is, the images are complete.
    """
    check_split(split)
    out = Path(out)
    columns = [
        (f.name if f.size == 1 else f"{f.name}_{k}", f.name, k)
        for f in dataset.params.space
        for k in range(f.size)
    ]
    table = out / f"{split}.csv"
    rows: list[list[object]] = [["file", "label", "object", *(name for name, _, _ in columns)]]
    for row, image in enumerate(dataset.images):
        label = dataset.classes[int(dataset.targets[row])]
        name = f"{split}/{file_name(label)}/{row:06d}.png"
        with atomic_open(out / name, "wb", durable=False) as file:
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "PNG")
        values = (float(dataset.params.values[factor][row, k]) for _, factor, k in columns)
        rows.append([name, label, int(dataset.groups[row]), *values])
    write_csv(table, rows)
    return table
