"""Archives and packs that are cut, damaged or hostile: an error in words or a bad image, in little memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equissl.data.packs import archive, packing, threediebench_files, threediebench_layout
from equissl.data.packs.archive import DamagedArchive, archived_files
from equissl.data.threediebench import ThreeDIEBench
from equissl.errors import UserError

OBJECTS, VIEWS = 4, 2
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


def jpeg(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()


def latents(values: object = None) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(7.0) if values is None else values)
    return buffer.getvalue()


def contents() -> dict[str, bytes]:
    """File name -> content, of a small 3DIEBench."""
    files = {}
    for k in range(OBJECTS * VIEWS):
        folder = f"3DIEBench/02691156/{k // VIEWS:04d}"
        files[f"{folder}/image_{k % VIEWS}.jpg"] = jpeg(k)
        files[f"{folder}/latent_{k % VIEWS}.npy"] = latents()
    return files


def packed(files: dict[str, bytes], *extra: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A tar archive of some files and of members with headers of their own."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
        for header, content in extra:
            archive.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def member(
    name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    header = tarfile.TarInfo(name)
    header.type, header.size, header.linkname = kind, len(content), link
    return header, content


def data(tmp_path: Path, content: bytes, **settings: object) -> ThreeDIEBench:
    path = tmp_path / "set.tar"
    path.write_bytes(content)
    return replace(ThreeDIEBench(path=str(path), size=8, split="hash", max_bad_fraction=0.9), **settings)  # type: ignore[arg-type]


def count(data: ThreeDIEBench) -> int:
    return len(data.open("train")) + len(data.open("test"))


def header_offsets(archive: bytes) -> list[int]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as file:
        return [m.offset for m in file.getmembers()]


@pytest.mark.parametrize("kind", COMPRESS)
def test_an_archive_of_any_compression_is_read(tmp_path: Path, kind: str) -> None:
    assert count(data(tmp_path, COMPRESS[kind](packed(contents())))) == OBJECTS * VIEWS


@pytest.mark.parametrize("kind", COMPRESS)
def test_an_archive_cut_anywhere_is_refused(tmp_path: Path, kind: str) -> None:
    """At a header, inside a header, inside a member, and before the end mark."""
    archive = packed(contents())
    headers = header_offsets(archive)
    end = len(archive.rstrip(b"\0"))
    end += -end % 512  # where the zeros of the end mark begin
    for cut in (
        0,
        100,
        headers[1],
        headers[2],
        headers[2] + 100,
        headers[-1],
        headers[-1] + 512,
        end - 512,
        end,
    ):
        broken = data(tmp_path, COMPRESS[kind](archive[:cut]))
        with pytest.raises(UserError, match=r"damaged or truncated after \d+ images .*Download it again"):
            broken.open("train")
        assert packing.pack_metadata(tmp_path / "set.packed") is None


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_compressed_stream_cut_or_damaged_is_refused(tmp_path: Path, kind: str) -> None:
    whole = COMPRESS[kind](packed(contents()))
    cases = [whole[: len(whole) * k // 5] for k in range(1, 5)] + [whole[:-3]]
    for position in range(10, len(whole), len(whole) // 7):
        flipped = bytearray(whole)
        flipped[position] ^= 0x10
        cases.append(bytes(flipped))
    for broken in cases:
        with pytest.raises(UserError, match="damaged or truncated"):
            data(tmp_path, broken).open("train")


def test_joined_archives_are_not_taken_for_the_first(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="something follows the end mark"):
        data(tmp_path, packed(contents()) * 2).open("train")


def test_a_shard_of_only_bad_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "SHARD", VIEWS)
    files = contents()
    for view in range(VIEWS):
        files[f"3DIEBench/02691156/0001/image_{view}.jpg"] = b"no image"
    opened = data(tmp_path, packed(files))
    assert count(opened) == (OBJECTS - 1) * VIEWS
    assert [b.path for b in opened.open("train").bad_images] == ["02691156/0001/0", "02691156/0001/1"]


def test_an_archive_of_only_bad_images_and_an_empty_one(tmp_path: Path) -> None:
    files = {n: b"" if n.endswith("jpg") else c for n, c in contents().items()}
    empty = r"no image in .* can be used \(02691156/0000/0: unusable: the image is empty"
    with pytest.raises(UserError, match=empty):
        data(tmp_path, packed(files)).open("train")
    for k, other in enumerate(({}, {"readme.txt": b"hello"})):
        folder = tmp_path / str(k)
        folder.mkdir()
        with pytest.raises(UserError, match=r"no image in .* can be used"):
            data(folder, packed(other)).open("train")


@pytest.mark.parametrize("number", ["9" * 20, "9" * 200, "1" + "0" * 9 + "1"])
def test_an_index_of_20_digits(tmp_path: Path, number: str) -> None:
    folder = "3DIEBench/02691156/0000"
    files = {
        **contents(),
        f"{folder}/image_{number}.jpg": jpeg(0),
        f"{folder}/latent_{number}.npy": latents(),
    }
    opened = data(tmp_path, packed(files)).open("train")
    assert [b.reason for b in opened.bad_images] == ["unusable: its number is above 1,000,000,000"]
    unpacked = tmp_path / "folder"
    for name, content in files.items():
        (unpacked / name).parent.mkdir(parents=True, exist_ok=True)
        (unpacked / name).write_bytes(content)
    folder_data = ThreeDIEBench(path=str(unpacked), size=8, split="hash", max_bad_fraction=0.9)
    assert [b.reason for b in folder_data.open("train").bad_images] == [
        "unusable: its number is above 1,000,000,000"
    ]


@pytest.mark.parametrize("number", ["²", "٣", "01", "", "-1", "1e3", "1_0"])
def test_numbers_that_only_look_like_one(number: str) -> None:
    names = iter([f"image_{number}.jpg", "image_7.jpg"])
    assert packing.numbered(names, "image_", ".jpg") == [7]


def test_a_member_of_gigabytes_is_bad_and_costs_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bomb: 64 times the limit in zeros, of which gzip makes a thousandth."""
    limit = 1 << 20
    for module in (archive, threediebench_files):
        monkeypatch.setattr(module, "MAX_FILE_BYTES", limit)
    path, size = tmp_path / "set.tar.gz", 64 * limit
    start = packed(contents()).rstrip(b"\0")
    huge = tarfile.TarInfo("3DIEBench/02691156/0000/image_9.jpg")
    huge.size = size
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(start + bytes(-len(start) % 512) + huge.tobuf())
        for _ in range(64):
            file.write(bytes(limit))
        file.write(packed({"3DIEBench/02691156/0000/latent_9.npy": latents()}))
    tracemalloc.start()
    bad = replace(data(tmp_path, b""), path=str(path)).open("train").bad_images
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * limit
    assert bad[0].reason == "unusable: image_9.jpg has 67,108,864 bytes, more than the limit of 1,048,576"


