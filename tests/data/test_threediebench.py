"""The reader of 3DIEBench: latents, split, labels, the pack, and everything that can be wrong with it."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_files import golden
from torch import Tensor

from equissl.data.base import InMemoryDataset
from equissl.data.folder import open_data
from equissl.data.image_folder import ImageFolder
from equissl.data.packs import packing, threediebench_layout
from equissl.data.packs.packed_dataset import PackedDataset
from equissl.data.packs.packing import pack_metadata, read_pack
from equissl.data.packs.threediebench_layout import SYNSETS
from equissl.data.threediebench import ORIGINAL, ThreeDIEBench
from equissl.errors import UserError
from equissl.params import Params, between, euler_quaternion


@pytest.fixture
def data(tmp_path: Path) -> ThreeDIEBench:
    return ThreeDIEBench.example(tmp_path)


@pytest.mark.golden
@pytest.mark.parametrize("path", golden("sie_quaternion"), ids=lambda p: p.stem)
def test_changes_are_the_originals(path: Path) -> None:
    with np.load(path) as file:
        g = {k: torch.from_numpy(np.array(file[k])) for k in file.files if file[k].dtype.kind in "fi"}
    x, y = (euler_quaternion(g[f"latents_{side}"][:, :3]) for side in "xy")
    for side, found in (("x", x), ("y", y)):
        torch.testing.assert_close(found[:, [1, 2, 3, 0]], g[f"quat_{side}_float64"], atol=1e-13, rtol=0)
    kind = ORIGINAL["pose"]
    exact = kind.encode(kind.between(x, y))[:, [1, 2, 3, 0]]
    torch.testing.assert_close(exact, g["z_rot_float64"], atol=1e-13, rtol=0)
    torch.testing.assert_close(exact.float(), -g["z_rot_old_scipy"], atol=2e-7, rtol=0)
    reader = ThreeDIEBench(path="nowhere", convention="original")
    first, second = (reader._params(g[f"latents_{side}"]) for side in "xy")
    z = encoded(first, second, ["pose", "floor_hue", "light_hue"])
    torch.testing.assert_close(z, g["z_rotcolor"], atol=1e-6, rtol=0)
    rest = ["floor_hue", "light_polar", "light_azimuth", "light_hue"]
    torch.testing.assert_close(encoded(first, second, ["pose", *rest]), g["z_all"], atol=1e-6, rtol=0)
    canonical = ThreeDIEBench(path="nowhere")
    first, second = (canonical._params(g[f"latents_{side}"]) for side in "xy")
    own = between(first, second, canonical.space.select(["pose"])).encode()[:, [1, 2, 3, 0]]
    signs = torch.where(g["z_rot"][:, 3:] < 0, -1.0, 1.0)
    assert (own[:, 3] >= 0).all()
    torch.testing.assert_close(own, g["z_rot"] * signs, atol=1e-6, rtol=0)


def encoded(first: Params, second: Params, names: list[str]) -> Tensor:
    """The change of some factors in the original's order: (x, y, z, w), then the columns of the latents."""
    change = between(first, second, ORIGINAL.select(names))
    parts = [change.space[n].encode(change.values[n]) for n in names]
    return torch.cat([parts[0][:, [1, 2, 3, 0]], *parts[1:]], 1)


def test_labels_are_the_ranks_of_the_synsets() -> None:
    assert len(SYNSETS) == 55 and list(SYNSETS) == sorted(SYNSETS)
    names = list(SYNSETS.values())
    assert (names[0], names[18], names[49], names[54]) == ("airplane", "chair", "table", "washer")


def test_a_image_has_its_own_latents(data: ThreeDIEBench) -> None:
    opened = data.open("train")
    assert isinstance(opened, InMemoryDataset) and len(opened) == 18 and len(opened.classes) == 55
    for row, file in enumerate(opened.files):
        synset, name, image = file.split("/")
        latents = np.load(Path(data.path) / "3DIEBench" / synset / name / f"latent_{image[6:-4]}.npy")
        assert float(opened.params.values["floor_hue"][row]) == pytest.approx(latents[3])
        assert float(opened.params.values["light_elevation"][row]) == pytest.approx(np.pi / 2 - latents[4])
        assert list(SYNSETS)[int(opened.labels[row])] == synset
    assert len(torch.unique(opened.groups)) == 6 and len(data.open("test")) == 6


