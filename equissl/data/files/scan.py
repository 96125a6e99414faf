"""Which images a folder holds, in which order, with which labels and in which split.

Order and split depend on the paths below the folder alone, not on the file system, the machine or the day;
labels are only taken from folders or from a table when asked for.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from equissl.data.files.decode import is_image
from equissl.data.files.labels import label_names, natural
from equissl.data.files.split import split_folders
from equissl.errors import UserError

# HEIC cannot be read, but a folder of a phone's images should say so and not look empty.
IMAGES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".avif", ".ico", ".heic", ".heif"}
)
# Camera raw files begin like TIFF, but what Pillow finds in them is a thumbnail.
OTHERS = frozenset(
    {".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".md", ".html", ".pdf", ".py"}
    | {".npy", ".npz", ".pt", ".pth", ".mat", ".pkl", ".h5", ".parquet", ".db", ".ini", ".log", ".svg"}
    | {".zip", ".tar", ".gz", ".tgz", ".xz", ".mp4", ".avi", ".mov", ".dng", ".nef", ".cr2", ".arw"}
)


@dataclass(frozen=True)
class Listing:
    """Images below a folder.

    Args:
        root: the folder.
        files: paths relative to ``root``, with forward slashes.
        target: one label per file, -1 where unknown.
        classes: names of the labels.
    """

    root: Path
    files: tuple[str, ...]
    target: tuple[int, ...]
    classes: tuple[str, ...] = ()

    def rows(self, rows: Sequence[int]) -> Listing:
        """Some of the images."""
        files = tuple(self.files[i] for i in rows)
        return Listing(self.root, files, tuple(self.target[i] for i in rows), self.classes)

    def __len__(self) -> int:
        return len(self.files)


def scan(path: str, labels: str = "none") -> Listing:
    """All images below a folder, in natural order (``2.jpg`` before ``10.jpg``).

    Hidden files and folders are left out, and so is what is no image by its suffix; a file whose suffix
    says nothing is looked into. Links are followed. Where there are split folders, only they count.

    Args:
        labels: "none", "folders" (the first folder on the way to an image, below ``train`` or ``test`` where
            there are such), or the path of a ``.csv`` file with columns ``file`` and ``label``; it may be
            relative to the folder, and so are its files.

    Raises:
        UserError: no such folder, no images in it, or labels that cannot be had; the message says what
            was expected and names the nearest that exists.
    """
    root = existing_folder(path)
    others: Counter[str] = Counter()
    files = tuple(sorted(_walk(str(root), "", (), others), key=natural))
    if not files:
        raise UserError(_nothing(root, others))
    folders = split_folders(root)
    if folders:
        files = tuple(f for f in files if f.split("/")[0] in folders.values())
    names = label_names(root, files, labels)
    classes = tuple(sorted({n for n in names if n}, key=natural))
    number = {name: i for i, name in enumerate(classes)}
    return Listing(root, files, tuple(number.get(n, -1) for n in names), classes)


def existing_folder(path: str) -> Path:
    """The folder a user named.

    Raises:
        UserError: it does not exist or is no folder; the message names the nearest that does.
    """
    folder = Path(path).expanduser()
    if os.path.isdir(folder):
        return folder
    if os.path.exists(folder):
        raise UserError(
            f"data.path={path!r} is a file, but a folder of images is expected (unpack an archive first)"
        )
    part, parent = folder, folder.parent
    while not os.path.isdir(parent):
        part, parent = parent, parent.parent
    siblings = [n for n in _subfolders(parent) if not n.startswith(".")]
    close = difflib.get_close_matches(part.name, siblings, n=1)
    hint = f"{str(parent.absolute())!r} exists, but has no {part.name!r}"
    if close:
        hint = f"did you mean {str(parent / close[0])!r}?"
    raise UserError(f"data.path={path!r} does not exist; expected a folder of images; {hint}")


def _subfolders(folder: Path) -> list[str]:
    try:
        return [e.name for e in os.scandir(folder) if e.is_dir()]
    except OSError:
        return []


def _walk(folder: str, relative: str, above: tuple[str, ...], others: Counter[str]) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except PermissionError:
        raise UserError(f"data.path: no permission to list the folder {folder!r}") from None
    real = os.path.realpath(folder)
    if real in above:  # a link to a folder that it lies in
        return
    for entry in entries:
        name = f"{relative}{entry.name}"
        if entry.name.startswith("."):
            continue
        if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
            yield from _walk(entry.path, f"{name}/", (*above, real), others)
        elif _may_be_image(entry):
            yield name
        else:
            others[os.path.splitext(entry.name)[1].lower()] += 1


def _may_be_image(entry: os.DirEntry[str]) -> bool:
    suffix = os.path.splitext(entry.name)[1].lower()
    if suffix in IMAGES:
        return entry.is_symlink() or entry.is_file()  # a link that leads nowhere is reported as bad
    if suffix in OTHERS or not os.path.isfile(entry.path):
        return False
    try:
        with open(entry.path, "rb") as file:
            return is_image(file.read(16))
    except OSError:
        return False


def _nothing(root: Path, others: Counter[str]) -> str:
    found = ", ".join(f"{n} {suffix or 'without suffix'}" for suffix, n in others.most_common(5))
    return (
        f"data.path: no images below {str(root)!r}; expected files such as .jpg, .png or .webp, "
        f"in folders of any depth; found {found or 'no files at all'}"
    )
