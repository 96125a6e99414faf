"""Every paper that the package names can be cited: entries parse, stand once, and reach the run folder."""

from __future__ import annotations

import inspect
import re

import pytest

from equissl.augment.base import Augmentation
from equissl.config import registry
from equissl.config.components import Component, bibtex_of, cited, components, merged
from equissl.config.registry import Entry
from equissl.data.base import Data
from equissl.evaluate.base import Named
from equissl.objective import Base, Equivariance
from equissl.recipes import equimod, sie
from equissl.recipes.quickstart import invariant
from equissl.training.optim import LARS, Adam, AdamW

ENTRY = re.compile(r"@(\w+)\{(\w+),\n((?:  \w+ = \{[^\n]*(?:\n    [^\n]*)*\},\n)+)\}")
FIELD = re.compile(r"  (\w+) = \{((?:[^\n]|\n    )*)\},\n")
KINDS = (Base, Equivariance, Augmentation, Data, Named)
PUBLISHED = [e.value for kind in KINDS for e in registry.subclasses(kind)] + [LARS, Adam, AdamW]
OWNERS = {
    cls: inspect.cleandoc(vars(cls)["bibtex"])
    for module in registry.modules()
    for cls in vars(module).values()
    if inspect.isclass(cls)
    and cls.__module__ == module.__name__
    and isinstance(vars(cls).get("bibtex"), str)
    and vars(cls)["bibtex"]
}


def parsed(text: str) -> dict[str, dict[str, str]]:
    """Key -> fields of every entry; the whole text must be entries."""
    assert ENTRY.sub("", text).strip() == "", text
    return {key: dict(FIELD.findall(body)) for _, key, body in ENTRY.findall(text)}


def balanced(text: str) -> bool:
    depth = [text[:k].count("{") - text[:k].count("}") for k in range(len(text) + 1)]
    return min(depth) == 0 == depth[-1]


@pytest.mark.parametrize("cls", OWNERS, ids=lambda c: c.__name__)
def test_an_entry_parses(cls: type) -> None:
    entries = parsed(OWNERS[cls])
    paper = getattr(cls, "paper", "")
    assert not paper or any(f"arXiv:{f.get('eprint')}" == paper for f in entries.values())
    for key, fields in entries.items():
        assert fields["title"] and fields["year"] in key and 1990 < int(fields["year"]) < 2100
        people = " ".join(fields["author"].split()).split(" and ")
        assert all(re.fullmatch(r"[^,]+, [^,]+", p) for p in people) and "others" not in people
        assert all(map(balanced, fields.values()))
        assert ("eprint" in fields) == (fields.get("archivePrefix") == "arXiv")


def test_an_entry_stands_once() -> None:
    texts = set(OWNERS.values())  # a class may point to another's
    keys = [key for text in texts for key in parsed(text)]
    papers = [f["eprint"] for text in texts for f in parsed(text).values() if "eprint" in f]
    assert len(set(keys)) == len(keys) and len(set(papers)) == len(papers)


@pytest.mark.parametrize("cls", PUBLISHED, ids=lambda c: c.__name__)
def test_the_paper_of_every_class_can_be_cited(cls: type) -> None:
    paper = cls.paper  # type: ignore[attr-defined]
    assert not paper or parsed(bibtex_of(paper))
    assert not (issubclass(cls, Base | Equivariance) and not paper), f"{cls.__name__} names no paper"


@pytest.mark.parametrize("entry", registry.recipes(), ids=lambda e: e.name)
def test_a_recipe_cites_what_it_is_made_of(entry: Entry) -> None:
    recipe = entry.value()
    found = components(recipe)
    keys = [key for c in found for key in parsed(c.bibtex)]
    assert keys and all(c.bibtex for c in found)
    for config in filter(None, (recipe.base, *(m.module for m in recipe.modules.values()))):
        name = type(config).__qualname__.partition(".")[0]
        assert any(c.address.endswith(f":{name}") for c in found), name


def test_titles_are_those_of_the_papers() -> None:
    titles = {c.title for r in (equimod.simclr_cifar10(), sie.sie()) for c in components(r)}
    assert {"SimCLR", "EquiMod", "CIFAR-10", "3DIEBench", "SIE", "VICReg"} <= titles


def test_rows_are_merged_without_repetition() -> None:
    row = Component("SIE", "", "arXiv:2302.10283", "@misc{x,}").row()
    assert merged([row], [row, {**row, "title": "3DIEBench"}]) == [row, {**row, "title": "3DIEBench"}]
    assert cited({"arXiv:0000.00000": "none", "": "nothing"}) == [
        Component("none", "", "arXiv:0000.00000", "")
    ]


def test_what_has_no_paper_cites_none() -> None:
    """Neither a class without a source nor an augmentation whose title is a property gets another's entry."""
    found = components(invariant())
    assert not [c.title for c in found if "flowers2008" in c.bibtex or "property" in c.title]
    assert all(c.paper or c.bibtex for c in found) and "SimCLR" in {c.title for c in found}