def test_decoded_when_used_equals_decoded_before(data: ThreeDIEBench) -> None:
    memory = data.open("train")
    used = ThreeDIEBench(path=data.path, size=8, paired=True, memory_gb=0).open("train")
    assert isinstance(used, PackedDataset)
    index = torch.tensor([5, 0, 17])
    one, two = memory.batch(index, 1), used.batch(index, 1)
    for name in ("image", "partner"):
        assert torch.equal(one.images[name], two.images[name])
        assert torch.equal(one.params[name].values["pose"], two.params[name].values["pose"])
    swapped = ThreeDIEBench(path=data.path, size=8, memory_gb=0, swap_channels=True).open("train")
    assert torch.equal(swapped.batch(index).images["image"], one.images["image"].flip(1))


def test_one_list_is_enough(data: ThreeDIEBench) -> None:
    whole = data.open("train").files
    (Path(data.path) / "3DIEBench.packed" / "train_images.npy").unlink()
    (Path(data.path) / "3DIEBench" / "train_images.npy").unlink()
    assert data.open("train").files == whole


def test_without_lists_the_names_decide_if_asked(data: ThreeDIEBench) -> None:
    for list_ in (Path(data.path) / "3DIEBench").glob("*.npy"):
        list_.unlink()
    with pytest.raises(UserError, match=r"data\.split=hash"):
        data.open("train")
    by_name = ThreeDIEBench(path=data.path, size=8, split="hash")
    train, test = (set(torch.unique(by_name.open(s).groups).tolist()) for s in ("train", "test"))
    assert train | test == set(range(8)) and not train & test and test


