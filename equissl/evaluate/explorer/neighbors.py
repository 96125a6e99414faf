"""Nearest neighbors of some query images in feature space, as plain data for a report."""

from __future__ import annotations

import base64
import io

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.augment.batched import as_float
from equissl.data.base import Dataset
from equissl.evaluate.base import FeatureTable
from equissl.evaluate.features import whole_batch

SMALL = 64  # pixels; up to this side an image is stored without loss
LARGEST = 160  # pixels; larger images are shrunk


def nearest_neighbors(
    table: FeatureTable,
    dataset: Dataset,
    index: Tensor | None = None,
    queries: int = 6,
    k: int = 6,
    image: str = "image",
) -> dict[str, object]:
    """Queries spread over the classes and the k images of greatest cosine, the query left out.

    Returns plain data for JSON: ``{"queries": [{"index", "label", "image", "neighbours": [{"index",
    "label", "image", "similarity"}]}]}``. "image" is a data URI, "label" a class name or "".

    Args:
        table: features of ``dataset``.
        index: (N,) which sample each row of the table is; row i is sample i if absent.
    """
    index = torch.arange(len(table)) if index is None else index
    unit = F.normalize(table.vectors, dim=1)
    shown = []
    for row in sample_per_class(table.labels, queries).tolist():
        similarity = unit @ unit[row]
        similarity[row] = -torch.inf
        nearest = similarity.topk(min(k, len(table) - 1))
        rows = [row, *nearest.indices.tolist()]
        cards = [_card(table, dataset, index, r, image) for r in rows]
        found = [
            {**card, "similarity": round(float(value), 4)}
            for card, value in zip(cards[1:], nearest.values, strict=True)
        ]
        shown.append({**cards[0], "neighbours": found})
    return {"queries": shown}


def sample_per_class(labels: Tensor, count: int) -> Tensor:
    """Rows that show as many classes as possible, evenly chosen: labels (N,) -> (n,) int64, sorted by class.

    Images without a label are taken only where none has one.
    """
    rows = (labels >= 0).nonzero()[:, 0]
    if not len(rows):
        return _evenly(torch.arange(len(labels)), count)
    order = rows[labels[rows].argsort(stable=True)]
    _, sizes = torch.unique(labels[rows], return_counts=True)
    turn = torch.cat([torch.arange(int(n)) for n in sizes])  # how many of its class came before
    last = int(turn.sort().values[min(count, len(turn)) - 1])
    whole, partial = order[turn < last], order[turn == last]
    chosen = torch.cat([whole, _evenly(partial, count - len(whole))])
    return chosen[labels[chosen].argsort(stable=True)]


def _evenly(rows: Tensor, count: int) -> Tensor:
    count = min(count, len(rows))
    return rows[torch.arange(count) * len(rows) // max(count, 1)]


def _card(table: FeatureTable, dataset: Dataset, index: Tensor, row: int, view: str) -> dict[str, object]:
    label, sample = int(table.labels[row]), index[row : row + 1]
    name = dataset.classes[label] if 0 <= label < len(dataset.classes) else ""
    image = whole_batch(dataset, sample).images[view][0]
    return {"index": int(sample), "label": name, "image": data_uri(image)}


def data_uri(image: Tensor) -> str:
    """An image (C, H, W), uint8 or float in [0, 1], as "data:image/...;base64,...".

    PNG up to 64 pixels, JPEG above; three channels are colour, otherwise the first is shown as grey.
    """
    from PIL import Image

    pixels = (as_float(image).clamp(0, 1) * 255).round().to(torch.uint8)
    array = pixels.permute(1, 2, 0).numpy() if len(pixels) == 3 else pixels[0].numpy()
    drawn = Image.fromarray(array)
    kind = "png" if max(drawn.size) <= SMALL else "jpeg"
    drawn.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    drawn.save(buffer, kind.upper())
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
