"""What evaluations there are, read from their files without importing them, because help must be quick."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "evaluate"
KINDS = ("Evaluation", "EncoderEvaluation")


def evaluations() -> str:
    """The evaluations, what they say of themselves, and their settings with defaults."""
    lines = [
        "evaluations (linearprobe, knn, factors, collapse, equivariance and retrieval are the usual ones):"
    ]
    for path in sorted(FOLDER.rglob("*.py")):
        for found in _classes(ast.parse(path.read_text(encoding="utf-8"))):
            about = (ast.get_docstring(found) or "").split("\n\n")[0].replace("\n", " ")
            lines += ["", f"  {found.name.lower()}"]
            lines += textwrap.wrap(about, 96, initial_indent="    ", subsequent_indent="    ")
            settings = ", ".join(f"{name}={value}" for name, value in _fields(found))
            lines += textwrap.wrap(settings, 96, initial_indent="    ", subsequent_indent="    ")
    lines += ["", "Any of these settings is given as NAME.SETTING=value: knn.k=200, factors.probe=mlp."]
    return "\n".join(lines)


def _classes(tree: ast.Module) -> Iterator[ast.ClassDef]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(ast.unparse(b) in KINDS for b in node.bases):
            yield node


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for line in node.body:
        own = isinstance(line, ast.AnnAssign) and line.value is not None
        if own and "ClassVar" not in ast.unparse(line.annotation):  # type: ignore[attr-defined]
            value = ast.unparse(line.value).strip("()'").rstrip(",") or "all"  # type: ignore[attr-defined]
            yield ast.unparse(line.target), value.replace(", ", ",")  # type: ignore[attr-defined]
