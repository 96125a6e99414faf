"""Tables of images: laws, kinds of factors, groups, splits, and every error of a table."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from equissl.config.serialize import from_dict, to_dict
from equissl.data.base import Data, InMemoryDataset
from equissl.data.files.reader import StreamedDataset
from equissl.data.image_folder import ImageFolder, write_images
from equissl.data.image_table import ImageTable
from equissl.data.tables.cells import read_cells
from equissl.data.tables.confounding import explained_by_classes, explained_linearly, sampled_rows
from equissl.errors import UserError
from equissl.params import Binary, Circular, Cyclic, Real, Rotation, between
from equissl.testing.data import check_dataset


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twelve images: images/0.png to images/11.png."""
    write_images(tmp_path, {"images": 12})
    return tmp_path


def table(folder: Path, header: str, *rows: str, name: str = "table.csv", **settings: object) -> ImageTable:
    """A table of ``images``; the k-th row of the cells in ``rows`` follows the path of the k-th image."""
    lines = [f"file{header and ','}{header}", *(f"images/{k}.png,{row}" for k, row in enumerate(rows))]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return ImageTable(str(folder / name), size=8, num_workers=1, **settings)  # type: ignore[arg-type]


def problem(data: ImageTable) -> str:
    with pytest.raises(UserError) as caught:
        data.open_all()
    return str(caught.value)


@pytest.mark.parametrize("memory_gb", [2.0, 0.0])
def test_laws(tmp_path: Path, memory_gb: float) -> None:
    data = replace(ImageTable.example(tmp_path / "data"), memory_gb=memory_gb)
    check_dataset(data, tmp_path)
    check_dataset(replace(data, split_by="group"), tmp_path / "by_group")
    assert isinstance(data.open("train"), InMemoryDataset if memory_gb else StreamedDataset)


def test_a_table_is_the_same_images_as_a_folder_bit_for_bit(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 12, "b": 12})
    folder = ImageFolder(str(tmp_path), size=8, labels="folders", test_fraction=0.3, num_workers=1)
    whole = replace(folder, test_fraction=0.0).open("train")
    rows = [f"{file},{file[0]},{k}.5" for k, file in enumerate(whole.files)]
    (tmp_path / "table.csv").write_text("\n".join(["path,label,ripeness:real", *rows]), encoding="utf-8")
    data = ImageTable(str(tmp_path / "table.csv"), size=8, test_fraction=0.3, num_workers=1)
    for memory_gb in (2.0, 0.0):
        for split in ("train", "test"):
            one, other = (replace(d, memory_gb=memory_gb).open(split) for d in (folder, data))  # type: ignore[arg-type,type-var]
            assert one.files == other.files and one.classes == other.classes
            index = torch.arange(len(one)).flip(0)
            first, second = one.batch(index), other.batch(index)
            assert torch.equal(first.images["image"], second.images["image"])
            assert torch.equal(first.labels, second.labels)


def test_kinds_and_values(images: Path) -> None:
    q = math.sqrt(0.5)
    rows = [
        f"{30 * k},{k / 2},{'yes' if k % 2 else 'No'},{['pear', 'apple 10', 'apple 2'][k % 3]},"
        f"2024-02-{27 + k % 3:02d}T12:00,{q},0,{-q},0"
        for k in range(12)
    ]
    header = (
        "yaw:circular(360),ripeness:real,picked:binary,variety:category,at:time,"
        "pose_w:quaternion,pose_x:quaternion,pose_y:quaternion,pose_z:quaternion"
    )
    dataset = table(images, header, *rows).open_all()
    params = dataset.batch(torch.arange(12)).params["image"]
    space = params.space
    assert space.names == ("yaw", "ripeness", "picked", "variety", "at", "pose")
    kinds = (Circular, Real, Binary, Cyclic, Real, Rotation)
    assert [type(f) for f in space] == list(kinds)
    assert params.values["yaw"][:, 0].tolist() == [30 * k for k in range(12)]
    assert params.values["picked"][:3, 0].tolist() == [0, 1, 0]
    assert params.values["variety"][:3, 0].tolist() == [2, 1, 0]  # apple 2, apple 10, pear
    assert params.values["at"][:3, 0].tolist() == [0, 1, 2]
    assert torch.allclose(params.values["pose"], torch.tensor([q, 0, -q, 0]))
    ripeness = space["ripeness"]
    encoded = ripeness.encode(params.values["ripeness"]).double()
    assert encoded.mean().abs() < 1e-6 and (encoded.std(correction=0) - 1).abs() < 1e-6
    assert space["at"].unit == "days" and space["variety"].elements().shape == (3, 1)


