"""The feature cache: read when nothing changed, made anew when anything did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from evaluate.small import Brighten, dataset, encoder

from equissl.data.base import InMemoryDataset
from equissl.data.image_folder import ImageFolder, write_images
from equissl.evaluate.cache import FeatureCache, weights_fingerprint
from equissl.evaluate.context import EvaluationContext
from equissl.params import Params, Real, Space
from equissl.progress import Progress, no_progress
from equissl.testing.evaluation import example_table


def make_context(
    folder: Path, data: InMemoryDataset | None = None, progress: Progress = no_progress, **more: object
) -> EvaluationContext:
    data = data or dataset(20)
    rows = {"train": torch.arange(0, 20, 2), "test": torch.arange(1, 20, 2)}
    made = EvaluationContext(
        encoder(), {"train": data, "test": data}, rows, {}, FeatureCache(folder), progress=progress
    )  # type: ignore[arg-type, dict-item]
    return replace(made, **more)  # type: ignore[arg-type]


class Counter:
    """How many images went through an encoder."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, what: str, done: int, total: int) -> None:
        self.count += total if done == total else 0


def taken(folder: Path, **more: object) -> int:
    counter = Counter()
    make_context(folder, progress=counter, **more).features("test")  # type: ignore[arg-type]
    return counter.count


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    table, other = example_table(40, "kept"), example_table(40, "other")
    store = FeatureCache(tmp_path)
    store.table("k", table.params.space, lambda: table)
    back = store.table("k", table.params.space, lambda: other)
    assert torch.equal(back.vectors, table.vectors) and torch.equal(back.labels, table.labels)
    assert torch.equal(back.groups, table.groups) and back.parts == table.parts
    for name in table.params.space.names:
        assert torch.equal(back.params.values[name], table.params.values[name])
        assert torch.equal(back.params.applied[name], table.params.applied[name])


def test_features_are_taken_once_and_by_the_next_run_too(tmp_path: Path) -> None:
    assert taken(tmp_path) == 10
    assert taken(tmp_path) == 0
    counter = Counter()
    context = make_context(tmp_path, progress=counter)
    moved = context.features("test", Brighten())
    assert counter.count == 10 and torch.equal(context.features("test", Brighten()).vectors, moved.vectors)
    assert counter.count == 10
    assert not torch.equal(context.features("test", Brighten(), view_index=1).vectors, moved.vectors)
    assert counter.count == 20 and len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("what", ["weights", "pixel", "label", "factor", "rows", "image statistics"])
def test_a_change_of_anything_is_noticed(tmp_path: Path, what: str) -> None:
    assert taken(tmp_path) == 10
    data, network, more = dataset(20), encoder(), {}
    if what == "weights":
        torch.nn.init.constant_(network.backbone.norm.weight, 1.001)  # type: ignore[union-attr, arg-type]
    if what == "image statistics":
        network.mean += 0.01
    if what == "pixel":
        data.images[1, 0, 0, 0] ^= 1
    if what == "label":
        data.targets[1] = (data.targets[1] + 1) % 3
    if what == "factor":
        light = data.params.values["light"] + 0.01
        data = replace(data, params=Params.of(Space((Real("light"),)), {"light": light}))
    if what == "rows":
        more = {"rows": {"train": torch.arange(10), "test": torch.arange(10)}}
    assert taken(tmp_path, data=data, encoder=network, **more) == 10


def test_what_is_not_looked_at_does_not_matter(tmp_path: Path) -> None:
    assert taken(tmp_path) == 10
    data = dataset(20)
    data.images[0] = 0  # a training image
    assert taken(tmp_path, data=data) == 0


@pytest.mark.parametrize("harm", [b"", b"\x08\0\0\0\0\0\0\0nonsense", None])
def test_a_harmed_file_is_made_anew(tmp_path: Path, harm: bytes | None) -> None:
    taken(tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-7] if harm is None else harm)
    assert taken(tmp_path) == 10 and taken(tmp_path) == 0


def test_the_least_used_make_room(tmp_path: Path) -> None:
    table = example_table(100, "big")
    size = 0.0
    for k in range(4):
        FeatureCache(tmp_path, limit_gb=size * 2.5 / 1e9 if size else 1).table(
            str(k), table.params.space, lambda: table
        )
        size = next(tmp_path.iterdir()).stat().st_size
    assert sorted(p.stem for p in tmp_path.iterdir()) == ["2", "3"]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        FeatureCache(tmp_path).table("k", Space(), lambda: example_table(5, "x"))
    assert not list(tmp_path.iterdir())


def test_files_that_are_decoded_on_use_are_known_by_size_and_time(tmp_path: Path) -> None:
    write_images(tmp_path / "p", {"a": 4, "b": 4})
    data = ImageFolder(str(tmp_path / "p"), 8, "folders", test_fraction=0.0, memory_gb=0.0)
    index = torch.arange(8)
    before = data.open("train").fingerprint(index)
    assert data.open("train").fingerprint(index) == before
    write_images(tmp_path / "p", {"a": 1}, side=13)
    assert data.open("train").fingerprint(index) != before
    assert data.open("train").fingerprint(index[4:]) != before


def test_weights_of_another_structure_differ() -> None:
    plain, inplace = torch.nn.Sequential(torch.nn.ReLU()), torch.nn.Sequential(torch.nn.GELU())
    assert weights_fingerprint(plain) != weights_fingerprint(inplace)
