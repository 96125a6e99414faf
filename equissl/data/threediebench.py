"""3DIEBench: renders of ShapeNet objects with known pose, floor and light (arXiv:2302.10283, section 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from equissl.config.validation import TrustNeed
from equissl.data.base import Data, Dataset, Split, check_split
from equissl.data.files.reader import ImageReader
from equissl.data.files.split import hash_fraction
from equissl.data.packs.packed_dataset import PackedDataset
from equissl.data.packs.packing import Pack, pack_metadata, read_pack, rows_of, write_pack
from equissl.data.packs.threediebench_layout import SYNSETS, Source, published, write_split
from equissl.errors import UserError
from equissl.params import Params, Real, Rotation, Space, euler_quaternion
from equissl.progress import Progress, no_progress
from equissl.render.solids.scene import SPACE

Convention = Literal["circular", "original"]
SplitRule = Literal["published", "hash"]
TEST_FRACTION = 0.2  # of the objects, for data.split=hash

# As in the released code: quaternions keep their sign, hues are real numbers and not circular.
ORIGINAL = Space(
    (
        Rotation("pose", unit="quaternion", keep_sign=True),
        Real("floor_hue", unit="turns"),
        Real("light_polar", unit="radians"),
        Real("light_azimuth", unit="radians"),
        Real("light_hue", unit="turns"),
    )
)
SHIFT = Space(tuple(Real(f"shift_{axis}", unit="lengths", scale=math.sqrt(1 / 12)) for axis in "xyz"))


@dataclass(frozen=True, kw_only=True)
class ThreeDIEBench(Data):
    """3DIEBench from its archive or a folder of its layout; packed once, then read from the pack.

    ``<path>/<synset>/<object>/image_0.jpg``, ``latent_0.npy``, ... Latents are 7 numbers: Euler angles x, y,
    z, floor hue, polar angle, azimuth and hue of the light (10 with a shift of the object).

    Args:
        path: the folder, one that holds ``3DIEBench``, or the ``.tar.gz`` itself, which need not be unpacked.
        size: side in pixels the images are resized to; they are 256.
        paired: add "partner" to batches, another image of the same object.
        convention: "circular": canonical quaternions and circular hues, as ``Solids``. "original": as the
            released code encodes them.
        split: "published": ``train_images.npy`` and ``val_images.npy`` next to the objects, one is enough.
            "hash": a fifth of the objects, chosen by their names.
        shift: the latents include a translation of the object.
        swap_channels: exchange red and blue (see docs/3diebench.md).
        pack: folder of the packed copy; ``<path>.packed`` if empty.
        limit: maximum number of objects of a split, always the same ones; ``None`` for all.
        max_bad_fraction: fraction of unusable images, in [0, 1], above which opening is refused.
        memory_gb: maximum size of the decoded images, in 10^9 bytes; larger sets are decoded when used.
        num_workers: decoding threads; 0 for one per core.
    """

    title: ClassVar[str] = "3DIEBench"
    paper: ClassVar[str] = "arXiv:2302.10283"
    path: str
    size: int = 256
    paired: bool = False
    convention: Convention = "circular"
    split: SplitRule = "published"
    shift: bool = False
    swap_channels: bool = False
    pack: str = ""
    limit: int | None = None
    max_bad_fraction: float = 0.05
    memory_gb: float = 2.0
    num_workers: int = 0

    def needs_trust(self) -> list[TrustNeed]:
        try:
            source = Source.find(self.path)
            folder = Path(self.pack).expanduser() if self.pack else source.default_pack
            packed = pack_metadata(folder) is not None
        except (UserError, OSError):
            return []  # opening it fails, and writes nothing
        return [] if packed else [TrustNeed("path", f"would be packed into {str(folder)!r}")]

    @property
    def space(self) -> Space:
        """The labelled factors of every image."""
        return (SPACE if self.convention == "circular" else ORIGINAL) + (SHIFT if self.shift else Space())

    @property
    def spaces(self) -> Mapping[str, Space]:
        return dict.fromkeys(("image", "partner") if self.paired else ("image",), self.space)

    def open(self, split: Split, progress: Progress = no_progress) -> Dataset:
        check_split(split)
        pack = self._packed(progress)
        rows = rows_of(pack, self._objects(pack, split))
        params = self._params(pack.latents[rows])
        classes = tuple(sorted({name.partition("/")[0] for name in pack.owners}))
        if set(classes) <= set(SYNSETS):
            classes = tuple(SYNSETS)  # the published labels, also if some classes are missing
        object_labels = torch.tensor([classes.index(name.partition("/")[0]) for name in pack.owners])
        names = tuple(SYNSETS.get(c, c) for c in classes)
        dataset = PackedDataset(
            pack,
            rows,
            params,
            object_labels[pack.owner[rows]],
            names,
            self._reader,
            self.paired,
            self.swap_channels,
        )
        if len(rows) * 3 * self.size**2 > self.memory_gb * 1e9:
            return dataset
        return dataset.load(progress)

    @property
    def _reader(self) -> ImageReader:
        return ImageReader(self.size, max_bad_fraction=self.max_bad_fraction, num_workers=self.num_workers)

    def _packed(self, progress: Progress) -> Pack:
        source = Source.find(self.path)
        folder = Path(self.pack).expanduser() if self.pack else source.default_pack
        metadata = pack_metadata(folder)
        if metadata is None:
            count = source.count()
            write_pack(folder, source.entries(), {"objects": count}, count * 50, progress)
            source.copy_lists(folder)
        elif source.is_folder and metadata["objects"] != (count := source.count()):
            raise UserError(
                f"{str(source.path)!r} has {count} objects, but the pack {str(folder)!r} has "
                f"{metadata['objects']}. Delete the pack to write it again"
            )
        pack = read_pack(folder, progress)
        self._reader.check_bad(pack.bad, len(pack.owner) + len(pack.bad))
        return pack

    def _objects(self, pack: Pack, split: Split) -> list[str]:
        if self.split == "hash":
            test = held_out_objects(pack.owners)
            objects = sorted(test if split == "test" else set(pack.owners) - test)
        else:
            objects = published(Source.find(self.path), pack, split)
        if self.limit is not None:
            objects = sorted(objects, key=lambda name: hash_fraction(name, "limit"))[: self.limit]
        if not objects:
            raise UserError(f"data.path: the {split} split of {self.path!r} has no objects")
        return objects

    def _params(self, latents: Tensor) -> Params:
        num_latents = 10 if self.shift else 7
        if latents.shape[1] != num_latents:
            raise UserError(
                f"data.path: {self.path!r} has {latents.shape[1]} latents per image, but data.shift="
                f"{str(self.shift).lower()} needs {num_latents}"
            )
        floor_hue, polar, azimuth, light_hue = torch.split(latents[:, 3:7].float(), 1, 1)
        values = {
            "pose": euler_quaternion(latents[:, :3]).float(),
            "floor_hue": floor_hue,
            "light_hue": light_hue,
            "light_azimuth": azimuth,
            "light_elevation": math.pi / 2 - polar,
            "light_polar": polar,
            **dict(zip(SHIFT.names, torch.split(latents[:, 7:].float(), 1, 1), strict=False)),
        }
        return Params.of(self.space, {n: values[n] for n in self.space.names}, count=len(latents))

    @classmethod
    def example(cls, folder: Path) -> ThreeDIEBench:
        root = folder / "3DIEBench"
        generator = np.random.default_rng(0)
        objects = [f"{synset}/{k:04d}" for synset in list(SYNSETS)[:2] for k in range(4)]
        for name in objects:
            (root / name).mkdir(parents=True)
            for view in range(3):
                noise = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(noise).save(root / name / f"image_{view}.jpg")
                np.save(root / name / f"latent_{view}.npy", generator.random(7))
        write_split(root, objects, {objects[0], objects[5]})
        return cls(path=str(folder), size=8, paired=True, num_workers=1)


def held_out_objects(objects: Sequence[str]) -> set[str]:
    """About ``TEST_FRACTION`` of the objects, by a hash of their names; at least one of two or more."""
    hashes = {name: hash_fraction(name, "3diebench") for name in objects}
    selected = {name for name, value in hashes.items() if value < TEST_FRACTION}
    first = sorted(hashes, key=lambda name: hashes[name])[:1]
    return selected or set(first if len(objects) > 1 else [])