def test_counts_are_checked(data: ThreeDIEBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("equissl.data.packs.threediebench_layout.NUM_OBJECTS", 8)
    with pytest.raises(UserError, match="6 objects instead of the published 41,920"):
        data.open("train")


def test_lists_that_contradict_are_refused(data: ThreeDIEBench) -> None:
    root = Path(data.path) / "3DIEBench"
    train = np.load(root / "train_images.npy")
    np.save(root / "val_images.npy", train)
    with pytest.raises(UserError, match="in both"):
        data.open("train")
    np.save(root / "val_images.npy", np.array(["/02691156/missing/"]))
    (Path(data.path) / "3DIEBench.packed" / "val_images.npy").unlink()
    with pytest.raises(UserError, match="do not exist"):
        data.open("test")


def test_an_archive_need_not_be_unpacked(data: ThreeDIEBench) -> None:
    folder = Path(data.path)
    archive = folder / "copy" / "set.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder / "3DIEBench", "3DIEBench")
    for name in ("train_images.npy", "val_images.npy"):
        (archive.parent / name).write_bytes((folder / "3DIEBench" / name).read_bytes())
    one, two = data.open("train"), ThreeDIEBench(path=str(archive), size=8, paired=True).open("train")
    assert one.files == two.files
    index = torch.arange(len(one))
    assert torch.equal(one.batch(index).images["image"], two.batch(index).images["image"])
    # Once packed, neither the archive nor the folder is needed.
    archive.unlink()
    (archive.parent / "set.tar.gz").mkdir()
    assert ThreeDIEBench(path=str(folder), size=8, paired=True).open("train").files == one.files


def test_a_truncated_archive_says_so_and_loses_nothing(
    data: ThreeDIEBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "SHARD", 4)
    folder = Path(data.path)
    archive = folder / "set.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder / "3DIEBench", "3DIEBench")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) * 2 // 3])
    short = ThreeDIEBench(path=str(archive), size=8, split="hash")
    with pytest.raises(UserError, match=r"truncated after \d+ images"):
        short.open("train")
    pack = folder / "set.packed"
    kept = {p.name: p.stat().st_mtime_ns for p in pack.glob("*.npz")}
    assert kept and pack_metadata(pack) is None
    archive.write_bytes(whole)
    assert len(short.open("train")) + len(short.open("test")) == 24
    assert all((pack / name).stat().st_mtime_ns == when for name, when in kept.items())


def test_what_cannot_be_used_is_listed(data: ThreeDIEBench) -> None:
    root = Path(data.path) / "3DIEBench"
    one, two, three = (root / "02691156" / f"{k:04d}" for k in (1, 2, 3))
    (one / "latent_0.npy").unlink()
    whole = (two / "image_1.jpg").read_bytes()
    (two / "image_1.jpg").write_bytes(whole[:-20])
    np.save(three / "latent_2.npy", np.array([1.0, np.nan, 0, 0, 0, 0, 0]))
    (three / "image_0.jpg").write_bytes(whole[:30] + b"\0" * 50 + b"\xff\xd9")  # found only when decoded
    with pytest.raises(UserError, match="cannot be read"):
        data.open("train")
    lenient = ThreeDIEBench(path=data.path, size=8, max_bad_fraction=0.5)
    opened = lenient.open("train")
    reasons = " ".join(b.reason for b in opened.bad_images)
    assert len(opened.bad_images) == 4 and len(opened) == 14
    assert "latent_0.npy is missing" in reasons and "truncated" in reasons and "finite" in reasons
    used = ThreeDIEBench(path=data.path, size=8, max_bad_fraction=0.5, memory_gb=0).open("train")
    batch = used.batch(torch.arange(len(used)))
    assert len(batch.images["image"]) == 15 and len(used.bad_images) == 4


def test_packing_goes_on_where_it_was(data: ThreeDIEBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "SHARD", 5)
    whole = data.open("train").batch(torch.arange(18))
    pack = Path(data.path) / "3DIEBench.packed"
    (pack / "pack.json").unlink()
    (pack / "00003.npz").unlink()
    (pack / "00004.bin").unlink()
    with pytest.raises(UserError, match="00004"):
        data.open("train")
    (pack / "pack.json").unlink()
    (pack / "00004.npz").unlink()
    again = data.open("train").batch(torch.arange(18))
    assert torch.equal(whole.images["image"], again.images["image"])
    assert len(read_pack(pack).owners) == 8


def test_a_folder_that_changed_after_packing_is_noticed(data: ThreeDIEBench) -> None:
    data.open("train")
    (Path(data.path) / "3DIEBench" / "02691156" / "new").mkdir()
    with pytest.raises(UserError, match="Delete the pack to write it again"):
        data.open("train")


def test_other_layouts_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        ThreeDIEBench(path=str(tmp_path / "absent")).open("train")
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "1.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match=r"does not have the layout of 3DIEBench.*cats"):
        ThreeDIEBench(path=str(tmp_path)).open("train")
    with pytest.raises(ValueError, match="did you mean 'original'"):
        ThreeDIEBench(path="x", convention="orginal")  # type: ignore[arg-type]


def test_shifts_are_read_if_asked(data: ThreeDIEBench) -> None:
    with pytest.raises(UserError, match=r"7 latents per image, but data\.shift=true needs 10"):
        ThreeDIEBench(path=data.path, size=8, shift=True).open("train")
    params = ThreeDIEBench(path=data.path, shift=True)._params(torch.rand(4, 10, dtype=torch.float64))
    assert params.space.names[-3:] == ("shift_x", "shift_y", "shift_z")
    assert sum(threediebench_layout.NUM_PUBLISHED.values()) == threediebench_layout.NUM_OBJECTS


def test_a_folder_of_the_layout_is_recognised(tmp_path: Path) -> None:
    data = ThreeDIEBench.example(tmp_path / "there")
    found = open_data(Path(data.path), 16)
    assert isinstance(found, ThreeDIEBench) and found.paired and found.size == 16
    (tmp_path / "photos" / "a").mkdir(parents=True)
    for other in ("photos", "missing"):
        assert isinstance(open_data(tmp_path / other, 16), ImageFolder)


def test_a_missing_folder_says_where_to_get_it() -> None:
    with pytest.raises(UserError, match=r"does not exist .*`equissl download 3diebench out=DIR` fetches it"):
        ThreeDIEBench(path="nowhere").open("train")