def test_a_column_of_degrees_is_circular_unless_someone_says_otherwise(images: Path) -> None:
    rows = [f"{10 * k},{k}" for k in range(12)]
    data = table(images, "yaw_degrees,weight", *rows)
    assert data.spaces["image"]["yaw_degrees"] == Circular("yaw_degrees", unit="degrees", period=360.0)
    assert any(line.startswith("factor yaw_degrees: circular(360) by its ending") for line in data.describe())
    assert any(line.startswith("not used: weight;") for line in data.describe())
    header = table(images, "yaw_degrees:real,weight", *rows)
    assert isinstance(header.spaces["image"]["yaw_degrees"], Real)
    (images / "table.schema.json").write_text('{"factors": {"yaw_degrees": "circular(720)"}}')
    assert header.spaces["image"]["yaw_degrees"] == Circular("yaw_degrees", unit="degrees", period=720.0)
    assert not len(replace(header, factors=("yaw_degrees:none",)).spaces["image"])


def test_the_file_beside_a_table_says_all_that_settings_say(images: Path) -> None:
    rows = [f"{10 * k},plant {k % 3},{'ab'[k % 2]}" for k in range(12)]
    data = table(images, "yaw,plant,kind", *rows)
    said = {"factors": {"yaw": "circular(360)"}, "group": "plant", "label": "kind", "split_by": "group"}
    (images / "table.schema.json").write_text(json.dumps(said))
    by_settings = ImageTable(
        data.path, 8, factors=("yaw:circular(360)",), group="plant", label="kind", split_by="group"
    )
    assert data.settled() == by_settings.settled()
    assert data.open("train").digest == by_settings.open("train").digest


@pytest.mark.parametrize("memory_gb", [2.0, 0.0])
def test_pairs_give_the_measured_change(images: Path, memory_gb: float) -> None:
    rows = [f"{7 * k},o{k % 4}" for k in range(12)]
    data = table(images, "yaw_degrees,object", *rows, group="object", memory_gb=memory_gb)
    dataset = data.open_all()
    index = torch.arange(12)
    batch = dataset.batch(index, epoch=1)
    every = dataset.batch(index).images["image"]
    partner = torch.tensor(
        [next(k for k in range(12) if torch.equal(every[k], i)) for i in batch.images["partner"]]
    )
    assert torch.equal(partner % 4, index % 4) and not bool((partner == index).any())
    change = between(batch.params["image"], batch.params["partner"], dataset.spaces["image"])
    assert torch.equal(change.values["yaw_degrees"][:, 0], (7.0 * (partner - index)))
    assert torch.equal(dataset.groups, index % 4)


def test_whole_groups_are_held_out(images: Path) -> None:
    rows = [f"o{k % 4}" for k in range(12)]
    data = table(images, "object", *rows, group="object", split_by="group", test_fraction=0.3)
    objects = {s: {int(f[7:-4]) % 4 for f in data.open(s).files} for s in ("train", "test")}  # type: ignore[arg-type]
    assert objects["train"] | objects["test"] == {0, 1, 2, 3} and not objects["train"] & objects["test"]
    assert "by whole groups" in " ".join(data.describe())
    mixed = replace(data, split_by="image")
    assert "groups are in both splits" in " ".join(mixed.describe())


def test_a_run_keeps_what_the_table_was(images: Path) -> None:
    rows = [f"{k},{'ab'[k % 2]}" for k in range(12)]
    kept = table(images, "ripeness:real,variety:category", *rows).resolve()
    stored = from_dict(json.loads(json.dumps(to_dict(kept))), Data)
    assert stored == kept
    more = table(images, "ripeness,variety", *[f"{100 * k},{'ba'[k % 2]}" for k in range(12)])
    assert replace(more, schema=kept.schema).spaces == kept.spaces
    other = table(images, "ripeness:real,variety:category", *[f"{k},{'bc'[k % 2]}" for k in range(12)])
    assert "variety is 'c'; not among the 2 values of the category (a, b)" in problem(
        replace(other, schema=kept.schema)
    )
    assert other.like(kept).spaces["image"] == kept.spaces["image"]


