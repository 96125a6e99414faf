"""Pages that need nothing else: templates, and files that are written whole or not at all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from equissl.report import display_names as names
from equissl.report import figures
from equissl.storage import WriteError, write_text

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup


def template(name: str) -> Template:
    """A template of this folder, with the filters that pages share."""
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "unit": names.unit,
        "typeset": names.typeset,
        "breakable": _breakable,
        "code": _code,
    }
    environment.globals |= {"decimal": names.decimal, "series": figures.SERIES}
    return environment.get_template(name)


def check_page(out: Path) -> None:
    """
    Raises:
        WriteError: ``out`` is not the name of a page, so that no file of another kind is replaced.
    """
    if out.is_dir():
        raise WriteError(f"{str(out)!r} is a folder; expected a page to write, such as views.html")
    if out.suffix.lower() not in (".html", ".htm"):
        raise WriteError(f"{str(out)!r}: expected a page to write, whose name ends in .html")


def save(page: str, out: Path) -> Path:
    """Write ``page`` to ``out``, whole or not at all.

    Raises:
        WriteError: as ``check_page``.
    """
    check_page(out)
    write_text(out, page, newline="\n")
    return out


def _code(line: str) -> Markup:
    """A line whose words between backticks are code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(line))))


def _breakable(name: str) -> Markup:
    """A name that a narrow column may break after its dots, dashes and underscores."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"(?<=[._/-])(?=\w)", "<wbr>", str(escape(name))))
