"""Train and test splits of an image folder: by split folders, or by a hash of each path."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from equissl.data.base import Split
from equissl.errors import UserError

# HEIC cannot be read, but a folder of a phone's images should be reported as such, not as empty.
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".avif", ".ico", ".heic", ".heif"}
)
SPLIT_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "test": ("test", "val", "valid", "validation"),
}


def split_indices(
    root: Path, files: Sequence[str], split: Split, test_fraction: float, groups: Sequence[str] = ()
) -> list[int]:
    """Indices of the images of a split.

    Folders ``train`` and ``test`` (or ``val``) are the splits where both exist. Otherwise the split is a hash
    of each path, so that an image stays in its split when others are added; each split gets at least one
    image if there are two.

    Args:
        groups: of each image; if given, the split is a hash of these names instead, and each split gets whole
            groups.

    Raises:
        UserError: the split is empty.
    """
    folders = {} if groups else split_folders(root)
    if folders:
        prefix = f"{folders[split]}/"
        rows = [i for i, f in enumerate(files) if f.startswith(prefix)]
        where = f"the folder {root / folders[split]}"
    else:
        names = groups or files
        values = {name: hash_fraction(name, "split") for name in names}
        test = {name for name, value in values.items() if value < test_fraction}
        if test_fraction > 0 and len(values) > 1:
            test = (test | {min(values, key=values.__getitem__)}) - {max(values, key=values.__getitem__)}
        rows = [i for i, name in enumerate(names) if (name in test) == (split == "test")]
        what = f"{len(values)} groups" if groups else f"{len(files)} images"
        where = f"with data.test_fraction={test_fraction:g} and {what} the {split} split"
    if not rows:
        raise UserError(f"data.path: {where} holds no images")
    return rows


def split_folders(root: Path) -> dict[Split, str]:
    """Split -> its folder relative to ``root``, below ``inner_folder``; empty unless both splits have one."""
    folders: dict[Split, str] = {}
    splits: tuple[Split, ...] = ("train", "test")
    inner = inner_folder(root)
    for split in splits:
        names = [n for n in SPLIT_FOLDERS[split] if os.path.isdir(root / inner / n)]
        if not names:
            return {}
        folders[split] = f"{inner}{names[0]}"
    return folders


def inner_folder(root: Path) -> str:
    """The folder that holds the class or split folders, relative to ``root``: "" for ``root`` itself.

    Archives often unpack to ``photos/photos/cats``: a folder that holds nothing but another folder of folders
    is passed through. Files beside it do not count, unless they are images by their suffix.
    """
    inner = ""
    while True:
        folders, images = _content(root / inner)
        if images or len(folders) != 1:
            return inner
        below, images_below = _content(root / inner / folders[0])
        if images_below or not below:
            return inner
        inner = f"{inner}{folders[0]}/"


def _content(folder: Path) -> tuple[list[str], bool]:
    """Names of the subfolders, but for hidden ones and macOS's ``__MACOSX``; and whether there are images."""
    names = [n for n in os.listdir(folder) if not n.startswith((".", "__MACOSX"))]
    folders = [n for n in names if os.path.isdir(folder / n)]
    return folders, any(os.path.splitext(n)[1].lower() in IMAGE_SUFFIXES for n in set(names) - set(folders))


def hash_fraction(file: str, use: str) -> float:
    """A hash of a relative path as a number in [0, 1), one per ``use``.

    >>> 0 <= hash_fraction("cats/1.jpg", "split") < 1
    True
    """
    digest = hashlib.blake2b(os.fsencode(file), digest_size=8, person=use.encode()).digest()
    return int.from_bytes(digest, "big") / 2**64
