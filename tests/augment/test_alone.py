"""Augmentations without training: the same views as in training, a table, and both again later."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from equissl import augment
from equissl.augment import native
from equissl.augment.engine import Engine, resolve_engine
from equissl.augment.presets import equimod_byol, simclr
from equissl.data.batch import Batch
from equissl.params import Params, Space
from equissl.views import ViewSpec, make_views

POLICY = simclr(16, strength=0.5)
INDEX = torch.tensor([7, 0, 130, 9_000_000])


def make_images(count: int = 4) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 24, 20), dtype=torch.uint8, generator=torch.manual_seed(0))


def test_views_are_those_of_training() -> None:
    images = make_images()
    none = Params.of(Space(), {}, count=4)
    batch = Batch({"image": images}, {"image": none}, torch.full((4,), -1), INDEX)
    wanted = make_views(batch, {"a": ViewSpec(POLICY), "b": ViewSpec(POLICY)}, seed=3, epoch=5)
    made, record = augment.views(images, POLICY, count=2, seed=3, epoch=5, index=INDEX)
    for view, found in zip("ab", made, strict=True):
        assert torch.equal(found, wanted[view].images)
        for name in POLICY.space.names:
            assert torch.equal(record.params[view].values[name], wanted[view].params.values[name])
    assert not torch.equal(made[0], made[1])


def test_parameters_come_back_from_four_numbers_and_views_from_the_record() -> None:
    images = make_images()
    policies = {"first": equimod_byol(1, 16), "second": equimod_byol(2, 16)}
    made, record = augment.views(images, policies, seed=2, epoch=1, index=INDEX)
    for view, again, policy in zip(made, record.replay(images), policies.values(), strict=True):
        assert torch.equal(view, again) and view.shape == (4, 3, 16, 16)
        assert policy.output_size((24, 20)) == (16, 16)
    alone = augment.recompute(policies["second"], 2, 1, [130], "second", (24, 20))
    for name, value in alone.values.items():
        assert torch.equal(value[0], record.params["second"].values[name][2]), name


@pytest.mark.parametrize("engine", ["torch", "auto"])
def test_every_engine_replays_its_own_views_exactly(engine: Engine) -> None:
    images = make_images()
    made, record = augment.views(images, equimod_byol(2, 16), engine=engine)
    # What made them, whatever "auto" is where they are replayed.
    assert record.engine == resolve_engine(engine)
    assert record.instruction_set == (native.instruction_set() if record.engine == "native" else None)
    assert all(torch.equal(a, b) for a, b in zip(made, record.replay(images), strict=True))
    torch.testing.assert_close(made, augment.views(images, equimod_byol(2, 16))[0], atol=1e-5, rtol=0)


def test_the_table_has_names_units_and_one_row_per_view_of_a_image(tmp_path: Path) -> None:
    _, record = augment.views(make_images(), {"a": POLICY, "b": augment.HorizontalFlip()}, index=INDEX)
    table = record.table()
    assert len(table) == 8
    assert table.columns["image"][:4] == [7, 7, 0, 0] and table.columns["view"][:2] == ["a", "b"]
    assert table.units["hue"] == POLICY.space["hue"].unit != ""
    hue = table.columns["hue"]
    assert hue[0] == float(record.params["a"].values["hue"][0]) and hue[1] is None
    assert {type(v) for v in table.columns["horizontal_flip"]} == {bool}
    assert all(sorted(v) == [0, 1, 2, 3] for v in table.columns["color_order"][::2])  # type: ignore[arg-type, type-var]
    shown = str(table).splitlines()
    assert len(shown) == 9 and f"hue [{table.units['hue']}]" in shown[0] and len(set(map(len, shown))) == 1
    table.to_csv(tmp_path / "record.csv")
    with (tmp_path / "record.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    read = [np.float32(r[f"hue [{table.units['hue']}]"]) for r in rows[::2]]
    assert read == [np.float32(v) for v in hue[::2]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": torch.zeros(3, 8, 8)}, "images must be"),
        ({"images": torch.zeros(1, 3, 8, 8, dtype=torch.int64)}, "images must be"),
        ({"policy": "simclr"}, "policy must be an Augmentation"),
        ({"policy": {}}, "at least one view"),
        ({"count": 0}, "count must be from 1 to 26, got 0"),
        ({"index": [1, 2, 3]}, "one entry per image, got"),
    ],
)
def test_mistakes(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        augment.views(**{"images": make_images(), "policy": POLICY, **change})


def test_the_page_in_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(augment.__file__).parents[2] / "docs" / "augment_alone.md"
    monkeypatch.chdir(tmp_path)
    exec("".join(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)), {})
    assert (tmp_path / "parameters.csv").read_text().startswith("image,view,crop_top [fraction]")
