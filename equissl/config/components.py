"""The methods a recipe is made of, with their papers, from the fields of their classes.

``title`` is what people call the method, ``paper`` its source ("arXiv:2002.05709"), ``bibtex`` one or more
entries. Each entry stands once, on one class; other classes with the same ``paper`` need no ``bibtex``.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from equissl.config import registry
from equissl.config.public import address
from equissl.config.serialize import configs


@dataclass(frozen=True)
class Component:
    """A method or data set with its source, as ``components.json`` of a run folder holds it.

    Args:
        title: what people call it, "E-SSL".
        address: of its class, as in recipes; "" for an evaluation.
        paper: "arXiv:..." or "".
        bibtex: its entries, "" if none is known.
    """

    title: str
    address: str
    paper: str
    bibtex: str

    def row(self) -> dict[str, str]:
        """Plain data for JSON."""
        return asdict(self)


def components(recipe: object) -> list[Component]:
    """The published components of a recipe (any dataclass), each once, in the order of its fields."""
    classes = dict.fromkeys(_method(type(config)) for config in configs(recipe))
    described = [_component(cls) for cls in classes]
    return [c for c in described if c.paper or c.bibtex]


def cited(papers: Mapping[str, str]) -> list[Component]:
    """Papers ("arXiv:...") -> titles, as components; a paper without a known entry keeps an empty one."""
    return [Component(title, "", paper, bibtex_of(paper)) for paper, title in papers.items() if paper]


def merged(*rows: Iterable[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Rows of components without repetition, in order."""
    every = (row for part in rows for row in part)
    return list({tuple(r.get(n, "") for n in ("title", "paper", "bibtex")): r for r in every}.values())


def bibtex_of(paper: str) -> str:
    """The BibTeX entry of a paper, "" if no class of the package has it."""
    return _entries().get(paper, "")


def _component(cls: type) -> Component:
    title, paper, own = (_word(cls, name) for name in ("title", "paper", "bibtex"))
    text = inspect.cleandoc(own) or (bibtex_of(paper) if paper else "")
    return Component(title or cls.__name__, address(cls), paper, text)


def _word(cls: type, name: str) -> str:
    """A text that stands on the class itself; a property speaks of an instance."""
    value = getattr(cls, name, "")
    return value if isinstance(value, str) else ""


def _method(cls: type) -> type:
    """``SimCLR`` for ``SimCLR.Config``: the class that a configuration describes."""
    outer = cls.__qualname__.partition(".")[0]
    found = getattr(sys.modules[cls.__module__], outer, cls)
    return found if isinstance(found, type) else cls


@functools.cache
def _entries() -> dict[str, str]:
    """Paper -> its entry, of the class that holds it."""
    found = {}
    for module in registry.modules():
        for cls in vars(module).values():
            own = inspect.isclass(cls) and cls.__module__ == module.__name__
            text = vars(cls).get("bibtex") if own else ""
            if isinstance(text, str) and text:
                found[str(getattr(cls, "paper", ""))] = inspect.cleandoc(text)
    return found
