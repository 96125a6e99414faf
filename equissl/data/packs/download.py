"""Resumable downloads of large files, checked by size and SHA-256."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from equissl.errors import UserError, nearest
from equissl.progress import Progress, ShowProgress, no_progress, shown
from equissl.storage import append, append_open, move_file, write_json

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Remote:
    """A file to download.

    Args:
        name: of the local file.
        size: in bytes, 0 if unknown.
        sha256: in hexadecimal, "" if unknown.
    """

    url: str
    name: str
    size: int = 0
    sha256: str = ""


THREEDIEBENCH = (
    Remote("https://dl.fbaipublicfiles.com/SIE/3DIEBench.tar.gz", "3DIEBench.tar.gz"),
    Remote(
        "https://raw.githubusercontent.com/facebookresearch/SIE/main/data/val_images.npy", "val_images.npy"
    ),
)


PUBLISHED = {"3diebench": THREEDIEBENCH}  # name -> the archive first, then small lists


def download(
    name: str, out: Path | str, *, url: str = "", sha256: str = "", progress: ShowProgress = False
) -> list[Path]:
    """Download the files of a published dataset into a folder; an interrupted download is resumed.

    Args:
        name: a key of ``PUBLISHED``.
        url: of the archive, instead of the published one.
        sha256: expected checksum of the archive, "" for any.

    Returns:
        The files, the archive last.

    Raises:
        UserError: no such dataset, or a file cannot be downloaded.
    """
    if name not in PUBLISHED:
        raise UserError(f"no dataset called {name!r}; {nearest(name, PUBLISHED)}")
    archive, *lists = PUBLISHED[name]
    archive = replace(archive, url=url or archive.url, sha256=sha256)
    # Small files first, so that a wrong address fails early.
    with shown(progress) as show:
        return [download_file(remote, Path(out), progress=show) for remote in (*lists, archive)]


def download_file(
    remote: Remote,
    folder: Path,
    *,
    max_attempts: int = 8,
    timeout: float = 60.0,
    wait: Callable[[float], None] = time.sleep,
    progress: Progress = no_progress,
) -> Path:
    """Download a file into ``folder``; an existing one is only checked.

    Partial downloads are kept in ``<name>.part``, also when the process is killed. An attempt that received
    new bytes does not count towards ``max_attempts``. If the server's file has changed meanwhile, or it
    cannot send a range, the download starts again.

    Args:
        timeout: seconds without a byte after which a connection is given up.
        wait: called with the seconds between attempts: 1, 2, 4, ..., at most 60.

    Raises:
        UserError: the download failed, or the file is not the expected one (and is deleted).
    """
    target = folder / remote.name
    if target.exists():
        _check(remote, target, remote.size)
        return target
    part, failures, reason, size = target.with_name(f"{remote.name}.part"), 0, "", 0
    while True:
        before = _size(part)
        try:
            size = _receive(remote, part, timeout, progress)
            if _size(part) >= size:
                break
            reason = f"the connection ended after {_size(part):,} of {size:,} bytes"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 429):
                raise UserError(f"{remote.url} cannot be downloaded ({error.code} {error.reason})") from error
            reason = f"{error.code} {error.reason}"
        except (ValueError, http.client.InvalidURL) as error:
            raise UserError(f"{remote.url!r} is not an address to download from ({error})") from error
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        done = _size(part)
        failures = 0 if done > before else failures + 1
        if failures >= max_attempts:
            raise UserError(
                f"{remote.url} cannot be downloaded ({reason}). {_size(part):,} bytes are kept in "
                f"{str(part)!r}; the same command continues from there"
            )
        seconds = min(2.0 ** max(failures - 1, 0), 60.0)
        progress(
            f"downloading {remote.name}: {reason}; trying again in {seconds:.0f} s", done, size or done + 1
        )
        wait(seconds)
    _check(remote, part, size)
    move_file(part, target)
    _stamp(part).unlink(missing_ok=True)
    return target


def _receive(remote: Remote, part: Path, timeout: float, progress: Progress) -> int:
    """Append the bytes of one connection; returns the size of the whole file."""
    start, stamp = _size(part), _read_stamp(part)
    headers = {"User-Agent": "equissl", "Accept-Encoding": "identity"}
    if start and stamp:
        headers |= {"Range": f"bytes={start}-", "If-Range": stamp}
    elif start:
        start = 0  # no stamp: the bytes may be of an older version of the file
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(remote.url, headers=headers), timeout=timeout
        )
    except urllib.error.HTTPError as error:
        if error.code == 416:  # no bytes after ours: complete, or too long
            total = _number(error.headers.get("Content-Range", "*/0").rpartition("/")[2])
            if total == start:
                return total
            part.unlink()
        raise
    with response:
        begins, total = _range(response, start)
        stamp = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        # A weak tag does not promise equal bytes, so the download cannot be resumed.
        write_json(_stamp(part), "" if stamp.startswith("W/") else stamp)
        if not begins:
            part.unlink(missing_ok=True)
        with append_open(part) as file:
            done = begins
            while block := response.read(_BLOCK):
                append(file, block)
                done += len(block)
                if total and done > total:
                    raise http.client.HTTPException(
                        f"the server sends more than the {total:,} bytes it announced"
                    )
                progress(f"downloading {remote.name}", done, max(total, done))
    return total or remote.size or done


def _range(response: http.client.HTTPResponse, start: int) -> tuple[int, int]:
    """(first byte that comes, size of the whole file or 0)."""
    if response.status != 206:
        return 0, _number(response.headers.get("Content-Length", ""))
    span, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    if span.partition("-")[0] != str(start):
        raise http.client.HTTPException(f"requested bytes from {start}, got {span!r}")
    return start, _number(total)


def _number(text: str) -> int:
    """0 for anything but a number of bytes."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else 0


def _check(remote: Remote, path: Path, size: int) -> None:
    problem = ""
    if size and _size(path) != size:
        problem = f"has {_size(path):,} bytes instead of {size:,}"
    elif remote.size and _size(path) != remote.size:
        problem = f"has {_size(path):,} bytes instead of {remote.size:,}"
    elif remote.sha256:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != remote.sha256.lower():
            problem = f"has SHA-256 {digest} instead of {remote.sha256}"
    if not problem:
        return
    if path.suffix == ".part":
        path.unlink()
        raise UserError(f"{remote.url} {problem}; the download was deleted. Try again")
    raise UserError(f"{str(path)!r} {problem}; delete it to download it again")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _stamp(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_stamp(part: Path) -> str:
    try:
        stamp = str(json.loads(_stamp(part).read_text()))
    except (OSError, ValueError, RecursionError):
        return ""
    return stamp if stamp.isascii() and stamp.isprintable() else ""  # it becomes a header