def test_bad_images_are_left_out_with_their_factors(images: Path) -> None:
    rows = [f"{k},o{k % 2}" for k in range(12)]
    data = table(images, "ripeness:real,object", *rows, group="object", max_bad_fraction=0.2)
    (images / "images" / "3.png").write_bytes(b"")
    (images / "images" / "5.png").unlink()
    for memory_gb in (2.0, 0.0):
        dataset = replace(data, memory_gb=memory_gb).open_all()
        assert [b.path for b in dataset.bad_images] == ["images/3.png", "images/5.png"]
        values = dataset.batch(torch.arange(10)).params["image"].values["ripeness"][:, 0]
        assert values.tolist() == [0, 1, 2, 4, 6, 7, 8, 9, 10, 11]
    assert "12 images (16.7 %) cannot be read" in problem(replace(data, max_bad_fraction=0.05))


def test_a_partner_that_cannot_be_decoded_is_replaced_with_its_factors(images: Path) -> None:
    rows = [f"{k},o{k % 6}" for k in range(12)]
    data = table(images, "ripeness:real,object", *rows, group="object", memory_gb=0.0, max_bad_fraction=0.2)
    whole = (images / "images" / "9.png").read_bytes()
    (images / "images" / "9.png").write_bytes(whole[: len(whole) // 2])  # its header can be read
    batch = data.open_all().batch(torch.tensor([3, 4]))
    assert batch.replaced is not None and batch.replaced.tolist() == [True, False]
    assert batch.params["partner"].values["ripeness"][:, 0].tolist() == [10, 10]
    assert torch.equal(batch.images["partner"][0], batch.images["partner"][1])


def test_other_formats_hold_the_same(images: Path) -> None:
    rows = [f"{30 * k},{k / 4},{'ab'[k % 2]},o{k % 3}" for k in range(12)]
    data = table(images, "yaw_degrees,weight:real,variety:category,object", *rows, group="object")
    records = [
        {
            "file": f"images/{k}.png",
            "yaw_degrees": 30 * k,
            "weight:real": k / 4,
            "variety:category": "ab"[k % 2],
        }
        | {"object": f"o{k % 3}"}
        for k in range(12)
    ]
    lines = "\n".join(map(json.dumps, records))
    (images / "table.jsonl").write_text(lines + "\n\n")
    expected = data.open("train")
    assert replace(data, path=str(images / "table.jsonl")).open("train").digest == expected.digest
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(records), images / "table.parquet")
    assert replace(data, path=str(images / "table.parquet")).open("train").digest == expected.digest


def test_what_is_written_by_equissl_is_read_back(tmp_path: Path) -> None:
    from equissl.data.export import export_dataset
    from equissl.data.solids import Solids

    solids = Solids(size=16, objects=10, views=2).open("train")
    assert isinstance(solids, InMemoryDataset)
    path = export_dataset(solids, tmp_path, "train")
    factors = ("pose:quaternion", "floor_hue:circular(1)", "size:real")
    factors = tuple(f for f in factors if f.partition(":")[0] in solids.params.space.names)
    read = ImageTable(str(path), size=16, factors=factors, group="object").open_all()
    index = torch.arange(len(solids))
    one, other = solids.batch(index), read.batch(index)
    assert torch.equal(one.images["image"], other.images["image"])
    for name in read.spaces["image"].names:
        assert torch.allclose(one.params["image"].values[name], other.params["image"].values[name])
    assert len(torch.unique(read.groups)) == len(torch.unique(solids.groups))


BAD_CELLS = [
    ("real", "ripe", "line 3: x is 'ripe'; expected a number, or call it a category"),
    ("real", "nan", "line 3: x is nan; a factor needs a value in every row"),
    ("real", "inf", "line 3: x is inf; a factor needs a value in every row"),
    ("real", "", "line 3: x is empty; a factor needs a value in every row"),
    ("real", '"1,5"', "line 3: x is '1,5'; expected a number, write decimals with a point"),
    ("circular(360)", "-300", "its values lie from -300 to 110, more than a period"),
    ("circular(6.2832)", "1", "x is circular(6.2832) by the header, but its values lie from 0 to 110"),
    ("binary", "maybe", "line 3: x is 'maybe'; expected 0 or 1, yes or no, true or false"),
    ("time", "yesterday", "line 3: x is 'yesterday'; expected a time, such as 2024-05-31"),
    ("category", "", "line 3: x is empty"),
    ("real", "1e39", "line 3: x is 1e39; a factor needs a value"),
]


@pytest.mark.parametrize(("kind", "cell", "message"), BAD_CELLS)
def test_cells_that_are_no_values(images: Path, kind: str, cell: str, message: str) -> None:
    good = {"binary": "1", "time": "2024-01-01"}
    rows = [good.get(kind, f"{10 * k}") for k in range(12)]
    rows[1] = cell
    said = problem(table(images, f"x:{kind}", *rows))
    assert message in said and "table.csv" in said


BAD_TABLES = [
    ("", "is empty; expected a header"),
    ("file,x\n", "has no rows"),
    ("file,,x\na.png,1,2\n", "column 2 of its header has no name"),
    (",file\n0,a.png\n", "pandas writes its index so"),
    ("file,x,x\na.png,1,2\n", "two columns are named 'x'"),
    ("file;x\na.png;1\n", "has no commas"),
    ("images/0.png,1\nimages/1.png,2\n", "expected a header, such as file,label"),
    ("file,x\na.png\n", "line 2 should have 2 cells, but has 1"),
    ('file,x\n"a.png,1\n', "is not a CSV file"),
    ("file\na.png\nb.png\n./a.png\n", "line 4: 'a.png' stands in line 2 already"),
    ("file,x\n,1\n", "line 2: the cell of 'file' is empty"),
    ("file\n../a.png\n", "is no file below the table's folder"),
    ("file\na/../../b.png\n", "is no file below the table's folder"),
    ("file\n/etc/passwd\n", "is no file below the table's folder"),
    ("file\n..\\a.png\n", "is no file below the table's folder"),
    ("file,yaw:circlar(360)\na.png,1\n", "the header: yaw: 'circlar(360)' is no kind of factor"),
    ("file,yaw:circular\na.png,1\n", "expected a period above 0"),
    ("file,pose_w:quaternion\na.png,1\n", "a quaternion needs the columns pose_w"),
    (
        "file,p_w:quaternion,p_x,p_y,p_z\na.png,1,0,0,0\nb.png,2,0,0,0\n",
        "line 3: p is no unit quaternion: its length is 2",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD_TABLES)
def test_tables_that_cannot_be_read(images: Path, text: str, message: str) -> None:
    (images / "table.csv").write_text(text)
    assert message in problem(ImageTable(str(images / "table.csv"), size=8))


def test_a_table_in_another_encoding(images: Path) -> None:
    path = images / "table.csv"
    data = ImageTable(str(path), size=8)
    for encoding in ("latin-1", "utf-16"):
        path.write_bytes("file,label\nimages/0.png,süß\n".encode(encoding))
        assert "is not UTF-8" in problem(data)
    path.write_bytes("\ufefffile,label\nimages/0.png,süß\n".encode())  # as Excel writes it
    assert data.open_all().classes == ("süß",)


def test_json_lines_and_parquet_that_cannot_be_read(images: Path) -> None:
    path = images / "table.jsonl"
    for text, message in [
        ('{"file": "a.png"}\n[1]\n', "line 2 is no JSON object"),
        ('{"file": "a.png"}\n{"file"\n', "line 2 is not JSON in UTF-8"),
        ("[" * 100_000 + "\n", "line 1 is not JSON in UTF-8"),
        ('{"file": "images/0.png", "x:real": [1, 2]}\n', "x holds lists; expected numbers"),
        ('{"file": "images/0.png", "x:real": 1}\n{"file": "images/1.png"}\n', "line 2: x is empty"),
        ('{"file": "images/0.png", "x:real": 1' + "0" * 400 + "}\n", "expected a number"),
    ]:
        path.write_text(text)
        assert message in problem(ImageTable(str(path), size=8))
    (images / "table.parquet").write_bytes(b"PAR1 not so PAR1")
    said = problem(ImageTable(str(images / "table.parquet"), size=8))
    assert "is not a Parquet file that can be read" in said or "pip install 'equissl[tables]'" in said


def test_parquet_without_the_extra_names_it(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (images / "table.parquet").write_bytes(b"PAR1")
    assert "pip install 'equissl[tables]'" in problem(ImageTable(str(images / "table.parquet"), size=8))


def test_numbers_that_single_precision_cannot_tell_apart(images: Path) -> None:
    said = problem(table(images, "x:real", *[f"{10**9 + k}" for k in range(12)]))
    assert "x lies near 1e+09 and varies by 3.45 only, too little for single precision" in said


def test_columns_that_do_not_exist(images: Path) -> None:
    data = table(images, "object,yaw_degrees", *[f"o{k % 2},{k}" for k in range(12)])
    for settings, message in [
        ({"group": "objekt"}, "data.group='objekt': the table has no such column; did you mean 'object'"),
        ({"label": "kind"}, "data.label='kind': the table has no such column"),
        ({"factors": ("yaw:real",)}, "data.factors: yaw: the table has no such column"),
        ({"factors": ("yaw:none",)}, "data.factors: yaw: the table has no such column"),
        ({"split_by": "group"}, "data.split_by=group needs data.group=COLUMN"),
        ({"group": "file"}, "every image is alone in its group"),
    ]:
        assert message in problem(replace(data, **settings))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="is no kind of factor; did you mean 'real'"):
        replace(data, factors=("yaw_degrees:reel",))
    with pytest.raises(UserError, match="expected a table"):
        ImageTable("photos")
    (images / "table.schema.json").write_text('{"groups": "object"}')
    assert "there is no entry 'groups'; did you mean 'group'" in problem(data)
    (images / "table.schema.json").write_text('{"factors": ["yaw"]}')
    assert "factors must name a kind for each column" in problem(data)


def test_a_missing_table_names_the_nearest(images: Path) -> None:
    data = table(images, "", *[""] * 0)
    (images / "table.csv").write_text("file\nimages/0.png\n")
    said = problem(replace(data, path=str(images / "tabel.csv")))
    assert "does not exist (expected a table of image files); did you mean" in said and "table.csv" in said


def test_what_is_odd_is_said(images: Path) -> None:
    rows = [f"{k / 10},1,name {k},o{max(k, 1)}" for k in range(12)]
    data = table(images, "yaw_degrees,same:real,who:category,object", *rows, group="object")
    said = "\n".join(data.remarks())
    assert "yaw_degrees covers 0.31 % of its period 360; are they radians" in said
    assert "same has one value only" in said
    assert "who has 12 values in 12 rows, as a name has" in said
    assert "10 of 11 groups have one image only" in said


def test_too_many_values_of_a_category(tmp_path: Path) -> None:
    lines = ["file,who:category", *(f"{k}.png,n{k}" for k in range(1001))]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    assert "it has 1,001 different values" in problem(ImageTable(str(tmp_path / "table.csv"), size=8))


def test_confounding_has_the_right_values(images: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(2000) % 400
    noise = torch.randn(2000, 1, generator=generator)
    assert explained_by_classes(noise, classes) < 0.06  # 400 classes of 5: the plain R2 is 0.2
    mixed = noise + 2 * torch.randn(400, 1, generator=generator)[classes]
    assert abs(explained_by_classes(mixed, classes) - 0.8) < 0.04
    assert explained_by_classes(classes[:, None].float(), classes) == 1.0
    assert math.isnan(explained_by_classes(noise, torch.arange(2000)))
    assert math.isnan(explained_by_classes(torch.ones(9, 1), torch.arange(9) % 3))
    other = torch.randn(2000, 1, generator=generator)
    assert explained_linearly(noise, other) < 0.01
    both = noise + other
    correlation = float(torch.corrcoef(torch.cat([both, other], 1).T)[0, 1])
    adjusted = 1 - (1 - correlation**2) * 1999 / 1998
    assert abs(explained_linearly(both, other) - adjusted) < 1e-5 and adjusted > 0.4
    rows = [f"{k},{2 * k + 1},{'ab'[k // 6]}" for k in range(12)]
    said = table(images, "x:real,y:real,label", *rows).describe()
    assert "confounding: y explains 100 % of x, linearly" in said
    assert any(
        s.startswith("confounding: the label explains 7") and s.endswith("variance of x") for s in said
    )


def test_paths_of_other_systems_and_of_our_own_tables(images: Path) -> None:
    (images / "images" / "=1.png").write_bytes((images / "images" / "0.png").read_bytes())
    absolute = (images / "images" / "2.png").absolute().as_posix()
    lines = ["file", "images\\0.png", "./images/1.png", absolute, "images/=1.png"]
    (images / "table.csv").write_text("\n".join(lines))
    files = ImageTable(str(images / "table.csv"), size=8).open_all().files
    assert files == ("images/0.png", "images/1.png", "images/2.png", "images/=1.png")


def test_many_rows_are_read_fast(tmp_path: Path) -> None:
    count = 100_000
    rows = [f"images/{k}.png,o{k % 500},{k % 360}" for k in range(count)]
    (tmp_path / "table.csv").write_text("\n".join(["file,object,yaw_degrees", *rows]))
    data = ImageTable(str(tmp_path / "table.csv"), group="object")
    started = time.perf_counter()
    content = data.read()
    assert len(content.listing) == count and time.perf_counter() - started < 20  # about 0.3 s
    assert len(read_cells(data.path)) == count


def test_confounding_is_measured_on_whole_groups() -> None:
    groups = torch.arange(3000) % 1000
    rows = sampled_rows(groups, 300)
    assert len(rows) == 300 and len(torch.unique(groups[rows])) == 100
    assert torch.equal(rows, sampled_rows(groups, 300)) and torch.equal(
        sampled_rows(groups, 9999), torch.arange(3000)
    )
