"""The file layout of 3DIEBench: archive or folder, objects, latents, classes and the published split."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from equissl.data.base import Split
from equissl.data.files.scan import existing_folder
from equissl.data.packs.archive import DamagedArchive, archived_files
from equissl.data.packs.packing import Entry, Pack, numbered
from equissl.data.packs.threediebench_files import read_files, read_pair, refuse
from equissl.errors import UserError
from equissl.storage import atomic_open, write_bytes

NUM_OBJECTS = 52_472
NUM_PUBLISHED: dict[Split, int] = {"train": 41_920, "test": 10_552}
_LISTS: dict[Split, str] = {"train": "train_images.npy", "test": "val_images.npy"}
_MAX_WAITING_BYTES = 1 << 30  # of files whose image or latents have not come yet
_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_NAMES = (
    "02691156 airplane,02747177 trash bin,02773838 bag,02801938 basket,02808440 bathtub,02818832 bed,"
    "02828884 bench,02843684 birdhouse,02871439 bookshelf,02876657 bottle,02880940 bowl,02924116 bus,"
    "02933112 cabinet,02942699 camera,02946921 can,02954340 cap,02958343 car,02992529 cellphone,"
    "03001627 chair,03046257 clock,03085013 keyboard,03207941 dishwasher,03211117 display,03261776 earphone,"
    "03325088 faucet,03337140 file cabinet,03467517 guitar,03513137 helmet,03593526 jar,03624134 knife,"
    "03636649 lamp,03642806 laptop,03691459 loudspeaker,03710193 mailbox,03759954 microphone,"
    "03761084 microwave,03790512 motorcycle,03797390 mug,03928116 piano,03938244 pillow,03948459 pistol,"
    "03991062 pot,04004475 printer,04074963 remote,04090263 rifle,04099429 rocket,04225987 skateboard,"
    "04256520 sofa,04330267 stove,04379243 table,04401088 telephone,04460130 tower,04468005 train,"
    "04530566 vessel,04554684 washer"
)
# Synset -> class name; a label is the rank of the synset.
SYNSETS: dict[str, str] = dict(sorted((s[:8], s[9:]) for s in _NAMES.split(",")))


@dataclass(frozen=True)
class Source:
    """The folder of objects, or a tar archive of it; may be deleted once it is packed."""

    path: Path

    @staticmethod
    def find(path: str) -> Source:
        """The source at ``path``: itself, or the folder ``3DIEBench`` in it.

        Raises:
            UserError: there is neither a source nor a pack of it.
        """
        root = Path(path).expanduser()
        if root.is_file() and root.name.endswith(_ARCHIVES):
            return Source(root)
        for folder in (root / "3DIEBench", root):
            source = Source(folder)
            if (folder.is_dir() and folder != root) or source.default_pack.is_dir():
                return source
        return Source(existing_folder(path, "`equissl download 3diebench out=DIR` fetches it"))

    @staticmethod
    def recognises(path: Path) -> bool:
        """Whether ``path`` is a folder of this layout, by its first object."""
        if not path.is_dir():
            return False
        folder = path / "3DIEBench" if (path / "3DIEBench").is_dir() else path
        for _ in range(2):
            folder = min((e for e in folder.iterdir() if e.is_dir() and e.name[0] != "."), default=folder)
        return (folder / "image_0.jpg").exists() and (folder / "latent_0.npy").exists()

    @property
    def is_folder(self) -> bool:
        return self.path.is_dir()

    @property
    def default_pack(self) -> Path:
        stem = next((self.path.name.removesuffix(a) for a in _ARCHIVES if self.path.name.endswith(a)), None)
        return self.path.with_name(f"{stem or self.path.name}.packed")

    def count(self) -> int:
        """Number of objects; for an archive the published number, without reading it.

        Raises:
            UserError: a folder of another layout.
        """
        if not self.is_folder:
            if not self.path.exists():
                raise UserError(f"data.path: {str(self.path)!r} does not exist, and its pack is incomplete")
            return NUM_OBJECTS
        objects = self._objects()
        first = next((o for o in objects if (self.path / o / "image_0.jpg").exists()), None)
        if first is None:
            names = sorted(e.name for e in os.scandir(self.path))[:5]
            raise UserError(
                f"data.path: {str(self.path)!r} does not have the layout of 3DIEBench (expected "
                f"<synset>/<object>/image_0.jpg and latent_0.npy, such as "
                f"02691156/1a04e3eab45ca15dd86060f189eb133/image_0.jpg, got {names})"
            )
        return len(objects)

    def entries(self) -> Iterator[Entry]:
        """All images, in a fixed order."""
        return self._in_folder() if self.is_folder else self._in_archive()

    def copy_lists(self, folder: Path) -> None:
        """Copy the published split into the folder of a pack."""
        for name in _LISTS.values():
            for parent in (self.path, self.path.parent):
                if (parent / name).is_file():
                    write_bytes(folder / name, (parent / name).read_bytes())
                    break

    def _objects(self) -> list[str]:
        classes = sorted(e.name for e in os.scandir(self.path) if e.is_dir() and e.name[0] != ".")
        return [
            f"{kind}/{name}"
            for kind in classes
            for name in sorted(e.name for e in os.scandir(self.path / kind) if e.is_dir())
        ]

    def _in_folder(self) -> Iterator[Entry]:
        for owner in self._objects():
            folder = self.path / owner
            for view in numbered((e.name for e in os.scandir(folder)), "image_", ".jpg"):
                yield Entry(owner, view, partial(read_files, folder, view))

    def _in_archive(self) -> Iterator[Entry]:
        unpaired: dict[tuple[str, int, bool], bytes] = {}
        waiting, read = 0, 0
        try:
            for file in archived_files(self.path, lambda name: _member(name) is not None):
                owner, view, is_image = _member(file.name) or ("", 0, False)
                key, other = (owner, view, is_image), unpaired.pop((owner, view, not is_image), None)
                if file.problem or key in unpaired:
                    problem = file.problem or "is in the archive twice"
                    yield Entry(owner, view, partial(refuse, f"{file.name.rpartition('/')[2]} {problem}"))
                    continue
                if other is None:
                    unpaired[key] = file.data
                    waiting += len(file.data)
                    _check_waiting(self.path, waiting)
                    continue
                waiting -= len(other)
                read += 1
                pair = (file.data, other) if is_image else (other, file.data)
                yield Entry(owner, view, partial(read_pair, *pair))
        except DamagedArchive as error:
            raise UserError(
                f"data.path: the archive {str(self.path)!r} is damaged or truncated after {read:,} "
                f"images ({error}). Download it again: `equissl download 3diebench` resumes. "
                "Finished shards are kept"
            ) from error
        for owner, view, is_image in sorted(unpaired):
            kind = "the image without its latents" if is_image else "the latents without their image"
            yield Entry(owner, view, partial(refuse, f"the archive has {kind}"))


def _check_waiting(path: Path, size: int) -> None:
    if size > _MAX_WAITING_BYTES:
        raise UserError(
            f"data.path: in the archive {str(path)!r} images and their latents lie more than "
            f"{_MAX_WAITING_BYTES:,} bytes apart. Unpack it and give the folder"
        )


def _member(name: str) -> tuple[str, int, bool] | None:
    """(object, view, is an image) of ``3DIEBench/<synset>/<object>/image_3.jpg``."""
    kind, _, rest = "/".join(name.split("/")[-3:]).partition("/")
    owner, _, file = rest.partition("/")
    if {kind, owner} & {"", ".", ".."}:
        return None
    for prefix, suffix in (("image_", ".jpg"), ("latent_", ".npy")):
        views = numbered(iter([file]), prefix, suffix)
        if views:
            return f"{kind}/{owner}", views[0], prefix == "image_"
    return None


def published(source: Source, pack: Pack, split: Split) -> list[str]:
    """Objects of a split by the published lists; one list is enough, the other split is the rest.

    Raises:
        UserError: there is no list, the lists contradict each other or the folder, or the counts of the
            complete 3DIEBench are not the published ones.
    """
    lists = {s: _list([pack.folder, source.path, source.path.parent], name) for s, name in _LISTS.items()}
    objects = set(pack.owners)
    listed = {s: set(names) for s, names in lists.items() if names is not None}
    if not listed:
        raise UserError(
            f"data.path: neither train_images.npy nor val_images.npy is in {str(source.path)!r} or its "
            "parent. Copy one there (from the repository facebookresearch/SIE), or set data.split=hash"
        )
    unknown = sorted(set().union(*listed.values()) - objects)
    both = sorted(listed["train"] & listed["test"]) if len(listed) == 2 else []
    # An object is missing where none of its images could be packed; more missing ones mean another archive.
    if both or len(unknown) > 0.05 * sum(map(len, listed.values())):
        problem = (
            f"{len(both)} objects, such as {both[0]!r}, in both"
            if both
            else (f"{len(unknown)} objects, such as {unknown[0]!r}, that do not exist")
        )
        raise UserError(f"data.path: the lists next to {str(source.path)!r} name {problem}")
    other: Split = "test" if split == "train" else "train"
    selected = listed[split] & objects if split in listed else objects - listed[other]
    if len(objects) == NUM_OBJECTS and len(selected) != NUM_PUBLISHED[split]:
        raise UserError(
            f"data.path: the {split} split has {len(selected):,} objects instead of the published "
            f"{NUM_PUBLISHED[split]:,}; are the lists next to {str(source.path)!r} of this archive?"
        )
    return sorted(selected)


def _list(folders: Sequence[Path], name: str) -> list[str] | None:
    path = next((p / name for p in folders if (p / name).is_file()), None)
    if path is None:
        return None
    try:
        values = np.load(path, allow_pickle=False)
        if not isinstance(values, np.ndarray) or values.dtype.kind != "U":
            raise ValueError("its content is no array of texts")
        return [v.strip("/") for v in values.reshape(-1).tolist()]
    except (ValueError, EOFError, OSError, MemoryError, OverflowError, SyntaxError, BadZipFile) as error:
        raise UserError(f"data.path: {str(path)!r} is not a list of objects ({error})") from error


def write_split(root: Path, objects: Sequence[str], test_objects: Collection[str]) -> None:
    """Write the lists of a split in the published format: ``/<synset>/<object>/`` and labels."""
    synsets = sorted({o.partition("/")[0] for o in objects})
    synsets = list(SYNSETS) if set(synsets) <= set(SYNSETS) else synsets
    for name, keep in (("train", False), ("val", True)):
        names = [o for o in objects if (o in test_objects) == keep]
        labels = [synsets.index(o.partition("/")[0]) for o in names]
        for kind, column in (
            ("images", np.array([f"/{o}/" for o in names], dtype=np.str_)),
            ("labels", np.array(labels, dtype=np.int64)),
        ):
            with atomic_open(root / f"{name}_{kind}.npy", "wb") as file:
                np.save(file, column)
