"""Large files from the web: what was fetched before a break is kept, and what arrives is checked."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from equissl.errors import UserError, nearest
from equissl.progress import Progress, no_progress
from equissl.storage import write_json

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Remote:
    """A file on the web.

    Args:
        name: of the file to write.
        size: in bytes, 0 if not known.
        sha256: in hexadecimal, "" if not known.
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
    name: str, out: Path | str, *, url: str = "", sha256: str = "", progress: Progress = no_progress
) -> list[Path]:
    """Fetch a published dataset's files into a folder; an interrupted download is resumed.

    Args:
        name: a key of ``PUBLISHED``.
        url: of the archive, if another than the published one.
        sha256: refuse an archive with another checksum.

    Returns:
        The files, the archive last.

    Raises:
        UserError: no such dataset, or a file cannot be had.
    """
    if name not in PUBLISHED:
        raise UserError(f"nothing called {name!r} can be fetched; {nearest(name, PUBLISHED)}")
    archive, *lists = PUBLISHED[name]
    archive = replace(archive, url=url or archive.url, sha256=sha256)
    # The small ones first, so that a mistake in the address is seen before the long wait.
    return [fetch(remote, Path(out), progress=progress) for remote in (*lists, archive)]


def fetch(
    remote: Remote,
    folder: Path,
    *,
    attempts: int = 8,
    timeout: float = 60.0,
    wait: Callable[[float], None] = time.sleep,
    progress: Progress = no_progress,
) -> Path:
    """Fetch a file into ``folder``; one that is there already is only checked.

    What has arrived is kept in ``<name>.part``, also when the process is killed. An attempt that brought
    new bytes does not count towards ``attempts``. If the server's file has changed meanwhile, or it cannot
    send a part, the file is fetched from its start.

    Args:
        timeout: seconds without a byte after which a connection counts as broken.
        wait: sleeps between attempts: 1, 2, 4, ... seconds, 60 at most.

    Raises:
        UserError: it cannot be had, or what arrived is not what was expected (it is deleted then).
    """
    target = folder / remote.name
    if target.exists():
        _check(remote, target, remote.size)
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part, failures, reason = target.with_name(f"{remote.name}.part"), 0, ""
    while True:
        before = _size(part)
        try:
            size = _receive(remote, part, timeout, progress)
            if _size(part) >= size:
                break
            reason = f"the connection ended after {_size(part):,} of {size:,} bytes"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 429):
                raise UserError(f"{remote.url} cannot be fetched: {error.code} {error.reason}") from error
            reason = f"{error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        failures = 0 if _size(part) > before else failures + 1
        if failures >= attempts:
            raise UserError(
                f"{remote.url} cannot be fetched: {reason}; {_size(part):,} bytes are kept in {str(part)!r}, "
                "and the same command goes on from there"
            )
        wait(min(2.0 ** max(failures - 1, 0), 60.0))
    _check(remote, part, size)
    part.replace(target)
    _stamp(part).unlink(missing_ok=True)
    return target


def _receive(remote: Remote, part: Path, timeout: float, progress: Progress) -> int:
    """Append what one connection brings; returns the size of the whole file."""
    start, known = _size(part), _read_stamp(part)
    headers = {"User-Agent": "equissl", "Accept-Encoding": "identity"}
    if start and known:
        headers |= {"Range": f"bytes={start}-", "If-Range": known}
    elif start:
        start = 0  # nothing says that the bytes are of the file that is there now
    try:
        answer = urllib.request.urlopen(urllib.request.Request(remote.url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # there is nothing after what is here: complete, or too long
            total = int(error.headers.get("Content-Range", "*/0").rpartition("/")[2] or 0)
            if total == start:
                return total
            part.unlink()
        raise
    with answer:
        begins, total = _range(answer, start)
        stamp = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        # A weak tag promises no equal bytes, so it cannot be gone on from.
        write_json(_stamp(part), "" if stamp.startswith("W/") else stamp)
        with part.open("ab" if begins else "wb") as file:
            done = begins
            while block := answer.read(_BLOCK):
                file.write(block)
                done += len(block)
                progress(f"fetching {remote.name}", done, max(total, done))
    return total or remote.size or done


def _range(answer: http.client.HTTPResponse, asked: int) -> tuple[int, int]:
    """(first byte that comes, size of the whole file or 0)."""
    if answer.status != 206:
        return 0, int(answer.headers.get("Content-Length") or 0)
    span, _, total = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    if span.partition("-")[0] != str(asked):
        raise http.client.HTTPException(f"asked for bytes from {asked}, got {span!r}")
    return asked, int(total) if total.isdigit() else 0


def _check(remote: Remote, path: Path, size: int) -> None:
    wrong = ""
    if size and _size(path) != size:
        wrong = f"has {_size(path):,} bytes instead of {size:,}"
    elif remote.size and _size(path) != remote.size:
        wrong = f"has {_size(path):,} bytes instead of {remote.size:,}"
    elif remote.sha256:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != remote.sha256.lower():
            wrong = f"has the checksum {found} instead of {remote.sha256}"
    if not wrong:
        return
    if path.suffix == ".part":
        path.unlink()
        raise UserError(f"what {remote.url} sent {wrong}; it was deleted, so try again")
    raise UserError(f"{str(path)!r} {wrong}; delete it to fetch it again")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _stamp(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_stamp(part: Path) -> str:
    try:
        return str(json.loads(_stamp(part).read_text()))
    except (OSError, ValueError):
        return ""
