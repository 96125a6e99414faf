from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from evaluate.small import dataset, encoder
from PIL import Image

from equissl.evaluate.explorer.neighbors import data_uri, nearest_neighbors, sample_per_class
from equissl.evaluate.features import extract


def found(**options: Any) -> list[dict[str, Any]]:
    data = dataset()
    result: Any = nearest_neighbors(extract(encoder(), data), data, **options)
    queries: list[dict[str, Any]] = json.loads(json.dumps(result))["queries"]
    return queries


def test_neighbours_equal_a_sort_by_cosine() -> None:
    data = dataset()
    unit = torch.nn.functional.normalize(extract(encoder(), data).vectors, dim=1)
    for query in found(queries=5, k=4):
        row = query["index"]
        order = (unit @ unit[row]).argsort(descending=True).tolist()
        order.remove(row)
        assert [n["index"] for n in query["neighbours"]] == order[:4]
        assert all(n["label"] == data.class_names[data.targets[n["index"]]] for n in query["neighbours"])
    assert found() == found()


def test_rows_of_a_part_of_the_data_name_their_samples() -> None:
    data, index = dataset(), torch.tensor([40, 7, 21, 3, 30])
    table = extract(encoder(), data, index=index)
    result: Any = nearest_neighbors(table, data, index, queries=5, k=9)
    for query in result["queries"]:
        seen = [query["index"], *(n["index"] for n in query["neighbours"])]
        assert sorted(seen) == sorted(index.tolist())
        assert query["image"] == data_uri(data.images[query["index"]])


@pytest.mark.parametrize(
    ("labels", "count", "classes"),
    [
        ([0] * 9 + [1] * 3 + [2], 3, [0, 1, 2]),
        ([0] * 9 + [1] * 3 + [2], 6, [0, 0, 0, 1, 1, 2]),
        ([-1, 5, -1, 5], 3, [5, 5]),
        ([3, 3], 8, [3, 3]),
    ],
)
def test_queries_are_spread_over_classes(labels: list[int], count: int, classes: list[int]) -> None:
    table = torch.tensor(labels)
    rows = sample_per_class(table, count)
    assert table[rows].tolist() == classes and len(set(rows.tolist())) == len(rows)


def test_queries_of_many_classes_and_of_none() -> None:
    assert sample_per_class(torch.arange(100), 4).tolist() == [0, 25, 50, 75]
    assert sample_per_class(torch.full((9,), -1), 3).tolist() == [0, 3, 6]


def test_images_are_embedded() -> None:
    def read(uri: str) -> Image.Image:
        kind, _, content = uri.partition(";base64,")
        image = Image.open(io.BytesIO(base64.b64decode(content)))
        assert kind == f"data:image/{(image.format or '').lower()}"
        return image

    small = torch.randint(256, (3, 8, 9), dtype=torch.uint8)
    assert np.array_equal(np.asarray(read(data_uri(small))), small.permute(1, 2, 0).numpy())
    assert read(data_uri(torch.rand(1, 16, 16))).mode == "L"
    large = read(data_uri(torch.rand(3, 300, 400)))
    assert large.format == "JPEG" and large.size == (160, 120)
