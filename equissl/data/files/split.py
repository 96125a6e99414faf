"""Which of a folder's images are for training and which for testing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from equissl.data.base import Split
from equissl.errors import UserError

SPLIT_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "test": ("test", "val", "valid", "validation"),
}


def split_rows(root: Path, files: Sequence[str], split: Split, test_share: float) -> list[int]:
    """Which images belong to a split.

    Folders ``train`` and ``test`` (or ``val``) are the splits where both exist. Otherwise a hash of each
    path decides, so that an image stays where it is when others are added; either split gets at least
    one image if there are two.

    Raises:
        UserError: the split is empty.
    """
    folders = split_folders(root)
    if folders:
        prefix = f"{folders[split]}/"
        rows = [i for i, f in enumerate(files) if f.startswith(prefix)]
        where = f"the folder {root / folders[split]}"
    else:
        values = [position(f, "split") for f in files]
        test = {i for i, v in enumerate(values) if v < test_share}
        if test_share > 0 and len(values) > 1:
            test = (test | {values.index(min(values))}) - {values.index(max(values))}
        rows = [i for i in range(len(values)) if (i in test) == (split == "test")]
        where = f"with data.test_share={test_share:g} and {len(files)} images the {split} split"
    if not rows:
        raise UserError(f"data.path: {where} holds no images")
    return rows


def split_folders(root: Path) -> dict[Split, str]:
    """Split -> the name of its folder below ``root``; empty unless there is one for each."""
    found: dict[Split, str] = {}
    splits: tuple[Split, ...] = ("train", "test")
    for split in splits:
        names = [n for n in SPLIT_FOLDERS[split] if os.path.isdir(root / n)]
        if not names:
            return {}
        found[split] = names[0]
    return found


def position(file: str, use: str) -> float:
    """A number in [0, 1) that belongs to a relative path, one per ``use``."""
    digest = hashlib.blake2b(os.fsencode(file), digest_size=8, person=use.encode()).digest()
    return int.from_bytes(digest, "big") / 2**64
