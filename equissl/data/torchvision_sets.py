"""CIFAR-10, CIFAR-100, STL-10 and Flowers-102 through torchvision, and ImageNet from a folder."""

from __future__ import annotations

import pickle
import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from equissl.config.validation import TrustNeed
from equissl.data.base import Data, Dataset, InMemoryDataset, Split, check_split
from equissl.data.files.scan import Listing
from equissl.data.image_folder import ImageFolder, write_images
from equissl.errors import UserError
from equissl.params import Params, Space
from equissl.progress import Progress, no_progress
from equissl.random import shuffled


@dataclass(frozen=True)
class _Published(Data):
    """A dataset that torchvision finds, verifies and downloads."""

    torchvision_class: ClassVar[str]  # in torchvision.datasets
    folder: ClassVar[str]  # of its files, below ``path``
    source: ClassVar[str]  # files and website, for a download by hand

    path: str
    size: int
    download: bool = False
    verify: bool = True
    limit: int | None = None

    @abstractmethod
    def open(self, split: Split, progress: Progress = no_progress) -> Dataset: ...

    def opened(self) -> _Published:
        return replace(self, download=False)

    def needs_trust(self) -> list[TrustNeed]:
        needs = [TrustNeed("download", "fetches files and unpacks them")] if self.download else []
        return needs if self.verify else [*needs, TrustNeed("verify", "opens pickles without checking them")]

    def load(self, **arguments: object) -> Any:
        """torchvision's dataset.

        Raises:
            UserError: it is missing, damaged, or cannot be downloaded.
        """
        from torchvision import datasets  # takes seconds to import

        root = Path(self.path).expanduser()
        if root.name == self.folder:
            root = root.parent
        cls = getattr(datasets, self.torchvision_class)
        if not (self.verify or self.download):
            cls = _without_checksums(cls)
        try:
            return cls(str(root), download=self.download, **arguments)
        except (OSError, RuntimeError, LookupError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise UserError(self._missing(root / self.folder, error)) from error

    def _missing(self, expected: Path, error: Exception) -> str:
        name, by_hand = self.torchvision_class, f"unpack {self.source} to {str(expected)!r}"
        if self.download:
            return f"data.download: {name} could not be downloaded ({error}). By hand: {by_hand}"
        if expected.is_dir():
            return (
                f"data.path: files of {name} in {str(expected)!r} are missing or differ from "
                f"the published ones ({error}). Remove the folder and set data.download=true, or set "
                "data.verify=false if you trust this copy"
            )
        return f"data.path: no {name} in {str(expected)!r}. Set data.download=true, or {by_hand}"


@dataclass(frozen=True)
class Cifar10(_Published):
    """CIFAR-10: 60,000 images of 32 x 32 pixels in 10 classes (Krizhevsky, 2009).

    Args:
        path: the parent of ``cifar-10-batches-py``.
        size: side in pixels the images are resized to.
        download: download missing files.
        verify: check the published checksums; without it, pickles are opened unchecked.
        limit: maximum number of images of a split, always the same ones; ``None`` for all.
    """

    title: ClassVar[str] = "CIFAR-10"
    bibtex: ClassVar[str] = r"""
    @techreport{cifar2009,
      title = {{Learning Multiple Layers of Features from Tiny Images}},
      author = {Krizhevsky, Alex},
      institution = {University of Toronto},
      year = {2009},
    }
    """

    torchvision_class: ClassVar[str] = "CIFAR10"
    folder: ClassVar[str] = "cifar-10-batches-py"
    source: ClassVar[str] = "cifar-10-python.tar.gz from www.cs.toronto.edu/~kriz/cifar.html"
    size: int = 32

    def open(self, split: Split, progress: Progress = no_progress) -> Dataset:
        check_split(split)
        cifar = self.load(train=split == "train")
        images = cifar.data.transpose(0, 3, 1, 2)
        return _in_memory(images, cifar.targets, cifar.classes, self.size, self.limit)

    @classmethod
    def example(cls, folder: Path) -> Cifar10:
        _write_cifar(
            folder / cls.folder, [f"data_batch_{k}" for k in range(1, 6)], "test_batch", "batches.meta"
        )
        return cls(str(folder), size=8, verify=False)


@dataclass(frozen=True)
class Cifar100(Cifar10):
    """CIFAR-100: 60,000 images of 32 x 32 pixels in 100 classes (Krizhevsky, 2009).

    Args: as for ``Cifar10``, with ``cifar-100-python`` below ``path``.
    """

    title: ClassVar[str] = "CIFAR-100"

    torchvision_class: ClassVar[str] = "CIFAR100"
    folder: ClassVar[str] = "cifar-100-python"
    source: ClassVar[str] = "cifar-100-python.tar.gz from www.cs.toronto.edu/~kriz/cifar.html"

    @classmethod
    def example(cls, folder: Path) -> Cifar100:
        _write_cifar(folder / cls.folder, ["train"], "test", "meta", "fine_")
        return cls(str(folder), size=8, verify=False)


@dataclass(frozen=True)
class Stl10(_Published):
    """STL-10: 13,000 labelled, 100,000 unlabelled images of 96 x 96 pixels (Coates et al., AISTATS 2011).

    Args: as for ``Cifar10``, with ``stl10_binary`` below ``path``, and
        unlabeled: add the unlabelled images to the training split (2.9 GB in memory).
    """

    title: ClassVar[str] = "STL-10"
    bibtex: ClassVar[str] = r"""
    @inproceedings{stl2011,
      title = {{An Analysis of Single-Layer Networks in Unsupervised Feature Learning}},
      author = {Coates, Adam and Ng, Andrew and Lee, Honglak},
      booktitle = {International Conference on Artificial Intelligence and Statistics},
      year = {2011},
    }
    """

    torchvision_class: ClassVar[str] = "STL10"
    folder: ClassVar[str] = "stl10_binary"
    source: ClassVar[str] = "stl10_binary.tar.gz from cs.stanford.edu/~acoates/stl10"
    size: int = 96
    unlabeled: bool = False

    def open(self, split: Split, progress: Progress = no_progress) -> Dataset:
        check_split(split)
        part = "train+unlabeled" if split == "train" and self.unlabeled else split
        dataset = self.load(split=part)
        return _in_memory(dataset.data, dataset.labels, dataset.classes, self.size, self.limit)

    @classmethod
    def example(cls, folder: Path) -> Stl10:
        files = folder / cls.folder
        files.mkdir(parents=True)
        generator = np.random.default_rng(0)
        for name, count in (("train", 6), ("test", 4), ("unlabeled", 3)):
            generator.integers(0, 256, (count, 3, 96, 96), dtype=np.uint8).tofile(files / f"{name}_X.bin")
            generator.integers(1, 3, count, dtype=np.uint8).tofile(files / f"{name}_y.bin")
        (files / "class_names.txt").write_text("airplane\nbird\n")
        return cls(str(folder), size=8, verify=False, unlabeled=True)


@dataclass(frozen=True)
class Flowers102(_Published):
    """Oxford Flowers: 8,189 photographs of 102 species (Nilsback & Zisserman, ICVGIP 2008).

    The training split is the published training and validation sets (2,040 images).

    Args: as for ``Cifar10``, with ``flowers-102`` below ``path``.
    """

    title: ClassVar[str] = "Flowers-102"
    bibtex: ClassVar[str] = r"""
    @inproceedings{flowers2008,
      title = {{Automated Flower Classification over a Large Number of Classes}},
      author = {Nilsback, Maria-Elena and Zisserman, Andrew},
      booktitle = {Indian Conference on Computer Vision, Graphics and Image Processing},
      year = {2008},
    }
    """

    torchvision_class: ClassVar[str] = "Flowers102"
    folder: ClassVar[str] = "flowers-102"
    source: ClassVar[str] = (
        "102flowers.tgz, imagelabels.mat and setid.mat from www.robots.ox.ac.uk/~vgg/data/flowers"
    )
    size: int = 224

    def open(self, split: Split, progress: Progress = no_progress) -> Dataset:
        check_split(split)
        parts = ("train", "val") if split == "train" else ("test",)
        sets = [self.load(split=part, loader=Path) for part in parts]
        pairs = sorted(pair for one in sets for pair in (one[i] for i in range(len(one))))
        root = pairs[0][0].parent
        files = tuple(str(file.relative_to(root)) for file, _ in pairs)
        listing = Listing(root, files, tuple(label for _, label in pairs), tuple(sets[0].classes))
        return ImageFolder(str(root), size=self.size, limit=self.limit).read(listing, progress)

    @classmethod
    def example(cls, folder: Path) -> Flowers102:
        from scipy.io import savemat

        files = folder / cls.folder
        write_images(files, {"jpg": 9}, suffix=".jpg")
        for k in reversed(range(9)):
            (files / "jpg" / f"{k}.jpg").rename(files / "jpg" / f"image_{k + 1:05d}.jpg")
        savemat(files / "imagelabels.mat", {"labels": np.arange(9) % 3 + 1})
        savemat(files / "setid.mat", {"trnid": [1, 4, 7], "valid": [2, 5, 8], "tstid": [3, 6, 9]})
        return cls(str(folder), size=8, verify=False)


def imagenet(path: str, size: int = 224) -> ImageFolder:
    """ImageNet in one folder per class: ``train/n01440764/*.JPEG`` and ``val/n01440764/*.JPEG``.

    It exceeds ``memory_gb``, so images are decoded during training.
    """
    return ImageFolder(path, size=size, labels="folders")


def _in_memory(
    images: NDArray[np.uint8], labels: Sequence[int], classes: Sequence[str], size: int, limit: int | None
) -> InMemoryDataset:
    rows = np.arange(len(images))
    if limit is not None:
        rows = np.sort(shuffled(len(images), "limit")[:limit].numpy())
    resized = _resize(torch.from_numpy(np.ascontiguousarray(images[rows])), size)
    targets = torch.from_numpy(np.asarray(labels, dtype=np.int64)[rows])
    return InMemoryDataset(resized, Params.of(Space(), {}, count=len(targets)), targets, tuple(classes))


def _resize(images: Tensor, size: int) -> Tensor:
    """(N, 3, H, W) uint8 -> (N, 3, size, size) uint8, antialiased."""
    if images.shape[-1] == size:
        return images
    chunks = torch.split(images, 4096)
    return torch.cat([F.interpolate(c, (size, size), mode="bilinear", antialias=True) for c in chunks])


def _without_checksums(cls: Any) -> Any:
    """A torchvision dataset class that checks file names only."""
    tables = ("train_list", "test_list", "meta", "_file_dict")
    own = {name: _no_digests(getattr(cls, name)) for name in tables if name in dir(cls)}
    return type(cls.__name__, (cls,), own)


def _no_digests(table: Any) -> Any:
    if isinstance(table, dict):
        return {key: _no_digests(value) for key, value in table.items()}
    if isinstance(table, list | tuple):
        return type(table)(_no_digests(value) for value in table)
    return None if re.fullmatch(r"[0-9a-f]{32}", table) else table


def _write_cifar(folder: Path, train: Sequence[str], test: str, meta: str, prefix: str = "") -> None:
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in (*train, test):
        data = generator.integers(0, 256, (4, 3072), dtype=np.uint8)
        table = {"data": data, f"{prefix}labels": [0, 1, 1, 0]}
        (folder / name).write_bytes(pickle.dumps(table))
    (folder / meta).write_bytes(pickle.dumps({f"{prefix}label_names": ["airplane", "bird"]}))
