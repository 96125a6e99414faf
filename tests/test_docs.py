"""README and docs against the package: commands, Python snippets, links, files, modules and renames."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pages import ROOT, commands, snippets

from equissl.auto.requirements import resolve
from equissl.auto.selection import select_recipe, with_settings
from equissl.cli.grammar.arguments import Arguments, Verb
from equissl.cli.grammar.commands import VerbCommand
from equissl.cli.grammar.verbs import EQUISSL
from equissl.config.serialize import locate
from equissl.data.folder import data_settings, open_data
from equissl.data.image_folder import write_images
from equissl.data.solids import Solids
from equissl.data.tables.cells import is_table
from equissl.errors import UserError
from equissl.evaluate import protocol
from equissl.evaluate.audit.asked import check_asked
from equissl.recipes import sie
from equissl.study.build import build_study
from equissl.study.plan import Study

RENAMES = ROOT / "docs" / "renames.md"
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
# tests/test_tutorials.py runs the others, commands too
WITH_SNIPPETS = [p for p in PAGES if snippets(p) and p.parent.name != "tutorials"]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def every_verb(verb: Verb = EQUISSL) -> Iterator[Verb]:
    for child in verb.verbs:
        if child.verbs:
            yield from every_verb(child)
        else:
            yield child


def parsed(command: str) -> tuple[str, Arguments] | None:
    """The verb and its arguments, or None if only the help is asked for."""
    verbs = {v.name: v for v in every_verb()}
    words = shlex.split(command, comments=True)
    name = next((n for n in (" ".join(words[:2]), words[0]) if n in verbs), None)
    assert name is not None or words[0] in {v.name for v in EQUISSL.verbs}, f"no command {words[0]!r}"
    if name is None or "--help" in words:
        return None
    parser = VerbCommand(verbs[name])
    # setting=gpm|blob stands for either
    rest = [re.sub(r"(=\w+)\|\w+", r"\1", w) for w in words[len(name.split()) :]]
    return name, parser.arguments(parser.make_context(name, rest))


def check_names_and_settings(verb: str, arguments: Arguments) -> None:
    """Recipes, studies, evaluations, factors and settings exist."""
    values, settings = arguments.values, arguments.settings
    of_data, others = data_settings(settings)
    if values.get("recipe") or (settings and verb in ("pretrain", "check")):
        recipe = select_recipe(name=values.get("recipe") or "quickstart.invariant").recipe
        table = values.get("data") is not None and is_table(values["data"])
        with_settings(replace(recipe, data=open_data(values["data"], 32)) if table else recipe, settings)
    elif of_data and values.get("data") is not None:
        open_data(values["data"], 32, settings=of_data)
    if values.get("keep") or values.get("ignore"):
        resolve(values["keep"], values.get("ignore", ()))
    if verb == "study" and arguments.positionals and ":" not in arguments.positionals[0]:
        build_study(arguments.positionals[0], settings)
    if verb == "evaluate":
        protocol.select_evaluations(values["evaluations"], others)
    if verb == "audit" and not is_table(values["data"] or ""):  # a table has names of its own
        check_asked(values["factors"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with images and what the pages call runs."""
    write_images(tmp_path / "photos", {"cats": 30, "dogs": 30}, side=40)
    for run in ("a", "first", "second", "third", "sie"):
        (tmp_path / "runs" / run).mkdir(parents=True)
        (tmp_path / "runs" / run / "recipe.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_are_accepted(page: Path, folder: Path) -> None:
    wrong = []
    for command in commands(page):
        try:
            found = parsed(command)
            if found is not None:
                # In a sentence what is required may be left out
                wrong += [f"{command}: {p}" for p in found[1].problems if " is missing" not in p]
                check_names_and_settings(*found)
        except (AssertionError, UserError) as error:
            wrong.append(f"{command}: {error}")
    assert not wrong, "\n".join(wrong)


def test_commands_are_found_and_mistakes_noticed(folder: Path) -> None:
    readme = ROOT / "README.md"
    assert len(list(commands(readme))) >= len(re.findall(r"^uv run equissl ", readme.read_text(), re.M)) >= 10
    assert sum(len(list(commands(page))) for page in PAGES) > 150
    found = parsed("embed runs/first data=photos oot=features.npz")
    assert found is not None and any("no key 'oot'" in p for p in found[1].problems)
    with pytest.raises(AssertionError, match="no command 'pretrian'"):
        parsed("pretrian data=photos")
    found = parsed("pretrain encoder.nme=resnet50")
    assert found is not None
    with pytest.raises(UserError, match="no setting 'nme'"):
        check_names_and_settings(*found)


def context(page: Path) -> dict[str, Any]:
    """What a page says it takes as given."""
    if page.name != "3diebench.md":
        return {}
    data = Solids(size=32, objects=12, views=3, paired=True)
    model = sie.sie_solids().build(data.spaces)
    return {"module": model.modules_by_name["sie"], "encoder": model.encoder, "data": data}


@pytest.mark.parametrize("page", WITH_SNIPPETS, ids=name_of)
def test_snippets_run(page: Path, folder: Path) -> None:
    for run in (folder / "runs").iterdir():
        (run / "recipe.json").unlink()
        run.rmdir()
    torch.manual_seed(0)
    space: dict[str, Any] = {"__name__": "snippet", **context(page)}
    exec(compile(snippets(page), name_of(page), "exec"), space)
    for value in list(space.values()):  # a function that a page shows is called
        if callable(value) and getattr(value, "__annotations__", {}).get("return") is Study:
            assert value().cells


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    broken = [
        link
        for link in links
        if "://" not in link and not (page.parent / link.partition("#")[0]).resolve().exists()
    ]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_tables_have_at_most_eight_columns(page: Path) -> None:
    """Wider ones are files, one name per column."""
    text = re.sub(r"`[^`]*`", "", page.read_text(encoding="utf-8")).replace(r"\|", "")
    widths = {line.strip("|").count("|") + 1 for line in text.split("\n") if re.match(r"\|[ :|-]+\|$", line)}
    assert max(widths, default=0) <= 8
    for name in re.findall(r"\((tables/\w+\.csv)\)", text):
        header, *rows = csv.reader((page.parent / name).read_text(encoding="utf-8").splitlines())
        assert len(set(header)) == len(header) > 8 and {len(r) for r in rows} == {len(header)}


FILE = re.compile(r"`((?:[\w.]+/)*[\w.]+\.(?:py|c|md|j2|toml|cff))`")
FOLDER = re.compile(r"`((?:equissl|tests|benchmarks|docs)/(?:[\w.]+/)*)`")
MODULE = re.compile(r"\b(equissl(?:\.[a-z]\w*)+(?::[A-Z]\w*(?:\.[A-Z]\w*)?)?)")
WRITTEN = {"mine.py", "mine.md", "table.md"}  # by the reader or by a command


@pytest.mark.parametrize("page", [p for p in PAGES if p != RENAMES], ids=name_of)
def test_files_and_modules_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    paths = [
        p for top in ("equissl", "tests", "benchmarks", "docs", "examples") for p in (ROOT / top).rglob("*")
    ]
    there = [f"/{p.relative_to(ROOT)}" for p in (*paths, *ROOT.glob("*"))]
    wrong = [
        name
        for name in FILE.findall(text)
        if Path(name).name not in WRITTEN and not any(t.endswith(f"/{name}") for t in there)
    ]
    wrong += [name for name in FOLDER.findall(text) if not (ROOT / name).is_dir()]
    wrong += [name for name in MODULE.findall(text) if not exists(name)]
    assert not wrong


def exists(address: str) -> bool:
    """Whether ``package.module``, ``package.module.name`` or ``package:Class`` can be imported."""
    path, _, inner = address.partition(":")
    steps = path.split(".")
    for k in range(len(steps), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(steps[:k]))
        except ModuleNotFoundError:
            continue
        for step in (*steps[k:], *(inner.split(".") if inner else ())):
            if not hasattr(value, step):
                return False
            value = getattr(value, step)
        return True
    return False


CONFIGURATION = re.compile(r"^Configuration: `(equissl[^`]+)`", re.MULTILINE)
# Objectives of the papers whose settings can be compared with their released code, and their bases.
COMPARED = ("equimod", "essl", "sie", "augself", "simclr", "byol", "simsiam", "barlow_twins", "vicreg")


def shown(value: object) -> str:
    """A default as the pages write it: as on the command line, where that is possible."""
    if dataclasses.is_dataclass(value):
        return f"{type(value).__name__}()"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        return ", ".join(" -> ".join(pair) for pair in value)
    if isinstance(value, tuple | Mapping):
        return ",".join(map(str, value)) or "[]"
    return str(value) or "empty"


def stated_defaults(page: Path) -> dict[str, str]:
    """Option -> its default, of the rows of a page's tables that begin with | option | default |."""
    stated = {}
    for table in re.findall(r"^\| option \| default \|.*?\n\n", page.read_text("utf-8") + "\n", re.M | re.S):
        for row in table.strip().splitlines()[2:]:
            options, default = (cell.strip() for cell in row.strip("|").split("|")[:2])
            names = re.findall(r"`([^`]+)`", options)
            values = default.split("`, `")
            values = values if len(values) == len(names) else values[:1] * len(names)
            stated |= {n: v.replace("`", "") for n, v in zip(names, values, strict=True)}
    return stated


@pytest.mark.parametrize("name", COMPARED)
def test_options_and_defaults_are_those_of_the_configuration(name: str) -> None:
    page = ROOT / "docs" / "methods" / f"{name}.md"
    (address,) = CONFIGURATION.findall(page.read_text("utf-8"))
    config = locate(address)()
    defaults = {f.name: shown(getattr(config, f.name)) for f in dataclasses.fields(config)}
    stated = stated_defaults(page)
    assert {n: stated.get(n, "not on the page") for n in defaults} == defaults


def test_every_example_names_its_weights() -> None:
    """``timm/NAME`` alone has random weights: examples add ``@pretrained`` or ``@FILE``, or say "random"."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "equissl" / "cli").rglob("*.py")]
    bare = re.compile(
        r"equissl (?:audit|embed|export|repair|subspace) [^`\n]*\btimm/(?!NAME)[\w.]+(?![\w.@])"
    )
    found = [
        f"{page.name}: {line.strip()}"
        for page in pages
        for line in page.read_text(encoding="utf-8").splitlines()
        if bare.search(line) and "random" not in line
    ]
    assert bare.search("equissl audit timm/resnet50 data=photos")
    assert not bare.search("equissl audit timm/resnet50@pretrained photos")
    assert not found, "\n".join(found)
    assert "docs/models.md" in (ROOT / "README.md").read_text(encoding="utf-8")  # where weights come from
