"""Directives of the reference: the public names of a package, and the help of every command."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import equissl
from equissl.cli.grammar.arguments import Verb
from equissl.cli.grammar.verbs import EQUISSL
from equissl.cli.main import main


class PublicNames(SphinxDirective):
    """Every public function and class of a package, from its docstrings."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        package = importlib.import_module(self.arguments[0])
        elsewhere = set(dir(equissl)) if package is not equissl else set()  # shown on the page of those
        names = sorted(set(dir(package)) - elsewhere)
        lines = [line for name in names for line in self.entry(package.__name__, name)]
        return self.parse_text_to_nodes("\n".join(["```{eval-rst}", *lines, "```"]))

    @staticmethod
    def entry(package: str, name: str) -> list[str]:
        value: Any = getattr(importlib.import_module(package), name)
        if name.startswith("_") or not getattr(value, "__module__", "").startswith("equissl"):
            return []
        if inspect.isclass(value):
            return [f".. autoclass:: {package}.{name}", "   :members:", ""]
        return [f".. autofunction:: {package}.{name}", ""] if callable(value) else []


class CommandHelp(SphinxDirective):
    """What `equissl COMMAND --help` prints, for every command."""

    def run(self) -> list[nodes.Node]:
        sections: list[nodes.Node] = []
        for verb in every_verb(EQUISSL):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                main([*verb.name.split(), "--help"])
            text = printed.getvalue()
            section = nodes.section(ids=[nodes.make_id(verb.name)])
            section += nodes.title(text=verb.name)
            section += nodes.literal_block(text, text, language="none")
            sections.append(section)
        return sections


def every_verb(verb: Verb) -> Iterator[Verb]:
    for child in verb.verbs:
        if child.verbs:
            yield from every_verb(child)
        else:
            yield child


def escape_bars(app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Docstrings write norms as |w|, which reStructuredText takes for a substitution."""
    for number, line in enumerate(lines):
        parts = re.split(r"(``.*?``)", line)
        lines[number] = "".join(p if p.startswith("``") else p.replace("|", r"\|") for p in parts)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", escape_bars)
    app.add_directive("public-names", PublicNames)
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
