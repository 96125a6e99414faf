"""A table of labels that is not what its author meant is refused, not read as something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from equissl.data.files.scan import scan
from equissl.data.image_folder import write_images
from equissl.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_images(tmp_path, {"": 3}, side=4)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\n0.png,cat, small\n1.png,dog\n", "line 2 should have 2 cells, but has 3; .* quotes"),
        ("file,label\n0.png,cat\n1.png\n", "line 3 should have 2 cells, but has 1"),
        ('file,label\n0.png, "cat, small"\n', "line 2 should have 2 cells, but has 3"),
        ('file,label\n0.png,"cat\n1.png,dog\n2.png,cat\n', "not a CSV file"),
        ('file,label\n0.png,"cat\n1.png,dog"\n2.png,cat\n', "line 3 holds a control character"),
        ("file,label\n0.png,cat\0\n", "line 2 holds a control character"),
        ("file,label,label\n0.png,cat,dog\n", "once each"),
        ("file,file,label\n0.png,1.png,dog\n", "once each"),
        ("file,label\n", "gives no file a label"),
        ("file,label\n0.png,\n1.png, \n", "gives no file a label"),
    ],
)
def test_a_table_that_may_mean_something_else_is_refused(folder: Path, text: str, message: str) -> None:
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        scan(str(folder), "labels.csv")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_quotes_empty_lines_and_other_columns(folder: Path, end: str, mark: str) -> None:
    lines = [f"{mark}id,file,label", "", '7,"0.png","cat, small"', "8,1.png,", '9,2.png,5" disk', ""]
    (folder / "labels.csv").write_bytes(end.join(lines).encode())
    listing = scan(str(folder), "labels.csv")
    names = [listing.classes[k] if k >= 0 else "" for k in listing.targets]
    assert names == ["cat, small", "", '5" disk']
