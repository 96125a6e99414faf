"""Evaluations, recipes and studies as their files state them, read without imports to keep the help quick."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
_EXAMPLE = "epochs=10 batch_size=128 seed=1 encoder.name=resnet18"
_TYPICAL = f"{_EXAMPLE} encoder.stem=timm\n  precision=auto engine=torch compile=true"
_DATA = """Settings of the data, as data.NAME=value: data.fit=pad; of a table
  data.factors=yaw:circular(360),ripeness:real data.group=object"""
EVALUATIONS = {"Evaluation", "EncoderEvaluation"}


def help_of(kind: str, positionals: Sequence[str]) -> str:
    """The end of a help page: the settings of recipes, of evaluations, or of the study that is named."""
    if kind == "recipe":
        return f"Settings of the recipe, as path.to.field=value:\n  {_TYPICAL}"
    if kind == "data":
        return _DATA
    if kind == "evaluations":
        return "\n".join([*_evaluation_settings(), "", _DATA])
    found = _functions("Study")
    if positionals and positionals[0] in found:
        return "\n".join(_study_settings(found[positionals[0]]))
    lines = [line for name, node in found.items() for line in (f"  {name}", *_indented(_summary(node)))]
    return "\n".join(["Studies (`equissl study NAME --help` lists the settings of one):", *lines])


def _evaluation_settings() -> Iterator[str]:
    yield "Evaluations; linearprobe, knn, factors, collapse, equivariance and retrieval are"
    yield "the usual ones. Settings, as NAME.SETTING=value: knn.k=200 factors.probe=mlp"
    protocols = [f"{name} ({', '.join(dict(_items(table)))})" for name, table in _protocols().items()]
    costly = [
        name
        for name, node in _evaluations().items()
        if "costly: ClassVar[bool] = True" in map(ast.unparse, node.body)
    ]
    said = f"Protocols of papers (add count=0): {', '.join(protocols)}. all leaves out {', '.join(costly)}."
    yield from textwrap.wrap(said, 78)
    for name, node in _evaluations().items():
        yield from ("", f"  {name}", *_indented(_summary(node)))
        yield from _indented(", ".join(f"{field}={value}" for field, value in _fields(node)))


def _study_settings(node: ast.FunctionDef) -> list[str]:
    about = dict(re.findall(r"^ {4}(\w+): (.*(?:\n {6,}.*)*)", ast.get_docstring(node) or "", re.M))
    lines = [*textwrap.wrap(_summary(node), 78), "", "Settings of this study:"]
    for arg, default in zip(node.args.args, node.args.defaults, strict=True):
        help = re.sub(r"\s+", " ", about.get(arg.arg, "")).replace("``", "")
        value = _text(default)
        if value == "all":
            value, help = "NAME,...", f"{help} [default: all]"
        lines += [f"  {arg.arg}={value}", *_indented(help)]
    return [
        *lines,
        "",
        "Settings of all its recipes (path.to.field=value):",
        "  epochs=20 encoder.name=resnet18",
    ]


CHOICES: dict[str, Callable[[], list[str]]] = {
    "recipes": lambda: list(_functions("Recipe")),
    "studies": lambda: list(_functions("Study")),
    "evaluations": lambda: [*_evaluations(), "usual", "all", *_protocols()],
    "factors": lambda: list(_table("auto/requirements.py", "FACTORS")),  # of keep= and ignore=
    "audits": lambda: list(_table("evaluate/audit/factors.py", "AUDITS")),
}


def settings(kind: str) -> list[str]:
    """Names of settings that a verb with these settings accepts, to complete."""
    if kind == "evaluations":
        return [f"{name}.{field}" for name, node in _evaluations().items() for field, _ in _fields(node)]
    if kind == "data":
        fields = _fields(_class(ROOT / "data" / "image_table.py", "ImageTable"))
        return [f"data.{name}" for name, _ in fields if name not in ("size", "schema")]
    return [name for name, _ in _fields(_class(ROOT / "recipe.py", "Recipe"))]


def _class(file: Path, name: str) -> ast.ClassDef:
    return next(n for n in _parse(file) if isinstance(n, ast.ClassDef) and n.name == name)


def _protocols() -> dict[str, ast.expr]:
    return _table("evaluate/protocol.py", "PROTOCOLS")


def _table(file: str, name: str) -> dict[str, ast.expr]:
    """Key -> value of a dictionary at the top of a file."""
    tables = [n.value for n in _parse(ROOT / file) if isinstance(n, ast.AnnAssign) and _is(n, name)]
    return {k: v for table in tables if table for k, v in _items(table)}


def _items(table: ast.expr) -> list[tuple[str, ast.expr]]:
    if not isinstance(table, ast.Dict):
        return []
    return [(ast.literal_eval(k), v) for k, v in zip(table.keys, table.values, strict=True) if k]


def _evaluations() -> dict[str, ast.ClassDef]:
    """Class definitions by the name that the class states."""
    found = {}
    for path in (ROOT / "evaluate").rglob("*.py"):
        for node in _parse(path):
            if isinstance(node, ast.ClassDef) and {ast.unparse(b) for b in node.bases} & EVALUATIONS:
                stated = [a.value for a in node.body if isinstance(a, ast.AnnAssign) and _is(a, "name")]
                found[ast.literal_eval(stated[0]) if stated and stated[0] else node.name.lower()] = node
    return dict(sorted(found.items()))


def _functions(returns: str) -> dict[str, ast.FunctionDef]:
    """Public functions that return ``returns`` and need no arguments, by the names of ``config.registry``."""
    found = {}
    for path in ROOT.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if f"-> {returns}:" not in text:
            continue
        file = path.parent.name if path.stem in ("recipes", "study") else path.stem
        for node in ast.parse(text).body:
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
                continue
            optional = len(node.args.args) == len(node.args.defaults)
            if optional and node.returns and ast.unparse(node.returns) == returns:
                once = returns == "Study" and node.name == file
                found[file if once else f"{file}.{node.name}"] = node
    return dict(sorted(found.items()))


def _parse(file: Path) -> list[ast.stmt]:
    return ast.parse(file.read_text(encoding="utf-8")).body


def _summary(node: ast.ClassDef | ast.FunctionDef) -> str:
    return (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ").replace("``", "")


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and line.value and "ClassVar" not in ast.unparse(line.annotation):
            yield ast.unparse(line.target), _text(line.value)


def _is(node: ast.AnnAssign, name: str) -> bool:
    return ast.unparse(node.target) == name


def _text(default: ast.expr) -> str:
    """A default as one would type it; "all" for an empty tuple and for what a file computes."""
    try:
        value = ast.literal_eval(default)
    except ValueError:
        return "all"
    return (",".join(map(str, value)) or "all") if isinstance(value, tuple) else str(value)


def _indented(text: str) -> list[str]:
    return textwrap.wrap(text, 78, initial_indent="    ", subsequent_indent="    ")
