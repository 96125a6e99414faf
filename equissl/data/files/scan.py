"""Image files below a folder, in natural order, with their labels.

Order and split depend on the paths below the folder alone, not on the file system or the machine; labels are
read from folders or from a table on request only.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from equissl.data.files.decode import is_image
from equissl.data.files.labels import label_names, natural
from equissl.data.files.measurements import Measurements
from equissl.data.files.split import IMAGE_SUFFIXES, split_folders
from equissl.errors import UserError

# Camera raw files start like TIFF, but Pillow reads only their thumbnail.
OTHER_SUFFIXES = frozenset(
    {".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".md", ".html", ".pdf", ".py"}
    | {".npy", ".npz", ".pt", ".pth", ".mat", ".pkl", ".h5", ".parquet", ".db", ".ini", ".log", ".svg"}
    | {".zip", ".tar", ".gz", ".tgz", ".xz", ".mp4", ".avi", ".mov", ".dng", ".nef", ".cr2", ".arw"}
)


@dataclass(frozen=True)
class Listing:
    """Image files below a folder, with labels.

    Args:
        root: the folder.
        files: paths relative to ``root``, with forward slashes.
        targets: one label per file, -1 where unknown.
        classes: class names, by label.
        measured: factors and groups of the files, where a table states them.
    """

    root: Path
    files: tuple[str, ...]
    targets: tuple[int, ...]
    classes: tuple[str, ...] = ()
    measured: Measurements | None = None

    def select(self, indices: Sequence[int]) -> Listing:
        """The files ``indices``, in that order."""
        files = tuple(self.files[i] for i in indices)
        targets = tuple(self.targets[i] for i in indices)
        measured = self.measured and self.measured.select(torch.tensor(indices, dtype=torch.int64))
        return Listing(self.root, files, targets, self.classes, measured)

    @property
    def measurements(self) -> Measurements:
        """Factors and groups of the files: none, and each its own, unless a table states them."""
        return self.measured or Measurements.none(len(self))

    def __len__(self) -> int:
        return len(self.files)


def scan(path: str, labels: str = "none") -> Listing:
    """All images below a folder, in natural order (``2.jpg`` before ``10.jpg``).

    Hidden files and folders are skipped, and so are files with other suffixes; a file with an unknown suffix
    is an image if its first bytes are. Links are followed. With split folders, other folders are skipped.

    Args:
        labels: "none", "folders" (the first folder of an image's path, below ``train`` or ``test`` if there
            are split folders, and below a folder that holds all others), or the path of a ``.csv`` file with
            columns ``file`` and ``label``; it may be
            relative to the folder, and so are its files.

    Raises:
        UserError: no such folder, no images in it, or no such labels; the message names the nearest valid
            value.
    """
    root = existing_folder(path)
    files = _image_files(root)
    folders = split_folders(root)
    if folders:
        prefixes = tuple(f"{folder}/" for folder in folders.values())
        files = tuple(f for f in files if f.startswith(prefixes))
    names = label_names(root, files, labels)
    classes = tuple(sorted({n for n in names if n}, key=natural))
    number = {name: i for i, name in enumerate(classes)}
    return Listing(root, files, tuple(number.get(n, -1) for n in names), classes)


def scan_all(path: str) -> Listing:
    """As ``scan`` without labels, but also what lies beside split folders."""
    root = existing_folder(path)
    files = _image_files(root)
    return Listing(root, files, (-1,) * len(files))


def existing_folder(path: str, advice: str = "") -> Path:
    """The folder at a path of the user.

    Args:
        advice: a clause for the message, where to get it from.

    Raises:
        UserError: there is none; the message names the nearest that exists.
    """
    folder = Path(path).expanduser()
    if os.path.isdir(folder):
        return folder
    if os.path.exists(folder):
        raise UserError(
            f"data.path={str(path)!r} is a file; expected a folder of images (unpack an archive first)"
        )
    part, parent = folder, folder.parent
    while not os.path.isdir(parent):
        part, parent = parent, parent.parent
    siblings = [n for n in _subfolders(parent) if not n.startswith(".")]
    close = difflib.get_close_matches(part.name, siblings, n=1)
    hint = f"{str(parent.absolute())!r} has no {part.name!r}"
    if close:
        hint = f"did you mean {str(parent / close[0])!r}?"
    hint = f"{hint}; {advice}" if advice else hint
    raise UserError(f"data.path={str(path)!r} does not exist (expected a folder of images); {hint}")


def _image_files(root: Path) -> tuple[str, ...]:
    """Raises UserError if there are none."""
    other_suffixes: Counter[str] = Counter()
    files = tuple(sorted(_walk(str(root), "", (), set(), other_suffixes), key=natural))
    if not files:
        raise UserError(_no_images(root, other_suffixes))
    return files


def _subfolders(folder: Path) -> list[str]:
    try:
        return [e.name for e in os.scandir(folder) if e.is_dir()]
    except OSError:
        return []


def _walk(
    folder: str, relative: str, above: tuple[str, ...], followed: set[str], others: Counter[str]
) -> Iterator[str]:
    """Files below a folder; a link to a folder is followed once, by whatever path it is reached first.

    Args:
        above: the real folders that this one lies in.
        followed: the real places of the links that were followed so far; added to.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError:
        raise UserError(f"data.path: no permission to list the folder {folder!r}") from None
    real = os.path.realpath(folder)
    for entry in entries:
        name = f"{relative}{entry.name}"
        if entry.name.startswith("."):
            continue
        if entry.is_symlink() and os.path.isdir(entry.path):
            place = os.path.join(real, entry.name)
            if place in followed or os.path.realpath(entry.path) in (*above, real):
                continue
            followed.add(place)
            yield from _walk(entry.path, f"{name}/", (*above, real), followed, others)
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{name}/", (*above, real), followed, others)
        elif _may_be_image(entry):
            yield name
        else:
            others[os.path.splitext(entry.name)[1].lower()] += 1


def _may_be_image(entry: os.DirEntry[str]) -> bool:
    suffix = os.path.splitext(entry.name)[1].lower()
    if suffix in IMAGE_SUFFIXES:
        return entry.is_symlink() or entry.is_file()  # a link that leads nowhere is reported as bad
    if suffix in OTHER_SUFFIXES or not os.path.isfile(entry.path):
        return False
    try:
        with open(entry.path, "rb") as file:
            return is_image(file.read(16))
    except OSError:
        return False


def _no_images(root: Path, others: Counter[str]) -> str:
    other_files = ", ".join(f"{n} {suffix or 'without suffix'}" for suffix, n in others.most_common(5))
    return (
        f"data.path: no images below {str(root)!r}; expected files such as .jpg, .png or .webp, "
        f"in folders of any depth (got {other_files or 'no files'})"
    )
