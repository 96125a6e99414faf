"""Stored rows, JSON and checkpoints of another content than we write: refused in words, never half read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from equissl import storage
from equissl.cli.main import main
from equissl.digest import check_dense, digest
from equissl.encoder.weight_files import read_tensors
from equissl.encoder.weights import load_weights
from equissl.errors import UserError
from equissl.evaluate.cache import FeatureCache
from equissl.evaluate.checked_file import write_checked
from equissl.params import Space
from equissl.report.rows import number, read
from equissl.runs.folder import Run
from equissl.runs.load import load_encoder
from equissl.training import checkpoint

NOT_JSON = [b"[" * 100_000, b'{"a": ' + b"9" * 10_000 + b"}", b"\xff\xfe{}", b"{"]
SCORE = {"name": "knn/top1", "value": 0.5, "part": "all", "baseline": "", "unit": "fraction", "count": 3}


@pytest.mark.parametrize("content", NOT_JSON)
def test_what_is_no_json_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json is not valid JSON"):
        storage.read_json(path)


@pytest.mark.parametrize("content", [b"[]", b"5", b'"x"', b"null"])
def test_an_object_is_expected(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "environment.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"environment\.json holds no JSON object"):
        storage.read_object(path)


def test_pipes_devices_and_folders_are_never_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "endless", "folder"):
        for reader in (storage.read_json, storage.read_rows):
            with pytest.raises(UserError, match=f"{name} is (no regular file|a folder)"):
                reader(tmp_path / name)


@pytest.mark.parametrize("line", [*NOT_JSON, b"5", b"[]", b"null", b'"x"'])
def test_a_line_that_is_no_row_loses_no_row(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b'\n{"a": 2}\n')
    with pytest.raises(UserError, match=r"line 2 of .*scores\.jsonl is no row"):
        storage.read_rows(path)
    path.write_bytes(b'{"a": 1}\n' + line)
    assert storage.read_rows(path) == [{"a": 1}]


@pytest.mark.parametrize(
    ("name", "value"),
    [("name", 5), ("value", "x"), ("value", 10**400), ("low", "x"), ("count", [1]), ("part", None)],
)
def test_a_score_of_another_type_is_named(name: str, value: Any, tmp_path: Path) -> None:
    (tmp_path / "scores.jsonl").write_text(json.dumps(SCORE | {name: value}) + "\n")
    with pytest.raises(UserError, match=rf"has no valid {name}; remove the line"):
        _ = Run(tmp_path).scores
    (tmp_path / "scores.jsonl").write_text(json.dumps(SCORE) + "\n")
    assert Run(tmp_path).scores == [SCORE]


@pytest.mark.parametrize("content", NOT_JSON)
def test_a_report_leaves_out_what_is_no_json(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_bytes(content)
    (tmp_path / "log.jsonl").write_bytes(content + b"\n")
    assert {p.split()[0] for p in read(tmp_path).problems} >= {"recipe.json", "1"}
    assert number(10**400) is None


@pytest.mark.parametrize("parts", [[1], {"a": 5}, {"a": ["x", "y"]}, None])
def test_a_cache_with_a_right_digest_and_other_content(parts: object, tmp_path: Path) -> None:
    from equissl.evaluate.base import FeatureTable
    from equissl.params import Params

    zeros = torch.zeros(2, dtype=torch.long)
    tensors = {"vectors": torch.zeros(2, 3), "labels": zeros, "groups": zeros.clone()}
    write_checked(tmp_path / "k.safetensors", parts, tensors)
    space = Space(())
    fresh = FeatureTable(torch.ones(2, 3), zeros, Params(space, {}, {}, 2), zeros, {})
    assert FeatureCache(tmp_path).table("k", space, lambda: fresh) is fresh


REPEATED = torch.zeros(1).expand(2**40)


@pytest.mark.parametrize(
    "tensor",
    [REPEATED, torch.zeros(2, device="meta"), torch.eye(2).to_sparse()],
    ids=["one", "meta", "sparse"],
)
def test_a_tensor_without_its_elements(tensor: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not hold all its elements"):
        check_dense({"a": [tensor]})
    torch.save({"format": checkpoint.FORMAT, "model": {"a": tensor}}, tmp_path / "last.pt")
    with pytest.raises(UserError, match=r"last\.pt is damaged"):
        checkpoint.load(tmp_path)


def test_weights_of_a_trillion_elements_in_a_small_file(tmp_path: Path) -> None:
    torch.save({"conv1.weight": REPEATED}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="does not hold all its elements"):
        read_tensors(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("step", "x"), ("step", -1), ("epoch", None), ("batch", 1.5), ("world_size", "x"), ("data", None)),
        *(("model", [1]), ("model", None), ("model", {"a": 1}), ("optimizer", 5), ("random", 5)),
        *(("scaler", 5), ("recipe", 5)),
    ],
)
def test_a_checkpoint_with_a_right_digest_and_other_content(name: str, value: Any, tmp_path: Path) -> None:
    empty: dict[str, Any] = {"model": {}, "optimizer": {}, "scaler": {}, "random": {}, "recipe": {}}
    content = {"format": checkpoint.FORMAT, **empty, **dict.fromkeys(("step", "epoch", "batch"), 0)}
    content |= {"world_size": 1, "data": "0/x"}
    torch.save({**content, "digest": digest(content)}, tmp_path / "last.pt")
    checkpoint.load(tmp_path)
    content |= {name: value}
    torch.save({**content, "digest": digest(content)}, tmp_path / "last.pt")
    with pytest.raises(UserError, match=rf"last\.pt is damaged \((no valid|negative) {name}\)"):
        checkpoint.load(tmp_path)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("kind", [torch.complex64, torch.int32, torch.bool, torch.qint8])
def test_weights_of_another_kind_of_number_are_refused(kind: torch.dtype, tmp_path: Path) -> None:
    backbone = torch.nn.Linear(2, 2)
    weight = torch.eye(2)
    other = torch.quantize_per_tensor(weight, 0.1, 0, kind) if kind == torch.qint8 else weight.to(kind)
    torch.save({"weight": other, "bias": torch.zeros(2)}, tmp_path / "w.pt")
    with pytest.raises(UserError, match=f"holds numbers of the type {kind} in 'weight'"):
        load_weights(backbone, tmp_path / "w.pt")
    torch.save({"weight": weight.double() * 1e300, "bias": torch.zeros(2)}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="not finite"):
        load_weights(backbone, tmp_path / "w.pt")
    torch.save({"weight": weight.half(), "bias": torch.zeros(2)}, tmp_path / "w.pt")
    load_weights(backbone, tmp_path / "w.pt")
    assert torch.equal(backbone.weight, weight)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor", "error:Casting complex")
@pytest.mark.parametrize("kind", [torch.complex64, torch.qint8])
def test_a_counter_of_another_kind_of_number_is_refused(kind: torch.dtype, tmp_path: Path) -> None:
    state = torch.nn.BatchNorm1d(2).state_dict()
    count = torch.zeros(())
    other = torch.quantize_per_tensor(count, 0.1, 0, kind) if kind == torch.qint8 else count.to(kind)
    torch.save({**state, "num_batches_tracked": other}, tmp_path / "w.pt")
    with pytest.raises(UserError, match=f"holds numbers of the type {kind} in 'num_batches_tracked'"):
        load_weights(torch.nn.BatchNorm1d(2), tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "a pointer of Git LFS"),
        (b"<!doctype html><title>404</title>", "a web page, not weights"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "neither torch's nor safetensors'"),
        (b"GGUF" + bytes(40), "neither torch's nor safetensors'"),
        (b"PK\5\6" + bytes(18), "a zip file, but not of torch"),
    ],
)
def test_files_that_are_no_weights_are_not_called_python_objects(
    content: bytes, kind: str, tmp_path: Path
) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(UserError, match=kind):
        load_weights(torch.nn.Linear(1, 1), tmp_path / "w.pt")


@pytest.mark.parametrize(
    "name", ["hf-hub:", "hf-hub:../../x", "hf-hub:a/b/c", "hf-hub:a b/c", "timm/resnet18@"]
)
def test_names_of_models_that_are_none(name: str) -> None:
    with pytest.raises(UserError, match=r"cannot be fetched|names no weights"):
        load_encoder(name)


def test_a_message_is_no_longer_than_a_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({f"{'x' * 100_000}{n}": torch.zeros(1) for n in range(9)}, tmp_path / "w.pt")
    photo = np.zeros((8, 8, 3), np.uint8)
    (tmp_path / "photos").mkdir()
    Image.fromarray(photo).save(tmp_path / "photos" / "a.png")
    words = ["embed", f"timm/test_resnet@{tmp_path / 'w.pt'}", f"data={tmp_path / 'photos'}", "size=16"]
    assert main([*words, f"out={tmp_path / 'a.csv'}", "device=cpu"]) == 2
    assert 500 < len(capsys.readouterr().err) < 5000
