"""Where 3DIEBench keeps what: objects, latents, classes and the published split."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equissl.data.base import Split
from equissl.data.files.scan import existing_folder
from equissl.data.packs.packed import Entry, Pack, numbered
from equissl.errors import UserError
from equissl.storage import atomic_open

OBJECTS = 52_472
PUBLISHED: dict[Split, int] = {"train": 41_920, "test": 10_552}
_LISTS: dict[Split, str] = {"train": "train_images.npy", "test": "val_images.npy"}
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
# Synset -> its name, in the order of the labels, which are ranks of the synsets.
SYNSETS: dict[str, str] = dict(sorted((s[:8], s[9:]) for s in _NAMES.split(",")))


@dataclass(frozen=True)
class Source:
    """A folder of objects, a tar archive of one, or nothing any more once it is packed."""

    path: Path

    @staticmethod
    def find(path: str) -> Source:
        """What ``path`` means: itself, or the folder ``3DIEBench`` in it.

        Raises:
            UserError: there is no such thing, nor a pack of it.
        """
        given = Path(path).expanduser()
        if given.is_file() and given.name.endswith(_ARCHIVES):
            return Source(given)
        inner = given / "3DIEBench"
        for folder in (inner, given):
            found = Source(folder)
            if (folder.is_dir() and folder != given) or found.default_pack.is_dir():
                return found
        return Source(existing_folder(path))

    @staticmethod
    def recognises(path: Path) -> bool:
        """Whether there is a folder of this layout, by its first object."""
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
        """How many objects there are; the official number for an archive, which is not opened for it.

        Raises:
            UserError: a folder of another layout.
        """
        if not self.is_folder:
            if not self.path.exists():
                raise UserError(f"data.path: {str(self.path)!r} is gone, and its pack is not complete")
            return OBJECTS
        objects = self._objects()
        first = next((o for o in objects if (self.path / o / "image_0.jpg").exists()), None)
        if first is None:
            held = sorted(e.name for e in os.scandir(self.path))[:5]
            raise UserError(
                f"data.path: {str(self.path)!r} has another layout than 3DIEBench; expected "
                f"<synset>/<object>/image_0.jpg and latent_0.npy, such as "
                f"02691156/1a04e3eab45ca15dd86060f189eb133/image_0.jpg, but it holds {held}"
            )
        return len(objects)

    def entries(self) -> Iterator[Entry]:
        """Every image, in an order that does not change."""
        return self._in_folder() if self.is_folder else self._in_archive()

    def copy_lists(self, folder: Path) -> None:
        """Keep the published split with a pack."""
        for name in _LISTS.values():
            for place in (self.path, self.path.parent):
                if (place / name).is_file():
                    shutil.copyfile(place / name, folder / name)
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
                yield Entry(owner, view, _Files(folder, view))

    def _in_archive(self) -> Iterator[Entry]:
        waiting: dict[tuple[str, int], bytes] = {}
        read = 0
        try:
            with tarfile.open(self.path, "r|*") as archive:
                for member in archive:
                    found = _member(member.name)
                    file = archive.extractfile(member) if found and member.isfile() else None
                    if not found or file is None:
                        continue
                    owner, view, is_image = found
                    data, other = file.read(), waiting.pop((owner, view), None)
                    if other is None:
                        waiting[owner, view] = data
                        continue
                    read += 1
                    yield Entry(owner, view, _Content(*((data, other) if is_image else (other, data))))
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise UserError(
                f"data.path: the archive {str(self.path)!r} is damaged or ends early, after {read:,} "
                f"images ({error}); fetch it again: `equissl download 3diebench` goes on where it was. "
                "What has been packed is kept"
            ) from error
        for owner, view in sorted(waiting):
            yield Entry(owner, view, _Half())


@dataclass(frozen=True)
class _Files:
    folder: Path
    view: int

    def __call__(self) -> tuple[bytes, NDArray[np.float64]]:
        data = (self.folder / f"image_{self.view}.jpg").read_bytes()
        try:
            latent = (self.folder / f"latent_{self.view}.npy").read_bytes()
        except FileNotFoundError as error:
            raise ValueError(f"latent_{self.view}.npy is missing") from error
        return data, _latent(latent)


@dataclass(frozen=True)
class _Content:
    image: bytes
    latent: bytes

    def __call__(self) -> tuple[bytes, NDArray[np.float64]]:
        return self.image, _latent(self.latent)


@dataclass(frozen=True)
class _Half:
    def __call__(self) -> tuple[bytes, NDArray[np.float64]]:
        raise ValueError("only one of image and latents is in the archive")


def _latent(data: bytes) -> NDArray[np.float64]:
    try:
        values = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"the latents cannot be read ({error})") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu" or values.ndim != 1:
        raise ValueError("the latents are not a row of numbers")
    if len(values) not in (7, 10) or not np.isfinite(values).all():
        raise ValueError(f"the latents are not 7 or 10 finite numbers, but {values.tolist()[:12]}")
    return values.astype(np.float64)


def _member(name: str) -> tuple[str, int, bool] | None:
    """(object, view, whether it is the image) of ``3DIEBench/<synset>/<object>/image_3.jpg``."""
    kind, _, rest = "/".join(name.split("/")[-3:]).partition("/")
    owner, _, file = rest.partition("/")
    for prefix, suffix in (("image_", ".jpg"), ("latent_", ".npy")):
        views = numbered(iter([file]), prefix, suffix)
        if views and kind and owner:
            return f"{kind}/{owner}", views[0], prefix == "image_"
    return None


def published(source: Source, pack: Pack, split: Split) -> list[str]:
    """The objects of a split by the published lists; one list is enough, the rest is the other split.

    Raises:
        UserError: neither list is there, they contradict each other or the folder, or the counts of the
            whole of 3DIEBench are not the published ones.
    """
    lists = {s: _list([pack.folder, source.path, source.path.parent], name) for s, name in _LISTS.items()}
    there = set(pack.owners)
    given = {s: set(names) for s, names in lists.items() if names is not None}
    if not given:
        raise UserError(
            f"data.path: neither train_images.npy nor val_images.npy is in {str(source.path)!r} or beside "
            "it; place one there (they are in the repository facebookresearch/SIE), or set data.split=hash"
        )
    unknown = sorted(set().union(*given.values()) - there)
    both = sorted(given["train"] & given["test"]) if len(given) == 2 else []
    # An image that could not be packed may take its object with it; more than that is another archive.
    if both or len(unknown) > 0.05 * sum(map(len, given.values())):
        wrong = (
            f"{len(both)} objects, such as {both[0]!r}, in both"
            if both
            else (f"{len(unknown)} objects, such as {unknown[0]!r}, that are not there")
        )
        raise UserError(f"data.path: the lists beside {str(source.path)!r} name {wrong}")
    other: Split = "test" if split == "train" else "train"
    chosen = given[split] & there if split in given else there - given[other]
    if len(there) == OBJECTS and len(chosen) != PUBLISHED[split]:
        raise UserError(
            f"data.path: the {split} split has {len(chosen):,} objects instead of the published "
            f"{PUBLISHED[split]:,}; are the lists beside {str(source.path)!r} the right ones?"
        )
    return sorted(chosen)


def _list(places: Sequence[Path], name: str) -> list[str] | None:
    path = next((p / name for p in places if (p / name).is_file()), None)
    if path is None:
        return None
    try:
        values = np.load(path, allow_pickle=False)
        return [str(v).strip("/") for v in values.reshape(-1).tolist()]
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"data.path: {str(path)!r} is no list of objects ({error})") from error


def write_split(root: Path, objects: Sequence[str], held_out: Collection[str]) -> None:
    """The lists of a split in the official form, ``/<synset>/<object>/`` and their labels."""
    synsets = sorted({o.partition("/")[0] for o in objects})
    synsets = list(SYNSETS) if set(synsets) <= set(SYNSETS) else synsets
    for name, keep in (("train", False), ("val", True)):
        names = [o for o in objects if (o in held_out) == keep]
        labels = [synsets.index(o.partition("/")[0]) for o in names]
        for kind, column in (
            ("images", np.array([f"/{o}/" for o in names], dtype=np.str_)),
            ("labels", np.array(labels, dtype=np.int64)),
        ):
            with atomic_open(root / f"{name}_{kind}.npy", "wb") as file:
                np.save(file, column)
