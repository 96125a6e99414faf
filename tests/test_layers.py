"""Who may import whom: the table of docs/architecture.md as data."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import equissl

ROOT = Path(equissl.__file__).parent
LEVELS = {
    **dict.fromkeys(("errors", "random", "distributed", "parse", "interruption"), 0),
    **dict.fromkeys(("params", "losses", "assignment", "track", "progress", "record"), 1),
    **dict.fromkeys(("augment", "render", "photonics", "encoder"), 2),
    "views": 3,
    **dict.fromkeys(("data", "objective"), 4),
    **dict.fromkeys(("base", "equivariance", "model", "optimize", "evaluate"), 5),
    **dict.fromkeys(("recipe", "settings", "catalog"), 6),
    **dict.fromkeys(("runs", "checkpoint", "monitor", "train", "models", "export", "testing", "protocol"), 7),
    **dict.fromkeys(("recipes", "report"), 8),
    **dict.fromkeys(("api", "study", "studies", "cli", "__init__", "__main__"), 9),
}
FILES = sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Modules of ours that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = {f"{node.module}.{a.name}" for a in node.names} if node.module == "equissl" else set()
            found |= inner or {node.module}
    return {name for name in found if name.partition(".")[0] == "equissl"}


def unit(dotted: str) -> str:
    """The row of the table that a module belongs to."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def own(path: Path) -> str:
    relative = path.relative_to(ROOT).with_suffix("")
    return ".".join(("equissl", *relative.parts))


@pytest.mark.parametrize("path", FILES, ids=own)
def test_imports_go_down(path: Path) -> None:
    name = own(path)
    mine = unit(name)
    assert mine in LEVELS, f"{name} is in no row of the table; add it here and in docs/architecture.md"
    for other in imports(path):
        theirs = unit(other)
        if theirs == mine and mine not in ("base", "equivariance"):
            continue
        if mine == "report":
            pytest.fail(f"{name} imports {other}, but the report reads rows only")
        if mine in ("base", "equivariance"):
            assert theirs != mine, f"{name} imports its sibling {other}"
        if theirs == "recipes":
            readers = ("cli", "studies")
            assert mine in readers, f"{name} imports {other}: only cli, studies and tests read recipes"
        if theirs == "studies":
            assert mine == "cli", f"{name} imports {other}: only cli and tests read studies"
        limit = LEVELS[mine] - (
            mine != theirs and LEVELS[mine] in (0, 4, 5) and LEVELS[theirs] == LEVELS[mine]
        )
        assert LEVELS[theirs] <= limit or (mine, theirs) in ALLOWED, (
            f"{name} (level {LEVELS[mine]}) imports {other}"
        )


ALLOWED = {("params", "errors"), ("parse", "errors"), ("evaluate", "objective")}


def test_the_report_needs_no_torch() -> None:
    for path in (ROOT / "report").rglob("*.py"):
        roots = {
            (a.name if isinstance(node, ast.Import) else node.module or "").partition(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for a in node.names
        }
        assert not roots & {"torch", "torchvision", "timm"}, path