@pytest.mark.parametrize(
    "kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE]
)
def test_a_header_that_announces_gigabytes(tmp_path: Path, kind: bytes) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 4 << 30
    with pytest.raises(UserError, match="a header announces 4,294,967,296 bytes"):
        data(tmp_path, header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 16)).open("train")


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["3DIEBench/02691156/0000/image_5.jpg", "notes.txt"])
def test_a_member_that_announces_a_hundred_terabytes(tmp_path: Path, form: int, name: str) -> None:
    header = tarfile.TarInfo(name)  # skipped block by block, it took hours
    header.size = 10**14
    with pytest.raises(UserError, match="it ends within a file"):
        data(tmp_path, header.tobuf(form) + bytes(1 << 16)).open("train")


def test_a_chain_of_long_names_ends_in_words(tmp_path: Path) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 0
    with pytest.raises(UserError, match="damaged or truncated"):
        data(tmp_path, header.tobuf(tarfile.GNU_FORMAT) * 5000 + bytes(1024)).open("train")


def test_names_that_lead_elsewhere_links_and_devices(tmp_path: Path) -> None:
    before = sorted(p.name for p in tmp_path.iterdir())
    extra = [
        member("../../../../escape/02691156/image_0.jpg", content=jpeg(1)),
        member("/etc/../image_0.jpg", content=jpeg(1)),
        member("../../image_0.jpg", content=jpeg(1)),
        member("3DIEBench/02691156/0000/image_5.jpg", tarfile.SYMTYPE, link="/etc/passwd"),
        member("3DIEBench/02691156/0000/image_6.jpg", tarfile.LNKTYPE, link="../../../../etc/passwd"),
        member("3DIEBench/02691156/0000/image_7.jpg", tarfile.CHRTYPE),
        member("3DIEBench/02691156/0000/image_8.jpg", tarfile.FIFOTYPE),
        member("3DIEBench/02691156/0000/image_9.jpg", tarfile.DIRTYPE),
    ]
    opened = data(tmp_path, packed(contents(), *extra))
    assert count(opened) == OBJECTS * VIEWS
    assert [b.reason for b in opened.open("train").bad_images] == [
        "unusable: the archive has the image without its latents"
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*before, "set.packed", "set.tar"])


