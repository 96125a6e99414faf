"""Files whose every bit is checked: whatever is changed in one is noticed by all who read such files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from equissl.errors import UserError
from equissl.evaluate.audit.readouts.interval import Resampled
from equissl.evaluate.audit.readouts.predictions import FILE, Predictions, read_predictions
from equissl.evaluate.cache import FeatureCache
from equissl.evaluate.checked_file import read_checked, write_checked
from equissl.testing.evaluation import example_table

FACTS = {"key": "a", "rows": [{"row": "model", "value": 0.25}, {"row": "random 0", "value": None}]}
TENSORS = {"values": torch.arange(6.0).double(), "classes": torch.tensor([1, 0, 2]), "none": torch.zeros(0)}


def flipped(content: bytes, place: int, mask: int) -> bytes:
    return content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :]


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    shared = torch.zeros(3, 2)
    for tensors in (TENSORS, {}, {"a": shared, "b": shared.T}):
        write_checked(tmp_path / "f", FACTS, tensors)
        facts, found = read_checked(tmp_path / "f")
        assert facts == FACTS and found.keys() == tensors.keys()
        assert all(torch.equal(found[n], t) and found[n].dtype == t.dtype for n, t in tensors.items())


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_checked(path, FACTS, TENSORS)
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(flipped(content, place, 1 << place % 8))
        with pytest.raises(ValueError):  # noqa: PT011 - the header says many things of itself
            read_checked(path)
    for end in range(0, len(content), 40):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError):  # noqa: PT011
            read_checked(path)


def changed(what: str) -> dict[str, Tensor]:
    """What another tool would write, with the old digest."""
    tensors = dict(TENSORS)
    if what == "two values":
        tensors["values"] = tensors["values"][[1, 0, 2, 3, 4, 5]]
    if what == "names":
        tensors["classes"], tensors["values"] = tensors["values"], tensors["classes"]
    if what == "type":
        tensors["classes"] = tensors["classes"].view(torch.float64)
    if what == "shape":
        tensors["values"] = tensors["values"].reshape(2, 3)
    if what == "one more":
        tensors["more"] = torch.zeros(1)
    return tensors


@pytest.mark.parametrize("what", ["two values", "names", "type", "shape", "one more", "two rows", "digest"])
def test_swapped_and_renamed_content_is_noticed(tmp_path: Path, what: str) -> None:
    path = tmp_path / "f"
    write_checked(path, FACTS, TENSORS)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    if what == "two rows":
        rows = ['{"row": "model", "value": 0.25}', '{"row": "random 0", "value": null}']
        assert ", ".join(rows) in metadata["facts"]
        metadata["facts"] = metadata["facts"].replace(", ".join(rows), ", ".join(rows[::-1]))
    if what == "digest":
        del metadata["digest"]
    path.unlink()
    save_file(changed(what), path, metadata)
    with pytest.raises(ValueError, match="differs from its digest"):
        read_checked(path)


def test_a_flipped_bit_of_a_cached_table_makes_it_anew(tmp_path: Path) -> None:
    table, fresh = example_table(40, "kept"), example_table(40, "other")
    cache, space = FeatureCache(tmp_path), table.params.space
    cache.table("k", space, lambda: table)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    for place in range(len(content) - 1, 0, -len(content) // 50):
        path.write_bytes(flipped(content, place, 4))
        assert cache.table("k", space, lambda: fresh) is fresh


def test_a_flipped_bit_of_predictions_is_said(tmp_path: Path) -> None:
    score = Resampled(torch.rand(2), torch.rand(9), regress=True)
    kept = Predictions(
        ("a.png", "b.png"), 0, {"hue": score}, {"hue": torch.rand(2, 2)}, {"hue": torch.rand(2, 2)}
    )
    kept.write(tmp_path / FILE)
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(flipped(content, len(content) - 5, 1))
    with pytest.raises(
        UserError, match=r"holds no predictions .* \(its content differs from its digest\); audit"
    ):
        read_predictions(tmp_path / FILE)
