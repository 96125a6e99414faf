"""Upload of an export to the Hugging Face Hub, a server on this machine in its place."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from test_export import loaded

import equissl
from equissl.errors import UserError


class Hub(BaseHTTPRequestHandler):
    """The parts of the Hub's API that an upload of small files uses."""

    files: dict[str, bytes]
    repositories: list[dict[str, Any]]
    refuse: bool

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if type(self).refuse:
            return self.answer({"error": "Invalid username or password."}, 401)
        if self.path == "/api/repos/create":
            self.repositories.append(json.loads(body))
            return self.answer({"url": f"{self.address()}/me/encoder"})
        if "/preupload/" in self.path:
            files = [{**f, "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]]
            return self.answer({"files": files})
        if "/commit/" in self.path:
            for line in body.splitlines():
                row = json.loads(line)
                if row["key"] == "file":
                    self.files[row["value"]["path"]] = base64.b64decode(row["value"]["content"])
            address = f"{self.address()}/me/encoder/commit/0"
            return self.answer({"commitUrl": address, "commitOid": "0" * 40, "success": True})
        return self.answer({"warnings": [], "errors": []})  # of the card's front matter

    def do_GET(self) -> None:
        self.answer({"id": "me/encoder", "sha": "0" * 40, "siblings": []})

    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, content: object, status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *words: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    handler = type("Here", (Hub,), {"files": {}, "repositories": [], "refuse": False})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_TOKEN", "hf_nobody")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    yield handler
    server.shutdown()
    server.server_close()


def test_what_timm_loads_is_uploaded_and_nothing_else(hub: type[Hub], tmp_path: Path) -> None:
    model = loaded()
    out = equissl.export(model, tmp_path / "export")
    (out / "notes.txt").write_text("mine")
    equissl.export(model, out, hub="me/encoder", private=True)
    assert [r["name"] for r in hub.repositories] == ["encoder"] and "private" in str(hub.repositories[0])
    assert sorted(hub.files) == ["README.md", "config.json", "model.safetensors"]
    for name, content in hub.files.items():
        assert content == (out / name).read_bytes()
    card = hub.files["README.md"].decode()
    assert 'timm.create_model("hf-hub:me/encoder", pretrained=True)' in card and str(tmp_path) not in card


def test_an_upload_that_is_refused_leaves_the_export(hub: type[Hub], tmp_path: Path) -> None:
    hub.refuse = True
    with pytest.raises(UserError, match=r"hub=me/encoder: not uploaded: .*401.*is complete: log in with"):
        equissl.export(loaded(), tmp_path / "export", hub="me/encoder")
    assert (tmp_path / "export" / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["encoder", "me/en coder", "a/b/c", "/x", "me/--x--"])
def test_a_name_that_the_hub_refuses_is_said_before_anything_is_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected USER/NAME"):
        equissl.export(loaded(), tmp_path / "export", hub=name)
    with pytest.raises(UserError, match="uploads what timm loads"):
        equissl.export(loaded(), tmp_path / "export", "onnx", hub="me/encoder")
    assert not (tmp_path / "export").exists()