def test_a_file_that_is_in_the_archive_twice(tmp_path: Path) -> None:
    files = contents()
    folder = "3DIEBench/02691156/0000"
    again = [
        member(f"{folder}/{n}", content=c) for n, c in (("image_0.jpg", jpeg(9)), ("latent_0.npy", latents()))
    ]
    opened = data(tmp_path, packed(files, *again))
    assert count(opened) == OBJECTS * VIEWS
    assert [(b.path, b.reason) for b in opened.open("train").bad_images] == [
        ("02691156/0000/0", "in the archive twice; the first is used")
    ]
    folders = {name: content for name, content in files.items() if "0000/" not in name}
    twice = [member(f"{folder}/image_0.jpg", content=jpeg(k)) for k in (0, 1)]
    twice.append(member(f"{folder}/latent_0.npy", content=latents()))
    (tmp_path / "one").mkdir()
    bad = data(tmp_path / "one", packed(folders, *twice)).open("train").bad_images
    assert [b.reason for b in bad] == ["unusable: image_0.jpg is in the archive twice"]


def test_images_far_from_their_latents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threediebench_layout, "_MAX_WAITING_BYTES", 3000)
    files = contents()
    apart = {n: c for kind in ("jpg", "npy") for n, c in files.items() if n.endswith(kind)}
    with pytest.raises(UserError, match=r"bytes apart. Unpack it and give the folder"):
        data(tmp_path, packed(apart)).open("train")
    monkeypatch.undo()
    assert count(data(tmp_path, packed(apart))) == OBJECTS * VIEWS


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array",
        latents()[:100],
        latents(np.array(["x"])),
        latents(np.zeros((7, 1))),
        latents(np.array(3.0)),
        latents().replace(b"(7,)", b"(7000000000000,)".ljust(0)),
        b"\x93NUMPY\x01\x00\xff\xff" + b"{" * 65535,
        b"\x93NUMPY\x03\x00\xff\xff\xff\xff{",
        latents(np.array([object()], dtype=object)),
    ],
)
def test_latents_that_are_none(tmp_path: Path, content: bytes) -> None:
    files = {**contents(), "3DIEBench/02691156/0000/latent_0.npy": content}
    opened = data(tmp_path, packed(files)).open("train")
    assert len(opened.bad_images) == 1 and "latents" in opened.bad_images[0].reason


