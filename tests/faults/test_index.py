"""The index of faults names tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
INDEX = Path(__file__).with_name("INDEX.md")


def rows() -> list[tuple[str, str]]:
    lines = INDEX.read_text(encoding="utf-8").splitlines()
    cells = [line.strip("|").split(" | ") for line in lines if line.startswith("| ")]
    return [(cell[0].strip(), cell[-1].strip()) for cell in cells if cell[0].strip() != "clause"]


def test_every_named_test_exists() -> None:
    named = [test for _, answer in rows() for test in re.findall(r"`([^`]+::[^`]+)`", answer)]
    missing = []
    for test in named:
        path, _, function = test.partition("::")
        name = function.split("[")[0].split("::")[-1]
        file = TESTS / path
        if not file.is_file() or not re.search(rf"def {re.escape(name)}\b", file.read_text(encoding="utf-8")):
            missing.append(test)
    assert not missing


def test_every_clause_has_an_answer() -> None:
    assert len(rows()) > 100
    assert not [clause for clause, answer in rows() if answer in ("", "open")]
