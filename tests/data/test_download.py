"""Downloads from a local server that drops connections, changes files and lies."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from equissl.cli.main import main
from equissl.data.packs.download import Remote, download_file
from equissl.errors import UserError
from equissl.progress import Display

CONTENT = bytes(range(256)) * 40


class Server(ThreadingHTTPServer):
    """Sends ``content``, but at most ``at_once`` bytes per connection; records what was asked for."""

    content, tag, at_once, ranges, status = CONTENT, '"1"', 10**9, True, 200
    drops = 10**9  # how many connections are cut short

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []

    def remote(self, **known: object) -> Remote:
        return Remote(f"http://127.0.0.1:{self.server_port}/file", "file.bin", **known)  # type: ignore[arg-type]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        s, start = self.server, 0
        wanted = self.headers.get("Range", "")
        s.asked.append(wanted)
        if s.status != 200:
            self.send_error(s.status)
            return
        partial = wanted and s.ranges and self.headers.get("If-Range") == s.tag
        if partial:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(s.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(s.content)}")
                self.end_headers()
                return
        self.send_response(206 if partial else 200)
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{len(s.content) - 1}/{len(s.content)}")
        self.send_header("Content-Length", str(len(s.content) - start))
        self.send_header("ETag", s.tag)
        self.end_headers()
        s.drops -= 1
        self.wfile.write(s.content[start:][: s.at_once if s.drops >= 0 else None])

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def no_wait(seconds: float) -> None: ...


def test_a_file_arrives_and_is_not_fetched_twice(server: Server, tmp_path: Path) -> None:
    checksum = hashlib.sha256(CONTENT).hexdigest()
    remote = server.remote(size=len(CONTENT), sha256=checksum)
    seen: list[int] = []
    path = download_file(remote, tmp_path / "new", progress=lambda what, done, total: seen.append(done))
    assert path.read_bytes() == CONTENT and seen[-1] == len(CONTENT)
    assert download_file(remote, tmp_path / "new") == path and len(server.asked) == 1
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["file.bin"]


def test_dropped_connections_are_taken_up(server: Server, tmp_path: Path) -> None:
    server.at_once = 3000
    path = download_file(server.remote(), tmp_path, max_attempts=1, wait=no_wait)
    assert path.read_bytes() == CONTENT
    assert server.asked == ["", "bytes=3000-", "bytes=6000-", "bytes=9000-"]


def test_a_later_call_goes_on(server: Server, tmp_path: Path) -> None:
    server.at_once, server.ranges = 4000, True
    stop = iter([False, True])

    def killed(seconds: float) -> None:
        if next(stop):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download_file(server.remote(), tmp_path, wait=killed)
    assert (tmp_path / "file.bin.part").stat().st_size == 8000
    assert download_file(server.remote(), tmp_path, wait=no_wait).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=8000-"


@pytest.mark.parametrize("what", ["changed", "no ranges", "no stamp"])
def test_a_part_of_another_file_is_not_gone_on_from(server: Server, tmp_path: Path, what: str) -> None:
    server.at_once, server.drops = 4000, 1
    with pytest.raises(RuntimeError):
        download_file(server.remote(), tmp_path, wait=lambda seconds: (_ for _ in ()).throw(RuntimeError))
    if what == "changed":
        server.content, server.tag = CONTENT[::-1], '"2"'
    elif what == "no ranges":
        server.ranges = False
    else:
        (tmp_path / "file.bin.part.json").unlink()
    assert download_file(server.remote(), tmp_path, wait=no_wait).read_bytes() == server.content


def test_a_part_that_was_whole_is_kept(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    (tmp_path / "file.bin.part.json").write_text('"\\"1\\""')
    assert download_file(server.remote(), tmp_path, wait=no_wait).read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT)}-"]


def test_what_is_not_the_file_is_deleted(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="instead of 0000"):
        download_file(server.remote(sha256="0" * 64), tmp_path)
    with pytest.raises(UserError, match=r"10,240 bytes instead of 7"):
        download_file(server.remote(size=7), tmp_path)
    assert not (tmp_path / "file.bin").exists() and not (tmp_path / "file.bin.part").exists()
    (tmp_path / "file.bin").write_bytes(b"mine")
    with pytest.raises(UserError, match="delete it to download it again"):
        download_file(server.remote(size=7), tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == b"mine"


def test_a_server_that_gives_nothing_is_given_up(server: Server, tmp_path: Path) -> None:
    waits: list[float] = []
    server.at_once = 0
    with pytest.raises(UserError, match="continues from there"):
        download_file(server.remote(), tmp_path, max_attempts=4, wait=waits.append)
    assert waits == [1.0, 2.0, 4.0]
    server.status = 404
    with pytest.raises(UserError, match="404"):
        download_file(server.remote(), tmp_path, wait=waits.append)
    server.status = 503
    with pytest.raises(UserError, match="503"):
        download_file(server.remote(), tmp_path, max_attempts=2, wait=waits.append)
    assert len(waits) == 4


def test_a_retry_is_said(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.at_once, server.drops = 4000, 1
    with Display() as display:
        download_file(server.remote(), tmp_path, wait=no_wait, progress=display)
    lines = [line for line in capsys.readouterr().err.splitlines() if "trying again" in line]
    assert (
        len(lines) == 1
        and "the connection ended after 4,000 of 10,240 bytes; trying again in 1 s" in lines[0]
    )


@pytest.mark.parametrize("url", ["nowhere", "", "http://[", "http://a b/", "gopher://x/y"])
def test_an_address_that_is_none(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError):
        download_file(Remote(url, "file.bin"), tmp_path, max_attempts=1, wait=no_wait)


@pytest.mark.parametrize("stamp", ['"a\\r\\nX: 1"', '"\u00e9"', "[" * 100_000, "{}"])
def test_a_stamp_that_makes_no_sense_starts_again(server: Server, tmp_path: Path, stamp: str) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"other")
    (tmp_path / "file.bin.part.json").write_text(stamp)
    assert download_file(server.remote(), tmp_path, wait=no_wait).read_bytes() == CONTENT


def test_the_verb(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("equissl.data.packs.download.PUBLISHED", {"3diebench": (server.remote(),)})
    assert main(["download", "3diebench", f"out={tmp_path}"]) == 0
    assert "file.bin" in capsys.readouterr().out and (tmp_path / "file.bin").read_bytes() == CONTENT
    assert main(["download", "3diebenhc", f"out={tmp_path}"]) == 2
    assert "did you mean '3diebench'" in capsys.readouterr().err