def test_a_folder_with_pipes_and_sparse_gigabytes(tmp_path: Path) -> None:
    for name, content in contents().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    folder = tmp_path / "3DIEBench/02691156/0000"
    for view in (5, 6):
        (folder / f"latent_{view}.npy").write_bytes(latents())
    os.mkfifo(folder / "image_5.jpg")
    with (folder / "image_6.jpg").open("wb") as file:
        file.truncate(5 << 30)
    opened = ThreeDIEBench(path=str(tmp_path), size=8, split="hash", max_bad_fraction=0.9).open("train")
    assert [b.reason for b in opened.bad_images] == [
        "unusable: image_5.jpg is not a regular file",
        "unusable: image_6.jpg has 5,368,709,120 bytes, more than the limit of 67,108,864",
    ]


def arrays(pack: Path) -> dict[str, np.ndarray]:
    with np.load(pack / "00000.npz") as file:
        return {k: file[k] for k in file.files}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("owner", lambda v: v + 1000),
        ("owner", lambda v: v - 1000),
        ("owner", lambda v: v.astype(float)),
        ("owner", lambda v: v[:-1]),
        ("owner", lambda v: v[0]),
        ("ends", lambda v: v[:1]),
        ("ends", lambda v: v[:0]),
        ("ends", lambda v: np.concatenate([v[:1], v[-2:0:-1], v[-1:]])),
        ("ends", lambda v: np.where(v == 0, -5, v)),
        ("view", lambda v: v.astype(str)),
        ("view", lambda v: v - 10),
        ("owners", lambda v: v[:1]),
        ("owners", lambda v: np.arange(len(v))),
        ("latents", lambda v: v * np.nan),
        ("latents", lambda v: v[:, 0]),
        ("latents", lambda v: v[:2]),
        ("bad", lambda v: np.zeros((2, 3), dtype=str)),
        ("bad", lambda v: np.zeros(3, dtype=str)),
    ],
)
def test_an_index_of_a_shard_that_makes_no_sense(
    tmp_path: Path, name: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    opened = data(tmp_path, packed(contents()))
    opened.open("train")
    pack = tmp_path / "set.packed"
    table = arrays(pack)
    np.savez(pack / "00000.npz", **{**table, name: change(table[name])})
    with pytest.raises(
        UserError, match=r"shard 0 of .* is missing or damaged .* delete pack.json, 00000.npz"
    ):
        opened.open("train")


def test_an_index_that_is_cut_compressed_or_no_archive(tmp_path: Path) -> None:
    opened = data(tmp_path, packed(contents()))
    opened.open("train")
    path = tmp_path / "set.packed" / "00000.npz"
    whole, table = path.read_bytes(), arrays(path.parent)
    np.savez_compressed(path, **{**table, "latents": np.zeros((10**6, 7))})  # a bomb: 56 MB in 60 kB
    bomb = path.read_bytes()
    for content in (b"", b"x", whole[:200], whole[:-10], whole[: len(whole) // 2], bomb):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"shard 0 of .* is missing or damaged"):
            opened.open("train")
    path.write_bytes(whole)
    assert count(opened) == OBJECTS * VIEWS


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"version": 1}',
        '{"version": 1, "shards": "2"}',
        '{"version": 1, "shards": -1}',
        '{"version": 7, "shards": 1}',
        '{"version": true, "shards": 1}',
    ],
)
def test_metadata_of_a_pack_that_make_no_sense(tmp_path: Path, content: str) -> None:
    opened = data(tmp_path, packed(contents()))
    opened.open("train")
    (tmp_path / "set.packed" / "pack.json").write_text(content)
    with pytest.raises(UserError):
        opened.open("train")


@pytest.mark.parametrize("content", [b"", b"x", latents(), b"PK\x03\x04", latents()[:100]])
def test_a_published_list_that_is_none(tmp_path: Path, content: bytes) -> None:
    opened = data(tmp_path, packed(contents()), split="published")
    (tmp_path / "val_images.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"val_images.npy' is not a list of objects"):
        opened.open("train")


def test_only_wanted_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(packed({"a": b"1", "b": b"22"}))
    assert [(f.name, f.data) for f in archived_files(path, lambda name: name == "b")] == [("b", b"22")]
    with pytest.raises(DamagedArchive):
        list(archived_files(tmp_path, lambda name: True))
