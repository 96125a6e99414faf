"""Only ``equissl/storage.py`` writes files; everything else goes through it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import equissl
from equissl.api.render import render_solids
from equissl.data.solids import Solids
from equissl.errors import UserError

ROOT = Path(equissl.__file__).parent
OURS = {"storage.py", "temporary.py", "locks.py"}  # what all others go through

# Functions that write to a path or file that they are given: their file must come from one of ours.
TO_A_FILE = {"savez", "savez_compressed", "savefig", "dump", "save_file", "writer", "DictWriter"}
# Methods and functions that change what lies on a disk.
DIRECT = {
    *("write_text", "write_bytes", "mkdir", "makedirs", "touch", "rename", "renames", "symlink", "link"),
    *("symlink_to", "hardlink_to", "copy", "copy2", "copyfile", "copytree", "move", "rmtree", "rmdir"),
    *("mkstemp", "mkdtemp", "NamedTemporaryFile", "to_csv", "to_netcdf", "extractall", "extract", "fdopen"),
}
MODULES = {"os", "shutil", "tempfile", "Path", "path"}  # whose functions "copy", "move" and so on are meant
IN_OURS = ("atomic_open", "atomic_path", "append_open", "BytesIO", "StringIO", "_build")

# (file, function): why it may write by itself.
ALLOWED = {
    ("data/image_folder.py", "write_images"): "images of noise for tests and examples",
    ("data/threediebench.py", "example"): "images of noise for tests and examples",
    ("data/torchvision_sets.py", "*"): "files of noise for tests and examples, in example()",
    ("render/blender/worker.py", "*"): "runs in Blender's Python, writes its renders into a scratch folder",
    ("augment/native_build.py", "_own_folder"): "makes the folder of the cache private, in words of its own",
    ("cli/replay_step.py", "run"): "Table.to_csv, which writes by write_csv",
    ("cli/streams.py", "prepare_streams"): "the null device",
    ("augment/native_build.py", "_store"): "into the file of atomic_path",
}


def functions(tree: ast.AST) -> list[tuple[str, ast.AST]]:
    """Every function at the top or in a class, and the rest of the module as ""."""
    found = [(n.name, n) for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    return found or [("", tree)]


def called(node: ast.Call) -> tuple[str, str]:
    """The name before the last dot of a call, as far as it is one, and the last."""
    function = node.func
    if isinstance(function, ast.Name):
        return "", function.id
    if isinstance(function, ast.Attribute):
        owner = function.value
        return (owner.id if isinstance(owner, ast.Name) else "", function.attr)
    return "", ""


def writes(node: ast.Call, text: str) -> bool:
    owner, name = called(node)
    modes = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    modes += [k.value.value for k in node.keywords if k.arg == "mode" and isinstance(k.value, ast.Constant)]
    if name in ("open", "fdopen"):
        return any(set(m) <= set("rwabtx+") and set(m) & set("wax+") for m in modes)
    if name in ("write_text", "write_bytes", "copy", "move"):  # ours are functions, and tensors have copy()
        return isinstance(node.func, ast.Attribute) and (owner in MODULES or name.startswith("write_"))
    if name in DIRECT:
        return isinstance(node.func, ast.Attribute)
    if name == "save" and (owner != "torch" and not {"wb", "JPEG", "PNG"} & {*modes}):
        return False  # a method of ours, or into memory
    return (
        name in (*TO_A_FILE, "save") and owner not in ("json",) and not any(word in text for word in IN_OURS)
    )


def test_nothing_else_writes() -> None:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        file = path.relative_to(ROOT).as_posix()
        source = path.read_text(encoding="utf-8")
        if file in OURS:
            continue
        for name, function in functions(ast.parse(source)):
            if {(file, name), (file, "*")} & ALLOWED.keys():
                continue
            text = ast.get_source_segment(source, function) or source
            calls = [n for n in ast.walk(function) if isinstance(n, ast.Call)]
            found += [f"{file}:{n.lineno} {called(n)[1]}" for n in calls if writes(n, text)]
    assert not found, "\n".join(found)


def test_what_is_allowed_exists() -> None:
    for file, name in ALLOWED:
        assert (ROOT / file).is_file() and (name == "*" or f"def {name}" in (ROOT / file).read_text())


def test_a_rendered_folder_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = Solids(size=8, objects=10, views=2), tmp_path / "solids"

    def full(*arguments: object) -> None:
        raise UserError("the disk is full")

    monkeypatch.setattr("equissl.data.export.write_csv", full)
    with pytest.raises(UserError, match="full"):
        render_solids(data, out)
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())
    assert len(list(render_solids(data, out).glob("*.csv"))) == 2
