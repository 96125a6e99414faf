"""Files in a tar archive, read in order with bounded memory; a cut or damaged archive is an error."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

MAX_FILE_BYTES = 64 << 20  # of one file: the largest photographs have 50 MB, 3DIEBench's images 20 kB
_MAX_HEADER_BYTES = 1 << 20  # of a long name or of extended attributes
_MAX_PADDING_BYTES = 64 << 20  # zeros after the end
_MAX_BEYOND = 100  # reads beyond the end; a sound archive needs a few
_BLOCK = 1 << 20
_EXTENDED = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


class DamagedArchive(Exception):
    """The archive cannot be read to its end; the message is the reason."""


@dataclass(frozen=True)
class ArchivedFile:
    """A file of an archive.

    Args:
        name: as stored; it may lead anywhere, and nothing is ever written to it.
        data: its content.
        problem: why there is no content; "" if there is.
    """

    name: str
    data: bytes
    problem: str = ""


class _Header(tarfile.TarInfo):
    """Header of a member. tarfile itself takes a cut between two members for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _EXTENDED and header.size > _MAX_HEADER_BYTES):
            raise tarfile.ReadError(f"a header announces {header.size:,} bytes")
        return header

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _Header:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # a block of zeros: the end
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"cut or damaged at a header: {error}") from error


class _Ending:
    """A file that raises an error when it is read beyond its end again and again.

    tarfile skips a member block by block, even where a header announces terabytes that are not there.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._beyond = file, 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._beyond = 0 if data else self._beyond + 1
        if self._beyond > _MAX_BEYOND:
            raise tarfile.ReadError("it ends within a file")
        return data


def archived_files(path: Path, is_wanted: Callable[[str], bool]) -> Iterator[ArchivedFile]:
    """The wanted files of a tar archive, plain or compressed with gzip, bzip2 or xz, in their order.

    Links and devices are skipped. A file above ``MAX_FILE_BYTES`` has a ``problem`` in place of its content.

    Raises:
        DamagedArchive: it ends before its end mark, something follows that, or it cannot be decompressed.
    """
    try:
        with (
            _decompressed(path) as file,
            tarfile.open(fileobj=cast(IO[bytes], _Ending(file)), mode="r|", tarinfo=_Header) as archive,
        ):
            while (header := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep all headers
                if header.isfile() and is_wanted(header.name):
                    yield _read(archive, header)
            _check_end(archive.fileobj)
    except Exception as error:  # tarfile and the decompressors raise almost any on damaged bytes
        raise DamagedArchive(f"{error or type(error).__name__}") from error


def _read(archive: tarfile.TarFile, header: tarfile.TarInfo) -> ArchivedFile:
    if header.size > MAX_FILE_BYTES:
        return ArchivedFile(
            header.name, b"", f"has {header.size:,} bytes, more than the limit of {MAX_FILE_BYTES:,}"
        )
    file = archive.extractfile(header)
    return ArchivedFile(header.name, file.read() if file else b"")


def _check_end(file: Any) -> None:
    read = 0
    while read < _MAX_PADDING_BYTES and (block := file.read(_BLOCK)):
        read += len(block)
        if block.strip(b"\0"):
            raise tarfile.ReadError(
                "something follows the end mark, as in archives that were joined; unpack it with tar -i"
            )


@contextmanager
def _decompressed(path: Path) -> Iterator[IO[bytes]]:
    # Through these modules, which check lengths and checksums; tarfile's own streams do not.
    with path.open("rb") as file:
        start = file.read(6)
    openers: dict[bytes, Callable[[Path], Any]] = {
        b"\x1f\x8b": gzip.open,
        b"BZh": bz2.open,
        b"\xfd7zXZ\0": lzma.open,
    }
    opener = next((o for magic, o in openers.items() if start.startswith(magic)), None)
    with opener(path) if opener else path.open("rb") as file:
        yield file
