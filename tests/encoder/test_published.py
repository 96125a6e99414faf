"""Published weights by name, from a cache and from a server on this machine; nothing is downloaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file

from equissl.encoder.backbone import EncoderConfig
from equissl.encoder.named import split_weights
from equissl.encoder.published import find_published
from equissl.encoder.torchvision_backbone import TorchvisionConfig
from equissl.errors import UserError
from equissl.runs.load import LoadedEncoder, load_encoder, load_encoders

COMMIT = "0" * 40


def hub_cache(home: Path, repository: str, files: dict[str, bytes]) -> None:
    """What ``huggingface_hub`` leaves behind after a download."""
    folder = home / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for name, content in files.items():
        (snapshot / name).write_bytes(content)


def weights(path: Path, name: str = "test_resnet") -> bytes:
    torch.manual_seed(3)
    save_file(timm.create_model(name).state_dict(), path)
    return path.read_bytes()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(home))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return home


def test_timm_pretrained_from_the_cache(cache: Path, tmp_path: Path) -> None:
    content = weights(tmp_path / "w.safetensors")
    hub_cache(cache, "timm/test_resnet.r160_in1k", {"model.safetensors": content})
    lines: list[str] = []
    loaded = load_encoder("timm/test_resnet@pretrained", say=lines.append)
    assert lines[0] == (
        "timm/test_resnet.r160_in1k@pretrained: from the cache, first fetched from "
        "huggingface.co/timm/test_resnet.r160_in1k (licence: apache-2.0)"
    )
    assert lines[1].startswith("weights: ") and "classifier fc.* ignored" in lines[1]
    assert lines[2].startswith(
        "images for timm/test_resnet@pretrained: 160 px, mean (0.5, 0.5, 0.5), std (0.5, 0.5, 0.5)"
    )
    torch.manual_seed(3)
    wanted = timm.create_model("test_resnet").state_dict()
    ours = loaded.encoder.backbone.state_dict()
    assert all(torch.equal(ours[k], wanted[k]) for k in ours)
    assert loaded.name == "timm/test_resnet@pretrained"
    tagged = load_encoder("timm/test_resnet.r160_in1k@pretrained", say=lines.append)
    assert torch.equal(tagged.encoder.backbone.conv1[0].weight, wanted["conv1.0.weight"])
    recipe = EncoderConfig(name="test_resnet", weights="pretrained", size=32).build(lines.append)
    assert torch.equal(recipe.backbone.conv1[0].weight, wanted["conv1.0.weight"])
    assert "warning: timm/test_resnet.r160_in1k@pretrained was trained with mean (0.5" in lines[-1]


def test_a_repository_of_the_hub_from_the_cache(cache: Path, tmp_path: Path) -> None:
    config = {
        "architecture": "test_resnet",
        "num_classes": 1000,
        "pretrained_cfg": {
            "mean": [0.1, 0.2, 0.3],
            "std": [1, 1, 1],
            "input_size": [3, 48, 48],
            "license": "mit",
        },
    }
    files = {
        "model.safetensors": weights(tmp_path / "w.safetensors"),
        "config.json": json.dumps(config).encode(),
    }
    hub_cache(cache, "someone/mine", files)
    lines: list[str] = []
    loaded = load_encoder("hf-hub:someone/mine", say=lines.append)
    assert loaded.config.mean == (0.1, 0.2, 0.3) and loaded.config.size == 48
    assert "huggingface.co/someone/mine (licence: mit)" in lines[0]
    assert load_encoder("hf-hub:someone/mine", mean=(0, 0, 0), size=32, say=lines.append).config.mean == (
        0,
        0,
        0,
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("null", "holds no JSON object"),
        ("[" * 100_000, "is not valid JSON"),
        ("{}", "is not what timm writes"),
        ('{"architecture": "test_resnet", "pretrained_cfg": 5}', "is not what timm writes"),
        (
            '{"architecture": "test_resnet", "pretrained_cfg": {}, "model_args": {"block": "os.system"}}',
            "timm cannot build",
        ),
    ],
)
def test_a_damaged_config_in_the_cache_is_said(cache: Path, tmp_path: Path, content: str, words: str) -> None:
    weight = weights(tmp_path / "w.safetensors")
    hub_cache(cache, "someone/mine", {"model.safetensors": weight, "config.json": content.encode()})
    with pytest.raises(UserError, match=words):
        load_encoder("hf-hub:someone/mine", say=print)


def torch_cache(tmp_path: Path, name: str, choice: str) -> None:
    from torchvision import models

    torch.manual_seed(4)
    chosen = models.get_model_weights(name)[choice]
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(models.get_model(name, weights=None).state_dict(), folder / chosen.url.rpartition("/")[2])


def test_torchvision_weights_go_into_the_same_model_of_timm(cache: Path, tmp_path: Path) -> None:
    torch_cache(tmp_path, "resnet18", "IMAGENET1K_V1")
    lines: list[str] = []
    loaded = load_encoder("torchvision/resnet18@IMAGENET1K_V1", size=32, say=lines.append)
    assert isinstance(loaded.config, EncoderConfig) and "download.pytorch.org" in lines[0]
    assert "from the cache" in lines[0] and "licence: not stated" in lines[0]
    assert "120 of 120 tensors" in lines[1] and "bilinear resizing" in lines[2]


def test_other_models_of_torchvision_are_backbones_themselves(cache: Path, tmp_path: Path) -> None:
    torch_cache(tmp_path, "squeezenet1_1", "IMAGENET1K_V1")
    loaded = load_encoder("torchvision/squeezenet1_1@pretrained", size=64, say=str)
    assert isinstance(loaded.config, TorchvisionConfig) and loaded.encoder.width() == 512
    assert loaded.encoder(torch.rand(2, 3, 64, 64)).vector.shape == (2, 512)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm/test_resnet@pretrained", "cannot be fetched from huggingface.co/timm/test_resnet.r160_in1k"),
        ("hf-hub:nobody/nothing", "cannot be fetched from huggingface.co/nobody/nothing"),
        ("timm/test_resnet.nope@pretrained", "timm has no weights 'nope' of 'test_resnet'"),
        ("torchvision/resnet18@IMAGENET1K_V9", "torchvision has no weights 'IMAGENET1K_V9'"),
        ("torchvision/resnet18x@pretrained", "did you mean 'resnet18'"),
        ("timm/test_resnet@nofile.pt", "no file 'nofile.pt'"),
        ("timm/resnet10t.c3_in1k@missing/w.pt", "no file 'missing/w.pt'"),
    ],
)
def test_what_cannot_be_had_is_said(cache: Path, name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_encoder(name)


def test_each_model_its_own_file_and_paths_with_an_at_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "a@b"
    folder.mkdir()
    weights(folder / "w@1.safetensors")
    weights(tmp_path / "v.safetensors", "test_vit")
    assert split_weights("a@b") == ("a@b", "")
    assert split_weights(f"timm/test_resnet@{folder / 'w@1.safetensors'}")[0] == "timm/test_resnet"
    names = ["timm/test_resnet@a@b/w@1.safetensors", "timm/test_vit@v.safetensors"]
    models = load_encoders(names, size=32, say=str)
    assert [m.name for m in models] == ["timm/test_resnet@w@1.safetensors", names[1]]  # without the folder
    assert all(isinstance(m, LoadedEncoder) and m.config.weights for m in models)
    with pytest.raises(UserError, match="one file for 2 models; name a file for each: timm/test_resnet@FILE"):
        load_encoders(["timm/test_resnet", "timm/test_vit"], weights="v.safetensors")
    with pytest.raises(UserError) as caught:
        load_encoders(["timm/test_vit@a@b/w@1.safetensors", "timm/test_resnet@nothing.pt"])
    assert len(caught.value.problems) == 2


def test_random_weights_are_said_and_follow_the_seed() -> None:
    with pytest.warns(UserWarning, match=r"timm/test_resnet has RANDOM weights \(seed 1\)"):
        one = load_encoder("timm/test_resnet", seed=1)
    lines: list[str] = []
    torch.rand(5)
    again, another = (load_encoder("timm/test_resnet", seed=s, say=lines.append) for s in (1, 2))
    first, second, third = (m.encoder.backbone.conv1[0].weight for m in (one, again, another))
    assert torch.equal(first, second) and not torch.equal(first, third)
    assert "warning: timm/test_resnet has RANDOM weights (seed 2)" in lines[-1]
    assert one.name == "timm/test_resnet (random weights)"


class Hub(BaseHTTPRequestHandler):
    """A Hugging Face Hub with a few files."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        content = self.files.get(self.path)
        self.send_response(200 if content is not None else 404)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("ETag", '"abc"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if body and content is not None:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    content = weights(tmp_path / "w.safetensors")
    Hub.files = {"/timm/test_resnet.r160_in1k/resolve/main/model.safetensors": content}
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as served:
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


@pytest.mark.slow
def test_a_download_fills_the_cache_that_is_used_next(server: str, tmp_path: Path) -> None:
    code = (
        "from equissl.runs.load import load_encoder\n"
        "load_encoder('timm/test_resnet@pretrained', say=print, size=32)\n"
    )
    home = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1", "no_proxy": "*"}

    def run(**more: str) -> str:
        environment = {**os.environ, **home, **more}
        environment.pop("HF_HUB_OFFLINE", None) if "HF_HUB_OFFLINE" not in more else None
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "downloading from huggingface.co/timm/test_resnet.r160_in1k" in run(HF_ENDPOINT=server)
    assert "from the cache" in run(HF_HUB_OFFLINE="1")


def test_a_published_name_needs_a_model_of_timm() -> None:
    with pytest.raises(UserError, match="weights=pretrained is for timm's models"):
        find_published("pretrained")
